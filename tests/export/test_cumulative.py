"""Memories of the newer kind: cumulative sums, diagonal state spaces, linear attention; in every form they come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scans
import torch
from models import FEATURES, example, walks
from scans import node, scan, value
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as torch_scan

import edgeseq
import export

OPTIONS: dict[str, Any] = {"calibration": walks(), "variants": ["float32"]}
KEYS, VALUES = 4, 3


class Layer(nn.Module):
    """A layer between two dense ones."""

    def __init__(self, layer: Any, width: int = KEYS) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.front, self.head = nn.Linear(FEATURES, width), nn.Linear(width, 2)
        self.query, self.key, self.value = nn.Linear(width, KEYS), nn.Linear(width, KEYS), nn.Linear(width, width)
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        u = self.front(x)
        return self.head(self.layer(u, self.query(u), self.key(u), self.value(u)))


def check(module: nn.Module, folder: Path, steps: int = 90, **options: Any) -> edgeseq.bundle.Bundle:
    """Export a module and hold its step, after a reset and in chunks, against it."""
    module = module.eval()
    bundle = export.export((module, example()), folder / "b", **(OPTIONS | options))
    x = walks(1, steps, seed=8)[0]
    model = edgeseq.load(bundle, variant="float32")
    model.run(x[:11])
    model.reset()
    given = np.concatenate([model.run(x[:20]), model.step(x[20])[None], model.run(x[21:])])
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)
    return bundle


def features(x: Tensor) -> Tensor:
    """The feature map of linear attention: it is positive."""
    return torch.nn.functional.elu(x) + 1


def normalized(_u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Katharopoulos et al., "Transformers are RNNs": two cumulative sums and their ratio."""
    q, k = features(q), features(k)
    memory = torch.cumsum(k.unsqueeze(-1) * v.unsqueeze(-2), dim=1)
    total = torch.cumsum(k, dim=1)
    return (q.unsqueeze(-2) @ memory).squeeze(-2) / (q * total).sum(-1, keepdim=True)


def summed(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same, by equations."""
    q, k = features(q), features(k + 0 * u)
    memory = torch.cumsum(torch.einsum("btd,bte->btde", k, v), dim=1)
    return torch.einsum("btd,btde->bte", q, memory) / torch.einsum("btd,btd->bt", q, torch.cumsum(k, 1)).unsqueeze(-1)


def exclusive(_u: Tensor, _q: Tensor, _k: Tensor, v: Tensor) -> Tensor:
    """All entries before this one."""
    return torch.tanh(0.05 * (torch.cumsum(v, dim=1) - v))


def weighted(u: Tensor, _q: Tensor, _k: Tensor, v: Tensor) -> Tensor:
    """A decaying sum in its cumulative form: gamma^t * cumsum(gamma^-t v)."""
    steps = torch.arange(u.shape[1], dtype=u.dtype)[None, :, None]
    return torch.cumsum(v * 0.97**-steps, dim=1) * 0.97**steps


def retention(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Sun et al., "Retentive Network", the parallel form."""
    steps = torch.arange(u.shape[1], dtype=u.dtype)
    age = steps[:, None] - steps[None]
    decay = torch.where(age >= 0, 0.6 ** age.clamp(min=0), torch.zeros_like(age))
    return ((q @ k.transpose(1, 2)) * decay) @ v


def remembering(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The same with a decay so slow that it never ends in float32."""
    steps = torch.arange(u.shape[1], dtype=u.dtype)
    age = steps[:, None] - steps[None]
    decay = torch.where(age >= 0, 0.995 ** age.clamp(min=0), torch.zeros_like(age))
    return ((q @ k.transpose(1, 2)) * decay) @ v


def backwards(_u: Tensor, _q: Tensor, _k: Tensor, v: Tensor) -> Tensor:
    return torch.flip(torch.cumsum(torch.flip(v, [1]), 1), [1])


def scanned_retention(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    def step(memory: Tensor, given: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        query, key, entry = given
        memory = 0.9 * memory + key.unsqueeze(-1) * entry.unsqueeze(-2)
        return memory, (query.unsqueeze(-2) @ memory).squeeze(-2)

    first = torch.zeros(u.shape[0], q.shape[2], v.shape[2], dtype=u.dtype)
    return torch_scan(step, first, (q, k, v), dim=1)[1]


@torch.jit.script
def scripted_retention(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    memory = torch.zeros(u.size(0), q.size(2), v.size(2))
    outputs: list[Tensor] = []
    for t in range(u.size(1)):
        memory = 0.9 * memory + k[:, t].unsqueeze(-1) * v[:, t].unsqueeze(-2)
        outputs.append(torch.matmul(q[:, t].unsqueeze(-2), memory).squeeze(-2))
    return torch.stack(outputs, 1)


@torch.jit.script
def scripted_attention(u: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    memory, total = torch.zeros(u.size(0), q.size(2), v.size(2)), torch.zeros(u.size(0), q.size(2))
    outputs: list[Tensor] = []
    for t in range(u.size(1)):
        key, query = torch.relu(k[:, t]) + 0.1, torch.relu(q[:, t]) + 0.1
        memory = memory + key.unsqueeze(-1) * v[:, t].unsqueeze(-2)
        total = total + key
        read = torch.matmul(query.unsqueeze(-2), memory).squeeze(-2)
        outputs.append(read / (query * total).sum(-1, keepdim=True))
    return torch.stack(outputs, 1)


@torch.jit.script
def scripted_diagonal(u: Tensor, _q: Tensor, _k: Tensor, _v: Tensor) -> Tensor:
    """An LRU: complex states as pairs of real ones, h = a h + b u."""
    steps = torch.arange(u.size(2), dtype=u.dtype)
    size, angle = 0.9 - 0.1 * steps, 0.3 * steps
    real, imag = size * torch.cos(angle), size * torch.sin(angle)
    h, g = torch.zeros(u.size(0), u.size(2)), torch.zeros(u.size(0), u.size(2))
    outputs: list[Tensor] = []
    for t in range(u.size(1)):
        before = h
        h = real * h - imag * g + u[:, t]
        g = imag * before + real * g
        outputs.append(h + 0.5 * g)
    return torch.stack(outputs, 1)


def scanned_diagonal(u: Tensor, _q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Mamba's recurrence: decay and input both made of the entry itself."""

    def step(h: Tensor, given: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        gate, entry = given
        h = torch.exp(-torch.nn.functional.softplus(gate)) * h + entry
        return h, h.clone()

    return torch_scan(step, torch.zeros(u.shape[0], u.shape[2], dtype=u.dtype), (k, v), dim=1)[1]


@pytest.mark.parametrize(
    "layer",
    [scanned_retention, scripted_retention, scripted_attention, scripted_diagonal, scanned_diagonal],
    ids=lambda layer: getattr(layer, "__name__", None) or layer.name,
)
def test_a_memory_as_a_recurrence_streams(layer: Any, tmp_path: Path) -> None:
    bundle = check(Layer(layer), tmp_path)
    assert bundle.manifest.graphs[0].max_steps is None
    told = (tmp_path / "b" / "report.md").read_text("utf-8").count("a sum from which nothing fades")
    assert told == (2 if layer is scripted_attention else 0)


@pytest.mark.parametrize("layer", [normalized, summed, exclusive])
def test_a_cumulative_sum_needs_an_end_and_then_runs(layer: Any, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"node '.*' \(CumSum\): .*nothing fades.*--max-steps N"):
        export.export((Layer(layer).eval(), example()), tmp_path / "b", **OPTIONS)
    assert not (tmp_path / "b").exists()
    bundle = check(Layer(layer), tmp_path, max_steps=20_000)
    assert bundle.manifest.graphs[0].max_steps == 20_000
    assert {state.dtype for state in bundle.manifest.files[0].states} == {"float64"}


def test_a_sum_weighted_by_a_power_of_the_step_runs_until_its_reset(tmp_path: Path) -> None:
    check(Layer(weighted), tmp_path, max_steps=300)


def test_retention_in_its_parallel_form_streams_where_it_fades(tmp_path: Path) -> None:
    check(Layer(retention), tmp_path, steps=300)


def test_retention_that_does_not_fade_needs_a_window_or_an_end(tmp_path: Path) -> None:
    module = Layer(remembering)
    with pytest.raises(export.ExportError, match=r"reaches back to the first frame.*--attention-window.*--max-steps"):
        export.export((module.eval(), example()), tmp_path / "b", **OPTIONS)
    check(module, tmp_path, max_steps=200)
    bundle = export.export((module.eval(), example()), tmp_path / "c", attention_window=50, **OPTIONS)
    assert "under a band mask of 50 steps" in bundle.manifest.origin.note


def test_a_sum_from_the_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"node '.*' \("):
        export.export((Layer(backwards).eval(), example()), tmp_path / "b", max_steps=100, **OPTIONS)
    nodes = [node("CumSum", "x one", "y", reverse=1)]
    file = scans.save(tmp_path / "m.onnx", nodes, {"one": np.array(1)}, FEATURES)
    with pytest.raises(export.ExportError, match=r"node 'n_y' \(CumSum\): it adds up from the end"):
        export.export(file, tmp_path / "b", max_steps=100, **OPTIONS)


KERNEL = np.random.default_rng(0).normal(size=(FEATURES, FEATURES, 3)).astype(np.float32) * 0.3


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_sum_of_what_comes_late_or_by_several(exclusive: int, stride: int, tmp_path: Path) -> None:
    nodes = [
        node("Transpose", "x", "xc", perm=[0, 2, 1]),
        node("Conv", "xc kernel", "u", pads=[1, 1]),
        node("CumSum", "u axis", "s", exclusive=exclusive),
        node("Mul", "s small", "z"),
        node("Tanh", "z", "a"),
        node("Conv", "a kernel", "c", pads=[2, 0], strides=[stride]),
        node("Transpose", "c", "y", perm=[0, 2, 1]),
    ]
    arrays = {"kernel": KERNEL, "axis": np.array(-1), "small": np.array(0.1, np.float32)}
    file = scans.scramble(scans.save(tmp_path / "m.onnx", nodes, arrays, FEATURES))
    bundle = export.export(file, tmp_path / "b", max_steps=400, **OPTIONS)
    x = walks(1, 60, seed=2)[0]
    model = edgeseq.load(bundle)
    given = np.concatenate([model.run(x[:20]), model.run(x[20:]), model.flush()])[model.delay :]
    expected = scans.whole(file, x, last=True).reshape(-1, FEATURES)
    np.testing.assert_allclose(given[: len(expected)], expected, rtol=1e-4, atol=1e-5)


def test_a_sum_along_the_features_is_no_memory(tmp_path: Path) -> None:
    file = scans.save(tmp_path / "m.onnx", [node("CumSum", "x two", "y")], {"two": np.array(2)}, FEATURES)
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    assert bundle.manifest.graphs[0].states == []


def test_a_state_space_written_as_a_scan(tmp_path: Path) -> None:
    """S4D: several complex modes a channel, h = a h + b x, y = Re(c h) + d x."""
    modes = 3
    rng = np.random.default_rng(1)
    size, angle = rng.uniform(0.7, 0.98, (2, FEATURES, modes))
    arrays = {
        "re": (size * np.cos(angle))[None], "im": (size * np.sin(angle))[None],
        "b": rng.normal(size=(1, FEATURES, modes)), "c": rng.normal(size=(1, FEATURES, modes)),
        "e": rng.normal(size=(1, FEATURES, modes)), "d": rng.normal(size=FEATURES),
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    arrays |= {"last": np.array([-1]), "zero": np.zeros((1, FEATURES, modes), np.float32)}
    body = [
        node("Unsqueeze", "xt last", "wide"),
        node("Mul", "wide b", "driven"),
        node("Mul", "re h", "rh"),
        node("Mul", "im g", "ig"),
        node("Mul", "im h", "ih"),
        node("Mul", "re g", "rg"),
        node("Sub", "rh ig", "turned"),
        node("Add", "turned driven", "h1"),
        node("Add", "ih rg", "g1"),
        node("Mul", "h1 c", "hc"),
        node("Mul", "g1 e", "ge"),
        node("Sub", "hc ge", "both"),
        node("ReduceSum", "both last", "out", keepdims=0),
    ]
    shape = [1, FEATURES, modes]
    inside, given = [value("h", shape), value("g", shape), value("xt", [1, FEATURES])], [
        value("h1", shape), value("g1", shape), value("out", [1, FEATURES]),
    ]  # fmt: skip
    nodes = [
        scan("zero zero x", body, inside, given, "ha ga ys", scan_input_axes=[1], scan_output_axes=[1]),
        node("Mul", "x d", "xd"),
        node("Add", "ys xd", "y"),
    ]
    file = scans.scramble(scans.save(tmp_path / "m.onnx", nodes, arrays, FEATURES))
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    x = walks(1, 60, seed=2)[0]
    np.testing.assert_allclose(edgeseq.load(bundle).run(x), scans.whole(file, x), rtol=1e-4, atol=1e-4)
