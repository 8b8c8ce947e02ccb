"""Modules and files with unrolled loops, through the whole of export: set free, or run over windows of their length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from unrolled_models import (
    Stack,
    Written,
    backward,
    exported,
    flat,
    frames,
    gru,
    own_weights,
    repeated,
    seeded,
    whole,
    zeros,
)

import edgeseq
import export
from export.frontends import onnx as frontend
from export.frontends import torch as modules
from export.graph import session

pytestmark = pytest.mark.long

OPTIONS = {"calibration": models.walks(), "variants": ["float32"]}


def test_a_module_with_a_loop_of_its_own_streams(tmp_path: Path) -> None:
    module = seeded(6, lambda: Stack(["reset", "peephole"], 6, last=False))
    bundle = export.export((module, models.example()), tmp_path / "b", **OPTIONS)
    assert "unrolled over 17 steps and 2 loops over time rolled again, equal at 41, 67, 128" in (
        (tmp_path / "b" / "report.md").read_text()
    )
    x = frames(200)
    with torch.no_grad():
        expected = module(torch.from_numpy(x))[0].numpy()
    np.testing.assert_allclose(edgeseq.load(bundle).run(x[0]), expected, atol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_an_lstm_with_projections_is_written_out(layers: int) -> None:
    torch.manual_seed(0)
    lstm = nn.LSTM(models.FEATURES, 6, num_layers=layers, proj_size=3, batch_first=True)
    sequence = modules.from_module(lstm.eval(), models.example(), "lstm", "")
    x = frames(50)
    with torch.no_grad():
        expected = lstm(torch.from_numpy(x))[0].numpy()
    given = session(sequence.model).run(None, {"frames": x})[0]
    np.testing.assert_allclose(given, expected, atol=1e-5)


def test_a_module_that_cannot_be_rolled_is_refused_by_node(tmp_path: Path) -> None:
    module = seeded(7, lambda: Written(own_weights))
    told = r"node '.*\(Gemm\).*weights or constants are not the same.*What works: --window 20"
    with pytest.raises(export.ExportError, match=told):
        export.export((module, models.example()), tmp_path / "b", **OPTIONS)


def saved(module: nn.Module, path: Path, length: int = 9, **options: Any) -> Path:
    torch.onnx.export(
        module, (torch.zeros(1, length, models.FEATURES),), str(path), dynamo=False, input_names=["x"], **options
    )
    return path


def windows(module: nn.Module, x: np.ndarray[Any, Any], length: int) -> np.ndarray[Any, Any]:
    with torch.no_grad():
        parts = [module(torch.from_numpy(x[:, end - length : end])) for end in range(length, x.shape[1] + 1)]
    return np.array([part.numpy().reshape(-1, part.shape[-1])[-1] for part in parts])


def test_a_file_with_an_unrolled_loop_asks_for_a_choice_and_runs_by_each(tmp_path: Path) -> None:
    module = seeded(8, lambda: Stack(["gru", "lstm"], 6, last=False))
    path, x = saved(module, tmp_path / "m.onnx"), frames(40)
    with pytest.raises(export.ExportError, match=r"windows of 9 frames.*--restart N.*apart on average"):
        export.export(path, tmp_path / "b", **OPTIONS)
    carried = edgeseq.load(export.export(path, tmp_path / "carry", state="carry", **OPTIONS)).run(x[0])
    with torch.no_grad():
        np.testing.assert_allclose(carried, module(torch.from_numpy(x))[0].numpy(), atol=1e-5)
    windowed = edgeseq.load(export.export(path, tmp_path / "window", window=9, **OPTIONS)).run(x[0])
    np.testing.assert_allclose(windowed[8:], windows(module, x, 9), atol=1e-5)
    restarted = edgeseq.load(export.export(path, tmp_path / "restart", restart=4, **OPTIONS)).run(x[0])
    np.testing.assert_allclose(restarted[3:], windows(module, x, 4), atol=1e-5)


def test_what_stays_fixed_runs_over_windows_of_its_length_alone(tmp_path: Path) -> None:
    module = seeded(9, lambda: Written(backward))
    path, x = saved(module, tmp_path / "m.onnx"), frames(30)
    for choice in ({}, {"state": "carry"}, {"window": 8}, {"restart": 9}):
        with pytest.raises(export.ExportError, match=r"fixed at 9 steps.*runs backward.*What works: --window 9"):
            export.export(path, tmp_path / "b", **choice, **OPTIONS)
    given = edgeseq.load(export.export(path, tmp_path / "b", window=9, **OPTIONS)).run(x[0])
    np.testing.assert_allclose(given[8:], windows(module, x, 9), atol=1e-5)


@pytest.mark.parametrize("loop", [repeated(gru, zeros), flat], ids=["by number", "by split"])
def test_a_file_that_says_its_time_is_free_is_not_believed(loop: Any, tmp_path: Path) -> None:
    module = seeded(10, lambda: Written(loop))
    path = saved(module, tmp_path / "m.onnx", 12, dynamic_axes={"x": {1: "time"}})
    sequence = frontend.load(path, input_name=None, time_axis=None)
    assert (sequence.window, sequence.fixed) == (12, None)
    x = frames(30)
    with torch.no_grad():
        np.testing.assert_allclose(sequence.single([x])[0], module(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_a_loop_that_hears_less_than_the_rest_is_not_taken_for_free(tmp_path: Path) -> None:
    module = seeded(11, lambda: Written(whole))
    for options in ({}, {"dynamic_axes": {"x": {1: "time"}}}):
        sequence = frontend.load(saved(module, tmp_path / "m.onnx", 12, **options), input_name=None, time_axis=None)
        assert sequence.window == 12
        assert "made of the whole sequence" in str(sequence.fixed)


@pytest.mark.parametrize(
    "parts",
    [
        lambda layers: [layers.GRU(6, return_sequences=True)],
        lambda layers: [layers.GRU(6, reset_after=False)],
        lambda layers: [layers.LSTM(6, return_sequences=True), layers.LSTM(5), layers.Dense(2)],
        lambda layers: [layers.SimpleRNN(6), layers.Dense(2)],
    ],
    ids=["GRU", "GRU that resets before", "two LSTMs", "SimpleRNN"],
)
def test_what_keras_unrolled_is_rolled(parts: Any, tmp_path: Path) -> None:
    from keras_models import layers, sequential  # noqa: PLC0415 - Keras loads only where it is installed

    model = sequential(*parts(layers), window=8)
    model(np.zeros((1, 8, models.FEATURES), np.float32))
    model.export(str(tmp_path / "m.onnx"), format="onnx", verbose=False)
    sequence = frontend.load(tmp_path / "m.onnx", input_name=None, time_axis=None)
    assert (sequence.window, sequence.fixed) == (8, None)
    free = sequential(*parts(layers))
    free(np.zeros((1, 8, models.FEATURES), np.float32))
    free.set_weights(model.get_weights())
    for steps in (3, 8, 30):
        x = frames(steps)
        expected = np.asarray(free.predict(x, verbose=0))
        np.testing.assert_allclose(sequence.single([x])[0], expected, atol=1e-5)
        np.testing.assert_allclose(sequence.double([x])[0], expected, atol=1e-5)


def test_a_length_held_by_reshapes_is_set_free(tmp_path: Path) -> None:
    torch.manual_seed(12)
    gru = nn.GRU(models.FEATURES, 6, batch_first=True).eval()
    module = seeded(12, lambda: Written(lambda _, x: gru(x)[0]))
    path = tmp_path / "m.onnx"
    onnx.save(exported(module, 11, dynamo=True), path)
    sequence = frontend.load(path, input_name=None, time_axis=None)
    assert (sequence.window, sequence.fixed) == (11, None)
    x = frames(30)
    with torch.no_grad():
        np.testing.assert_allclose(sequence.single([x])[0], gru(torch.from_numpy(x))[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("taken", "window"),
    [
        (lambda x: x[:, :12], 12),
        (lambda x: x[:, 11], 12),
        (lambda x: x[:, 0], None),
        (lambda x: x[:, -5:], None),
        (lambda x: x[:, x.shape[1] - 1], None),
    ],
    ids=["the first 12", "the 12th", "the first", "the last 5", "the last by its number"],
)
def test_what_takes_the_first_steps_by_their_numbers_is_fixed(taken: Any, window: int | None, tmp_path: Path) -> None:
    layer = seeded(13, lambda: nn.GRU(models.FEATURES, 6, batch_first=True)).requires_grad_(requires_grad=False)
    module = seeded(13, lambda: Written(lambda self, x: self.head(taken(layer(x)[0]))))
    path = saved(module, tmp_path / "m.onnx", 20, dynamic_axes={"x": {1: "time"}})
    assert frontend.load(path, input_name=None, time_axis=None).window == window
