"""Models trained on windows: carried on, whole windows, restarted states; and the error that asks for the choice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import models
import numpy as np
import onnx
import pytest
import torch

import edgeseq
import export

OPTIONS = {"calibration": models.walks(), "variants": ["float32"]}


def windows(module: models.Recurrent, x: np.ndarray, length: int) -> np.ndarray:
    rows = []
    with torch.no_grad():
        for start in range(len(x) - length + 1):
            y = module(torch.from_numpy(x[None, start : start + length]))[0].numpy()
            rows.append(y if module.last else y[-1])
    return np.array(rows)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("choice", ["window", "restart"])
def test_every_output_is_that_of_its_window(choice: str, length: int, last: bool, tmp_path: Path) -> None:  # noqa: FBT001
    module = models.random_module(3, last=last)
    bundle = export.export((module, models.example()), tmp_path / "b", **{choice: length}, **OPTIONS)
    graph = bundle.manifest.graphs[0]
    assert (graph.delay, graph.receptive_field, graph.warm_up) == (length - 1, length, length - 1)
    model, x = edgeseq.load(bundle), models.walks(1)[0][:60]
    given = np.concatenate([model.run(x[:13]), model.run(x[13:])])
    assert np.isnan(given[: length - 1]).all()
    np.testing.assert_allclose(given[length - 1 :], windows(module, x, length), atol=1e-5)
    assert len(model.flush()) == 0
    model.reset()
    np.testing.assert_array_equal(model.run(x), given)


def test_choices_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match="--state and --window exclude each other"):
        export.export((models.gru(), models.example()), tmp_path / "b", state="carry", window=5, **OPTIONS)
    with pytest.raises(export.ExportError, match="at least 1 frame"):
        export.export((models.gru(), models.example()), tmp_path / "b", window=0, **OPTIONS)


def test_only_recurrent_states_are_restarted(tmp_path: Path) -> None:
    convolution = torch.nn.Sequential()
    convolution.add_module("conv", _Causal())
    with pytest.raises(export.ExportError, match=r"--restart is for recurrent models.*Use --window"):
        export.export((convolution.eval(), models.example()), tmp_path / "b", restart=5, **OPTIONS)
    strided = torch.nn.Sequential(_Halved(), models.gru())
    with pytest.raises(export.ExportError, match=r"takes 2 a step. Use --window"):
        export.export((strided.eval(), models.example()), tmp_path / "b", restart=8, **OPTIONS)


class _Halved(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.max_pool1d(x.transpose(1, 2), 2).transpose(1, 2)


def written(name: str, module: torch.nn.Module, x: torch.Tensor, folder: Path) -> str:
    path = folder / f"{name}.onnx"
    torch.onnx.export(module.eval(), (x,), str(path), dynamo=False, input_names=["x"], output_names=["y"])
    return str(path)


def test_a_guess_of_the_time_axis_is_told_where_it_may_be_what_is_wrong(tmp_path: Path) -> None:
    path = written("channels", torch.nn.Conv1d(4, 2, 3), torch.zeros(1, 4, 100), tmp_path)
    with pytest.raises(export.ExportError, match=r"axis 1 of 'x' \[1, 4, 100\]; --time-axis says otherwise"):
        export.export(path, tmp_path / "b", variants=["float32"])
    assert export.export(path, tmp_path / "b", variants=["float32"], time_axis=2, state="carry")


def test_a_file_of_one_step_is_told_what_runs_it(tmp_path: Path) -> None:
    path = written("step", torch.nn.Linear(4, 2), torch.zeros(1, 4), tmp_path)
    with pytest.raises(export.ExportError, match=r"a step already.*runs the file as it is.*\[\[model\]\]"):
        export.export(path, tmp_path / "b", variants=["float32"])


class _Causal(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv1d(models.FEATURES, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(torch.nn.functional.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)


@pytest.fixture
def fixed(tmp_path: Path) -> Path:
    """A last-step GRU as ONNX whose time axis is fixed at 12 frames."""
    module = models.random_module(3, last=True, kind="gru")
    path = tmp_path / "fixed.onnx"
    torch.onnx.export(module, (torch.zeros(1, 12, models.FEATURES),), str(path), dynamo=False, input_names=["x"])
    shape = onnx.load(path).graph.input[0].type.tensor_type.shape
    assert [dim.dim_value for dim in shape.dim] == [1, 12, models.FEATURES]
    return path


def test_a_fixed_time_axis_asks_for_a_choice_and_says_what_hangs_on_it(fixed: Path, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"windows of 12 frames.*--restart N.*apart on average") as raised:
        export.export(str(fixed), tmp_path / "b", **OPTIONS)
    assert "nan" not in str(raised.value)
    assert not (tmp_path / "b").exists()


def test_a_fixed_time_axis_is_set_free(fixed: Path, tmp_path: Path) -> None:
    module, x = models.random_module(3, last=True, kind="gru"), models.walks(1)[0][:40]
    carried = edgeseq.load(export.export(str(fixed), tmp_path / "carry", state="carry", **OPTIONS)).run(x)
    with torch.no_grad():
        np.testing.assert_allclose(carried[-1], module(torch.from_numpy(x[None]))[0].numpy(), atol=1e-5)
    windowed = edgeseq.load(export.export(str(fixed), tmp_path / "window", window=12, **OPTIONS)).run(x)
    np.testing.assert_allclose(windowed[11:], windows(module, x, 12), atol=1e-5)


class _States(torch.nn.Module):
    """A head on the last states of two layers, side by side."""

    def __init__(self, how: str) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.gru = torch.nn.GRU(models.FEATURES, 12, 2, batch_first=True)
        self.head = torch.nn.Linear(24 if how == "both" else 12, 2)
        self.how = how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, h = self.gru(x)
        heads = {
            "both": lambda: h.transpose(0, 1).flatten(1),
            "top": lambda: h[-1],
            "step": lambda: y[:, -1],
            "slice": lambda: y[:, -1:].flatten(1),
        }
        return self.head(heads[self.how]())


@pytest.mark.long
@pytest.mark.parametrize("how", ["both", "top", "step", "slice"])
def test_last_step_heads_of_every_form_are_quantized(how: str, tmp_path: Path) -> None:
    bundle = export.export(
        (_States(how).eval(), models.example()),
        tmp_path / "b",
        state="carry",
        calibration=models.walks(),
        variants=["int8"],
    )
    assert bundle.manifest.files[0].float_macs == 0


def test_the_steps_of_a_window_share_their_integers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = models.Recurrent("gru", 1, 24, norm=False, residual=False, last=True).eval()
    options = {"calibration": models.walks(), "variants": ["float32", "int8"]}
    bundle = export.export((module, models.example()), tmp_path / "b", window=5, **options)
    whole, eight = (bundle.file(variant, "onnx") for variant in ("float32", "int8"))
    # Half of what is left are biases and tables; integers of its own would be 2,088 bytes more for each other step.
    assert eight.weight_bytes < 0.6 * whole.weight_bytes


class _Pooled(torch.nn.Module):
    def __init__(self, pool: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.pool = pool
        torch.manual_seed(2)
        self.gru = torch.nn.GRU(models.FEATURES, 6, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(self.gru(x)[0])


@pytest.mark.parametrize(
    "pool", [lambda y: y.amax(dim=1), lambda y: y.mean(dim=1), lambda y: y.sum(dim=1)], ids=["greatest", "mean", "sum"]
)
@pytest.mark.parametrize("choice", ["window", "restart"])
def test_what_pools_all_of_a_window_is_that_of_every_window(
    choice: str, pool: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    module, length = _Pooled(pool).eval(), 5
    model = edgeseq.load(export.export((module, models.example()), tmp_path / "b", **{choice: length}, **OPTIONS))
    x = models.walks(1)[0][:40]
    with torch.no_grad():
        expected = [module(torch.from_numpy(x[None, at : at + length]))[0].numpy() for at in range(len(x) - length + 1)]
    np.testing.assert_allclose(model.run(x)[length - 1 :], expected, atol=1e-5)


class _Mean(torch.nn.Module):
    def __init__(self, *, keepdim: bool) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.gru = torch.nn.GRU(models.FEATURES, 6, batch_first=True)
        self.head = torch.nn.Linear(6, 2)
        self.keepdim = keepdim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.head(self.gru(x)[0].mean(dim=1, keepdim=self.keepdim)))


@pytest.mark.parametrize("keepdim", [True, False])
def test_a_mean_over_time_runs(keepdim: bool, tmp_path: Path) -> None:  # noqa: FBT001
    module = _Mean(keepdim=keepdim).eval()
    with pytest.raises(export.ExportError, match=r"\(ReduceMean\).*--max-steps N"):
        export.export((module, models.example()), tmp_path / "b", state="carry", **OPTIONS)
    bundle = export.export((module, models.example()), tmp_path / "b", state="carry", max_steps=20_000, **OPTIONS)
    x = models.walks(1)[0]
    given = edgeseq.load(bundle).run(x)
    for end in (1, 2, 40, len(x)):
        with torch.no_grad():
            expected = module(torch.from_numpy(x[None, :end])).reshape(-1).numpy()
        np.testing.assert_allclose(given[end - 1], expected, atol=1e-5)


class _Centred(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - x.mean(dim=1, keepdim=True)


def test_a_mean_that_goes_back_into_the_sequence_is_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"\(ReduceMean\).*into the future"):
        export.export((_Centred(), models.example()), tmp_path / "b", max_steps=100, **OPTIONS)


class _OfOneLength(torch.nn.Module):
    """Lays a window of 12 flat, as it is or in patches of 5 (the last 2 frames of it fill none)."""

    def __init__(self, *, patches: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches, self.head = patches, torch.nn.Linear((10 if patches else 12) * models.FEATURES, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(1, keepdim=True)
        if self.patches:
            x = x.unfold(1, 5, 5).reshape(1, 2, 5 * models.FEATURES)
        return self.head(x.flatten(1))


@pytest.mark.parametrize("patches", [False, True], ids=["flat", "in patches"])
def test_a_module_of_one_length_runs_as_whole_windows(patches: bool, tmp_path: Path) -> None:  # noqa: FBT001
    module, example = _OfOneLength(patches=patches).eval(), torch.zeros(1, 12, models.FEATURES)
    for choice in ({}, {"state": "carry"}, {"window": 11}):
        with pytest.raises(export.ExportError, match="What works: --window 12"):
            export.export((module, example), tmp_path / "b", **choice, **OPTIONS)
    model = edgeseq.load(export.export((module, example), tmp_path / "b", window=12, **OPTIONS))
    x = models.walks(1)[0][:40]
    with torch.no_grad():
        expected = [module(torch.from_numpy(x[None, at : at + 12]))[0].numpy() for at in range(29)]
    np.testing.assert_allclose(model.run(x)[11:], expected, atol=1e-5)


class _Classifier(torch.nn.Module):
    """Unpadded convolutions and poolings, a recurrent layer, a dense head on its last step."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = torch.nn.Conv1d(models.FEATURES, 6, 3), torch.nn.Conv1d(6, 6, 3)
        self.memory, self.head = torch.nn.LSTM(6, 8, batch_first=True), torch.nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.nn.functional.max_pool1d(torch.relu(self.a(x.transpose(1, 2))), 2)
        x = torch.nn.functional.max_pool1d(torch.relu(self.b(x)), 2)
        return self.head(self.memory(x.transpose(1, 2))[0][:, -1])


def test_a_head_behind_strides_gives_an_output_after_every_whole_step(tmp_path: Path) -> None:
    module = _Classifier().eval()
    options = OPTIONS | {"variants": ["float32", "int8", "w8a16"]}
    bundle = export.export((module, torch.zeros(1, 64, models.FEATURES)), tmp_path / "b", state="carry", **options)
    assert {entry.backend for entry in bundle.manifest.parity if entry.passed} == {"ort", "litert", "native"}
    model, x = edgeseq.load(bundle, variant="float32"), models.walks(1)[0][:83]
    assert (model.frames_per_step, model.delay) == (4, 2)
    given = np.concatenate([model.run(part) for part in np.split(x, [1, 7, 30])])
    assert np.isnan(given[:2]).all()
    with torch.no_grad():
        expected = [module(torch.from_numpy(x[None, : 4 * steps]))[0].numpy() for steps in range(3, 21)]
    np.testing.assert_allclose(given[2:], expected, atol=1e-5)
