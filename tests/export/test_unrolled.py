"""Loops over time that an exporter unrolled: rolled again to what they were, at every length; look-alikes refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from torch import nn
from unrolled_models import INPUTS, KINDS, Stack, Written, exported, frames, scrambled, seeded

import edgeseq
import export
from export.frontends import onnx as frontend
from export.frontends import torch as modules
from export.graph import session
from export.unrolled import rolled


def equals(model: onnx.ModelProto, module: nn.Module, length: int, loops: int) -> None:
    """Hold what is rolled against the module, at the length exported and at others."""
    result, count = rolled(model, INPUTS, length)
    assert (count, sum(node.op_type == "Scan" for node in result.graph.node)) == (loops, loops)
    runtime = session(result)
    for steps in (1, 2, length - 1, length, length + 1, 40):
        x = frames(steps, steps)
        with torch.no_grad():
            expected = module(torch.from_numpy(x))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for given, wanted in zip(runtime.run(None, {"x": x}), expected, strict=True):
            assert given.shape == tuple(wanted.shape)
            np.testing.assert_allclose(given, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("last", [False, True], ids=["every", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_of_any_kind_is_rolled(kind: str, last: bool) -> None:  # noqa: FBT001
    module = seeded(0, lambda: Stack([kind], 6, last=last))
    equals(exported(module, 7), module, 7, 1)


@pytest.mark.parametrize("kind", ["rnn", "reset", "peephole", "norm"])
def test_the_newer_exporter_unrolls_otherwise(kind: str) -> None:
    module = seeded(1, lambda: Stack([kind], 6, last=False))
    equals(exported(module, 6, dynamo=True), module, 6, 1)


@pytest.mark.parametrize("seed", range(10))
def test_random_layers_are_rolled_with_scrambled_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [str(kind) for kind in rng.choice(KINDS, rng.integers(1, 4))]
    last, together, norm = (bool(rng.integers(2)) for _ in range(3))
    hidden, length = int(rng.integers(2, 9)), int(rng.integers(3, 12))
    module = seeded(seed, lambda: Stack(kinds, hidden, last=last, together=together, norm=norm))
    equals(scrambled(exported(module, length), seed), module, length, 1 if together else len(kinds))


def _loop(step: Callable[[Any, torch.Tensor, Any], tuple[torch.Tensor, Any]], start: Callable[[Any], Any]) -> Any:
    """Write a loop whose step takes and gives a state of any form."""

    def run(self: Any, x: torch.Tensor) -> torch.Tensor:
        state, rows = start(self), []
        for t in range(x.shape[1]):
            y, state = step(self, x[:, t], state)
            rows.append(y)
        return torch.stack(rows, 1)

    return run


def _zeros(*_: Any) -> torch.Tensor:
    return torch.zeros(1, 6)


def _gru(self: Any, x: torch.Tensor, h: Any) -> Any:
    h = self.cell(x, h)
    return h, h


def _second(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = torch.tanh(self.line(x) + 0.3 * state[0] - 0.5 * state[1])
    return h, (h, state[0])


def _third(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = torch.tanh(self.line(x) + 0.3 * state[0] - 0.5 * state[2])
    return h, (h, *state[:2])


def _difference(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = self.cell(x - state[1], state[0])
    return h, (h, x)


def _lstm(self: Any, x: torch.Tensor, state: Any) -> Any:
    state = self.lstm(x, state)
    return state[0], state


def _twins(self: Any, x: torch.Tensor, state: Any) -> Any:
    a, b = self.cell(x, state[0]), self.cell(x, state[1])
    return a * b - b, (a, b)


def _growing(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, 0, 6)
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows = torch.cat([rows, h[:, None]], 1)
    return self.head(rows)


def _filled(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, x.shape[1], 6)
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows[:, t] = h
    return self.head(rows)


def _filled_last(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, 6, x.shape[1])
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows[:, :, t] = h
    return rows.transpose(1, 2)


def _flat(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for part in x.unbind(1):
        h = self.cell(part, h)
        rows.append(h)
    return self.head(torch.cat(rows, 1).view(1, x.shape[1], 6))


def _time_first(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for part in x.split(1, 1):
        h = self.cell(part.squeeze(1), h)
        rows.append(self.head(h))
    return torch.stack(rows).transpose(0, 1)


def _sum(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, total = torch.zeros(1, 6), 0
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        total = total + h
    return self.head(torch.relu(total) + self.line(x[:, -1]))


def _none_at_first(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = None, []
    for t in range(x.shape[1]):
        h = torch.tanh(self.line(x[:, t]) if h is None else self.line(x[:, t]) + 0.5 * h)
        rows.append(h)
    return torch.stack(rows, 1)


def _with_last_state(self: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = _loop(_gru, _zeros)(self, x)
    return rows, rows[:, -1] * 2


def _behind_a_convolution(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Padded on both sides and cut to as many steps as there are, as before a selective state-space layer."""
    weight = torch.stack([self.line.weight, -self.line.weight, 0.5 * self.line.weight], -1)
    y = nn.functional.conv1d(x.transpose(1, 2), weight, self.line.bias, padding=2)[:, :, : x.shape[1]].transpose(1, 2)
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = torch.sigmoid(y[:, t]) * h + y[:, t]
        rows.append(h)
    return self.head(torch.stack(rows, 1) * torch.sigmoid(y))


LOOPS = {
    "behind a convolution": _behind_a_convolution,
    "two turns back": _loop(_second, lambda _: (torch.zeros(1, 6),) * 2),
    "three turns back": _loop(_third, lambda _: (torch.zeros(1, 6),) * 3),
    "the frame before": _loop(_difference, lambda _: (torch.zeros(1, 6), torch.zeros(1, models.FEATURES))),
    "a learned start": _loop(_gru, lambda self: self.start),
    "a learned start of an LSTM": _loop(_lstm, lambda self: (self.start, self.second)),
    "twins from two starts": _loop(_twins, lambda self: (torch.zeros(1, 6), self.start)),
    "no state": _loop(lambda self, x, _: (torch.tanh(self.line(x)), None), _zeros),
    "a tensor that grows": _growing,
    "a tensor that is filled": _filled,
    "a tensor that is filled along its last axis": _filled_last,
    "rows side by side": _flat,
    "time first, head inside": _time_first,
    "a sum": _sum,
    "no state at first": _none_at_first,
    "the last state too": _with_last_state,
}


@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_written_otherwise_is_rolled(name: str, dynamo: bool) -> None:  # noqa: FBT001
    module = seeded(2, lambda: Written(LOOPS[name]))
    equals(exported(module, 9, dynamo=dynamo), module, 9, 1)


def test_the_rolled_graph_equals_the_original_in_both_float_types() -> None:
    module = seeded(3, lambda: Stack(["peephole", "norm"], 8, last=False))
    model = exported(module, 12)
    result, _ = rolled(model, INPUTS, 12)
    x = frames(12)
    ours, theirs = (session(each).run(None, {"x": x})[0] for each in (result, model))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    twins = [frontend.evaluator(each).run(None, {"x": x.astype(np.float64)})[0] for each in (result, model)]
    np.testing.assert_allclose(*twins, atol=1e-7)  # constants that the exporter folded are float32
    long = session(result).run(None, {"x": frames(90)})[0]
    np.testing.assert_array_equal(long[:, :30], session(result).run(None, {"x": frames(90)[:, :30]})[0])


def test_a_great_graph_is_rolled() -> None:
    model = exported(seeded(4, lambda: Stack(["lstm", "gru"], 8, last=True)), 128)
    assert len(model.graph.node) > 5000
    assert rolled(model, INPUTS, 128)[1] == 2


def _own_weights(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cells[t](x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _other_first_weights(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cells[int(t > 0)](x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _clock(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h + 0.01 * t)
        rows.append(h)
    return torch.stack(rows, 1)


def _positions(self: Any, x: torch.Tensor) -> torch.Tensor:
    rows = _loop(_gru, _zeros)(self, x)
    return torch.stack([rows[:, t] + self.table[t] for t in range(x.shape[1])], 1)


def _backward(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in reversed(range(x.shape[1])):
        h = self.cell(x[:, t], h)
        rows.append(h)
    return torch.stack(rows[::-1], 1)


def _both_ways(self: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.cat([_loop(_gru, _zeros)(self, x), _backward(self, x)], -1)


def _fourth(self: Any, x: torch.Tensor) -> torch.Tensor:
    rows = _loop(_gru, _zeros)(self, x)
    return rows + rows[:, 3:4]


def _every_second(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(0, x.shape[1], 2):
        h = self.cell(x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _ahead(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, min(t + 1, x.shape[1] - 1)], h)
        rows.append(h)
    return torch.stack(rows, 1)


def _once_otherwise(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h) * (0.5 if t == 4 else 1)
        rows.append(h)
    return torch.stack(rows, 1)


def _start_from_data(self: Any, x: torch.Tensor) -> torch.Tensor:
    return _loop(_gru, lambda _: torch.tanh(self.line(x[:, 0])))(self, x)


def _whole(self: Any, x: torch.Tensor) -> torch.Tensor:
    mean = self.line(x.mean(1))
    return _loop(lambda self, part, h: _gru(self, part, h + mean), _zeros)(self, x)


def _mean(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, total = torch.zeros(1, 6), 0
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        total = total + h
    return self.head(total / x.shape[1])


LOOK_ALIKES = {
    "weights of its own at every step": (_own_weights, r"\(Gemm\).*weights or constants are not the same"),
    "other weights at the first step": (_other_first_weights, "step 0 is not computed as those after it"),
    "a constant that counts": (_clock, r"\(Add\).*constants are not the same at every step, seen at step \d"),
    "positions": (_positions, r"\(Add\).*constants are not the same at every step"),
    "backward": (_backward, "runs backward over time"),
    "both ways": (_both_ways, "runs backward over time"),
    "the fourth step": (_fourth, "by its number"),
    "every second step": (_every_second, r"\(Gather\).*takes step 0 of 9 by its number"),
    "a frame ahead": (_ahead, "by its number"),
    "one step otherwise": (_once_otherwise, r"constants are not the same|other ops stand there"),
    "a start from the data": (_start_from_data, "step 0 is not computed as those after it"),
    "the whole at every step": (_whole, "made of the whole sequence"),
    "a mean": (_mean, r"\(Div\).*number of steps, 9"),
}


@pytest.mark.parametrize("name", LOOK_ALIKES)
def test_what_only_looks_like_a_loop_is_refused_by_node_and_reason(name: str) -> None:
    loop, says = LOOK_ALIKES[name]
    model = exported(seeded(5, lambda: Written(loop)), 9)
    with pytest.raises(export.ExportError, match=rf"node '.*{says}"):
        rolled(model, INPUTS, 9)


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


def test_a_module_that_cannot_be_rolled_is_refused_by_node() -> None:
    module = seeded(7, lambda: Written(_own_weights))
    with pytest.raises(export.ExportError, match=r"node '.*\(Gemm\).*weights or constants are not the same"):
        modules.from_module(module, models.example(), "own", "")


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
    module = seeded(9, lambda: Written(_backward))
    path, x = saved(module, tmp_path / "m.onnx"), frames(30)
    for choice in ({}, {"state": "carry"}, {"window": 8}, {"restart": 9}):
        with pytest.raises(export.ExportError, match=r"fixed at 9 steps.*runs backward.*What works: --window 9"):
            export.export(path, tmp_path / "b", **choice, **OPTIONS)
    given = edgeseq.load(export.export(path, tmp_path / "b", window=9, **OPTIONS)).run(x[0])
    np.testing.assert_allclose(given[8:], windows(module, x, 9), atol=1e-5)


@pytest.mark.parametrize("loop", [_loop(_gru, _zeros), _flat], ids=["by number", "by split"])
def test_a_file_that_says_its_time_is_free_is_not_believed(loop: Any, tmp_path: Path) -> None:
    module = seeded(10, lambda: Written(loop))
    path = saved(module, tmp_path / "m.onnx", 12, dynamic_axes={"x": {1: "time"}})
    sequence = frontend.load(path, input_name=None, time_axis=None)
    assert (sequence.window, sequence.fixed) == (12, None)
    x = frames(30)
    with torch.no_grad():
        np.testing.assert_allclose(sequence.single([x])[0], module(torch.from_numpy(x)).numpy(), atol=1e-5)


def test_a_loop_that_hears_less_than_the_rest_is_not_taken_for_free(tmp_path: Path) -> None:
    module = seeded(11, lambda: Written(_whole))
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
