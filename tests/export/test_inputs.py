"""Several inputs, several outputs, tokens: by name outside, as rows inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from torch import nn

import edgeseq
import export
from edgeseq import cli
from edgeseq.bundle import Bundle
from edgeseq.errors import ModelError

STEPS = 60


class Fused(nn.Module):
    """Vibration through a recurrent layer, sound through a convolution that looks two frames ahead, then both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.memory = nn.GRU(3, 6, batch_first=True)
        self.ahead = nn.Conv1d(2, 4, 5, padding=2)
        self.head = nn.Linear(10, 2)
        self.early = nn.Linear(6, 1)

    def forward(self, vibration: torch.Tensor, sound: torch.Tensor) -> Any:
        h, _ = self.memory(vibration)
        c = torch.relu(self.ahead(sound.transpose(1, 2))).transpose(1, 2)
        return self.head(torch.cat([h, c], -1)), self.early(h)


class Words(nn.Module):
    """Tokens through a table into a recurrent layer."""

    def __init__(self, count: int = 11) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.table = nn.Embedding(count, 5)
        self.memory = nn.LSTM(5, 7, batch_first=True)
        self.head = nn.Linear(7, count)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(self.table(tokens))[0])


class Mixed(nn.Module):
    """An operating mode, as a token, beside measured values; only the last step's output."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.mode = nn.Embedding(4, 3)
        self.memory = nn.GRU(6, 5, batch_first=True)
        self.head = nn.Linear(5, 1)

    def forward(self, mode: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(torch.cat([self.mode(mode), values], -1))[0][:, -1])


def fused() -> tuple[nn.Module, Any]:
    return Fused(), (torch.zeros(1, 9, 3), torch.zeros(1, 9, 2))


@pytest.fixture(scope="module")
def fused_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return export.export(fused(), tmp_path_factory.mktemp("fused") / "b", variants=["float32"])


def noise(features: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(STEPS, features)).astype(np.float32)


def test_two_streams_meet_and_two_outputs_leave_together(fused_bundle: Bundle) -> None:
    module, _ = fused()
    model = edgeseq.load(fused_bundle)
    vibration, sound = noise(3), noise(2, 4)
    with torch.no_grad():
        expected = [y[0].numpy() for y in module(torch.from_numpy(vibration[None]), torch.from_numpy(sound[None]))]
    names = ["frames", "frames1"]
    whole = model.run(dict(zip(names, (vibration, sound), strict=True)))
    owed = model.flush()
    assert model.delay == 2
    for name, truth in zip(("output", "output1"), expected, strict=True):
        given = np.concatenate([whole[name], owed[name]])
        assert np.isnan(given[:2]).all()
        np.testing.assert_allclose(given[2:], truth, atol=2e-6)
    model.reset()
    for t in range(10):
        single = model.step({"frames": vibration[t], "frames1": sound[t]})
        np.testing.assert_array_equal(single["output"], whole["output"][t])


def test_an_onnx_file_of_two_inputs_is_the_same_model(tmp_path: Path) -> None:
    module, example = fused()
    torch.onnx.export(
        module, example, str(tmp_path / "m.onnx"), dynamo=False, opset_version=17, input_names=["v", "s"],
        output_names=["a", "b"], dynamic_axes={"v": {1: "time"}, "s": {1: "time"}},
    )  # fmt: skip
    export.export(tmp_path / "m.onnx", tmp_path / "b", variants=["float32"])
    model = edgeseq.load(tmp_path / "b")
    given = model.run({"v": noise(3), "s": noise(2, 4)})
    with torch.no_grad():
        expected = module(torch.from_numpy(noise(3)[None]), torch.from_numpy(noise(2, 4)[None]))
    np.testing.assert_allclose(given["b"][2:], expected[1][0, :-2].numpy(), atol=2e-6)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"frames": np.zeros((4, 3), np.float32)}, "takes frames, frames1; given were frames"),
        ({"frames": np.zeros((4, 3)), "frames1": np.zeros((5, 2))}, "same times"),
        ({"frames": np.zeros((4, 2)), "frames1": np.zeros((4, 3))}, r"'frames' \[.., 3\]"),
        (np.zeros((4, 5), np.float32), "takes a dict"),
    ],
)
def test_what_does_not_fit_the_inputs_is_refused(given: Any, reason: str, fused_bundle: Bundle) -> None:
    with pytest.raises(ModelError, match=reason):
        edgeseq.load(fused_bundle).run(given)


def test_tokens_stream_through_their_table(tmp_path: Path) -> None:
    module = Words()
    bundle = export.export((module, torch.zeros(1, 8, dtype=torch.int64)), tmp_path / "b", variants=["float32"])
    tensor = bundle.graph().inputs[0]
    assert (tensor.dtype, tensor.tokens) == ("int64", 11)
    tokens = np.random.default_rng(0).integers(0, 11, size=(STEPS, 1))
    with torch.no_grad():
        expected = module(torch.from_numpy(tokens.T))[0].numpy()
    model = edgeseq.load(bundle)
    np.testing.assert_allclose(model.run(tokens), expected, atol=2e-6)
    model.reset()
    np.testing.assert_allclose(model.step(tokens[0]), expected[0], atol=2e-6)


@pytest.mark.parametrize("token", [11, -1, 2**40, 0.5])
def test_a_token_that_there_is_not_is_refused(token: float, tmp_path: Path) -> None:
    export.export((Words(), torch.zeros(1, 8, dtype=torch.int64)), tmp_path / "b", variants=["float32"])
    model = edgeseq.load(tmp_path / "b")
    with pytest.raises(ModelError, match=r"there is no token .* from 0 to 10"):
        model.step(np.array([token]))


def test_calibration_of_tokens_is_checked(tmp_path: Path) -> None:
    np.save(tmp_path / "good.npy", np.arange(40) % 11)
    np.save(tmp_path / "bad.npy", np.arange(40) % 12)
    source = (Words(), torch.zeros(1, 8, dtype=torch.int64))
    export.export(source, tmp_path / "b", calibration=tmp_path / "good.npy", variants=["float32"])
    with pytest.raises(export.ExportError, match="frame 11: 11 is none of the tokens of 'frames', 0 to 10"):
        export.export(source, tmp_path / "c", calibration=tmp_path / "bad.npy")
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("choice", ["window", "restart", "carry"])
def test_tokens_and_values_together_in_windows(choice: str, tmp_path: Path) -> None:
    module, length = Mixed(), 7
    example = (torch.zeros(1, 8, dtype=torch.int64), torch.zeros(1, 8, 3))
    options: dict[str, Any] = {"state": "carry"} if choice == "carry" else {choice: length}
    export.export((module, example), tmp_path / "b", variants=["float32"], **options)
    model = edgeseq.load(tmp_path / "b")
    modes, values = np.random.default_rng(0).integers(0, 4, size=(STEPS, 1)), noise(3)
    given = model.run({"frames": modes, "frames1": values})
    for end in (7, 8, 30, STEPS):
        start = 0 if choice == "carry" else end - length
        with torch.no_grad():
            expected = module(torch.from_numpy(modes[start:end].T), torch.from_numpy(values[None, start:end]))
        np.testing.assert_allclose(given[end - 1], expected[0], atol=1e-5)


def test_the_commands_know_models_of_several_inputs(fused_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> None:
    for command in (["verify", "--json"], ["inspect"], ["bench", "--steps", "200", "--json"]):
        assert cli.main([command[0], str(fused_bundle.path), *command[1:]]) == 0
        told = capsys.readouterr().out
        if command[0] == "verify":
            assert json.loads(told)["variants"][0]["passed"]


def test_last_states_beside_the_outputs_are_left_out_and_told(tmp_path: Path) -> None:
    bundle = export.export(
        (nn.GRU(models.FEATURES, 4, batch_first=True), models.example()), tmp_path / "b", variants=["float32"]
    )
    assert [tensor.name for tensor in bundle.graph().outputs] == ["output"]
    assert "left out: output1" in (tmp_path / "b" / "report.md").read_text()


def test_the_inputs_of_a_module_have_no_names(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="--input names an input of a file"):
        export.export((models.gru(), models.example()), tmp_path / "b", input="frames")
    assert list(tmp_path.iterdir()) == []
