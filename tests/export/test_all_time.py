"""What a model takes from all time so far: attention pooling, variances, the first step; equal on each prefix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import torch
from lowered import equals_its_step
from streaming import equals_the_original, opened, rewritten, stepping
from test_ops import T, model
from torch import Tensor, nn

import edgeseq
import export
from export.choices import Choice
from export.errors import ExportError

END = {"max_steps": 200}
SUM = "y = ReduceSum(p, axis1, keepdims=0)"
WEIGHTS = "s = MatMul(x, matrix); w = Softmax(s, axis=1); "
POOLED = [
    WEIGHTS + "t = Transpose(w, perm=[0, 2, 1]); y = MatMul(t, x)",
    WEIGHTS + "t = Transpose(x, perm=[0, 2, 1]); y = MatMul(t, w)",
    WEIGHTS + "y = Einsum(x, w, equation='btf,btk->bfk')",
    WEIGHTS + "v = Tanh(s); p = Mul(v, w); n = Neg(p); h = Div(n, half); y = ReduceSum(h, axis1, keepdims=1)",
    "s = MatMul(x, matrix); a = Div(s, scale); b = Div(a, scale); w = Softmax(b, axis=1); p = Mul(w, s); " + SUM,
    "v = Reshape(x, channels); s = ReduceSum(v, axis3); w = Softmax(s, axis=1); q = Mul(w, v); p = Reshape(q, back); "
    + SUM,
    T + "c = Conv(t, taps, strides=[2]); w = Softmax(c, axis=2); p = Mul(w, c); y = ReduceSum(p, axis2, keepdims=0)",
    WEIGHTS + "v = Transpose(w, perm=[0, 2, 1]); a = MatMul(v, x); f = Flatten(a); " + T +
    "c = Conv(t, taps, strides=[2]); b = GlobalMaxPool(c); g = Flatten(b); y = Concat(f, g, axis=1)",
]  # fmt: skip
SQUARE = "d = Shape(x); n = Gather(d, axis1, axis=0); q = Concat(n, n, axis=0); o = ConstantOfShape(q); "
MEAN = "m = ReduceMean(x, axes=[1]); "
SPREAD = [
    MEAN + "d = Sub(x, m); q = Mul(d, d); y = ReduceMean(q, axes=[1], keepdims=0)",
    MEAN + "d = Sub(m, x); q = Pow(d, two); v = ReduceMean(q, axes=[1]); y = Sqrt(v)",
    "m = ReduceMean(x, axes=[1], keepdims=0); w = Unsqueeze(m, axis1); d = Sub(x, w); p = Mul(d, d); " + SUM,
    "m = ReduceMean(x, axes=[1, 2]); d = Sub(x, m); q = Mul(d, d); y = ReduceMean(q, axes=[1, 2])",
    MEAN + "d = Sub(x, m); q = Mul(d, d); y = ReduceMean(q, axes=[1, 2])",
    T + "c = Conv(t, taps, strides=[2]); m = ReduceMean(c, axes=[2]); d = Sub(c, m); q = Mul(d, d); "
    "y = ReduceMean(q, axes=[2], keepdims=0)",
    MEAN + "d = Sub(x, m); q = Mul(d, d); v = ReduceMean(q, axes=[1]); f = Flatten(v); " + T +
    "c = Conv(t, taps, strides=[2]); b = GlobalMaxPool(c); g = Flatten(b); y = Concat(f, g, axis=1)",
]  # fmt: skip


@pytest.mark.parametrize("lines", POOLED + SPREAD)
def test_it_equals_the_original_on_each_prefix(lines: str, tmp_path: Path) -> None:
    file = model(tmp_path / "m.onnx", lines, 17)
    sequence, stream = rewritten(file, **END)
    step, every = stepping(stream, tmp_path), stream.frames_per_step
    x = np.random.default_rng(2).normal(size=(12 * every, sequence.features)).astype(np.float32)
    given = np.concatenate([step.run(part) for part in np.split(x, [1, 2, 7])])
    expected = [
        sequence.outputs(x[: end * every], sequence.double)[0] if end > step.delay else np.full(given.shape[1], np.nan)
        for end in range(1, 13)
    ]
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-6)
    equals_its_step(stream)
    with pytest.raises(ExportError, match=r"node 'n\d' .*--max-steps N"):
        rewritten(file)


@pytest.mark.parametrize("lines", [POOLED[0], POOLED[4], SPREAD[0], SPREAD[3]])
def test_each_restarted_copy_has_its_own(lines: str, tmp_path: Path) -> None:
    sequence = opened(model(tmp_path / "m.onnx", lines, 17))
    step = stepping(Choice("restart", 5).rewrite(sequence), tmp_path)
    x = np.random.default_rng(2).normal(size=(12, sequence.features)).astype(np.float32)
    expected = [sequence.outputs(x[end - 5 : end], sequence.double)[0] for end in range(5, 13)]
    np.testing.assert_allclose(step.run(x)[4:], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        "f = Gather(x, nought, axis=1); d = Sub(x, f); y = Tanh(d)",
        "f = Gather(x, from, axis=1); w = Unsqueeze(f, axis1); e = Exp(w); y = Mul(x, e)",
        "f = Slice(x, nought, axis1, axis1); y = Sub(x, f)",
        "f = Gather(x, from, axis=1); y = Tanh(f)",
        "f = Gather(x, from, axis=1); l = Gather(x, newest, axis=1); y = Sub(l, f)",
        T + "c = Conv(t, taps, strides=[2], pads=[1, 0]); f = Slice(c, nought, axis1, axis2); y = Sub(c, f)",
        "p = Pad(x, early); s = Slice(p, nought, back3, axis1); f = Slice(x, nought, axis1, axis1); y = Sub(s, f)",
    ],
)
def test_the_first_step_is_kept(lines: str, tmp_path: Path) -> None:
    file = model(tmp_path / "m.onnx", lines, 17)
    _, stream = equals_the_original(file, tmp_path, 60)
    assert not stream.limited
    equals_its_step(stream)


@pytest.mark.parametrize(
    ("lines", "node", "reason"),
    [
        (WEIGHTS + "y = Identity(w)", r"n1' \(Softmax", "the model's output reads them otherwise"),
        (WEIGHTS + "q = Mul(w, w); y = ReduceSum(q, axis1)", r"n1' \(Softmax", "weights over all time change"),
        (WEIGHTS + "a = Add(w, s); y = ReduceSum(a, axis1)", r"n1' \(Softmax", r"'n2' \(Add\) reads them otherwise"),
        (WEIGHTS + "v = Neg(w); p = Mul(v, w); y = ReduceSum(p, axis1)", r"n1' \(Softmax", r"'n3' \(Mul\)"),
        (WEIGHTS + "p = Mul(w, s); y = ReduceSum(p, picks)", r"n1' \(Softmax", "not known any more"),
        (WEIGHTS + "y = ReduceMax(w, axes=[1])", r"n1' \(Softmax", r"'n2' \(ReduceMax\)"),
        (
            "v = Slice(x, three, far, axis1); s = Slice(x, nought, back3, axis1); w = Softmax(s, axis=1); "
            "p = Mul(w, v); " + SUM,
            r"n4' \(ReduceSum", "come later than their weights",
        ),
        (MEAN + "d = Sub(x, m); q = Abs(d); y = ReduceMean(q, axes=[1])", r"n0' \(ReduceMean", "into the future"),
        (MEAN + "d = Sub(x, m); q = Pow(d, three); y = ReduceMean(q, axes=[1])", "n0", "into the future"),
        (
            "m = ReduceMean(x, axes=[1, 2]); d = Sub(x, m); q = Mul(d, d); y = ReduceMean(q, axes=[1])",
            r"n0' \(ReduceMean", "into the future",
        ),
        (MEAN + "d = Sub(x, m); q = Mul(d, d); y = Sqrt(q)", r"n0' \(ReduceMean", "into the future"),
        (MEAN + "h = Mul(m, half); d = Sub(x, h); q = Mul(d, d); y = ReduceMean(q, axes=[1])", "n0", "future"),
        (
            SQUARE + "e = Exp(o); l = Trilu(e, upper=0); y = MatMul(l, x)",
            r"n6' \(MatMul", "mixes time by a matrix that depends on no data.*CumSum",
        ),
        (T + "c = Conv(t, taps); f = Slice(c, nought, axis1, axis2); y = Sub(c, f)", r"n2' \(Slice", "looks ahead"),
        ("f = Gather(x, by, axis=1); l = Gather(x, newest, axis=1); y = Sub(l, f)", "n0", "the first or the last step"),
    ],
)  # fmt: skip
def test_what_does_not_run_along_is_refused_by_node(lines: str, node: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"node '{node}.*{reason}"):
        rewritten(model(tmp_path / "m.onnx", lines, 17), **END)


def test_the_first_step_is_no_initial_state_and_no_restart(tmp_path: Path) -> None:
    begun = "f = Gather(x, from, axis=1); h = Slice(f, nought, three, axis1); i = Unsqueeze(h, nought); "
    cell = "t = Transpose(x, perm=[1, 0, 2]); r, y = GRU(t, cells9, again9, _, _, i, hidden_size=3)"
    with pytest.raises(ExportError, match=r"\(GRU\): its initial state is computed from the data: 'n0'"):
        rewritten(model(tmp_path / "m.onnx", begun + cell, 17))
    file = model(tmp_path / "m.onnx", "f = Gather(x, from, axis=1); l = Gather(x, newest, axis=1); y = Sub(l, f)", 17)
    with pytest.raises(ExportError, match=r"'n0' \(Gather\): it keeps the first step.*--window"):
        Choice("restart", 5).rewrite(opened(file))


def spread(x: Tensor, correction: int) -> Tensor:
    """Statistics pooling: the mean and the standard deviation side by side."""
    return torch.cat([x.mean(1), torch.std(x, 1, correction=correction)], -1)


def asked(self: Any, x: Tensor) -> Tensor:
    """Attention of learned queries over all time: [batch, queries, 6]."""
    scores = self.query.expand(len(x), -1, -1) @ self.key(x).transpose(1, 2)
    return torch.softmax(scores / 6**0.5, dim=-1) @ self.value(x)


def everything(self: Any, x: Tensor) -> Tensor:
    return torch.cat([asked(self, x).flatten(1), spread(x, 1), x[:, 0]], -1)


class Over(nn.Module):
    """A layer over all time, behind a recurrence and before a dense head."""

    def __init__(self, layer: Any, size: int) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.memory, self.layer = nn.GRU(models.FEATURES, 6, batch_first=True), layer
        self.score = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
        self.query, self.key, self.value = nn.Parameter(torch.randn(1, 3, 6)), nn.Linear(6, 6), nn.Linear(6, 6)
        self.head = nn.Linear(size, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(self, self.memory(x)[0]))


LAYERS: dict[str, tuple[Any, int]] = {
    "additive attention": (lambda self, x: (torch.softmax(self.score(x), dim=1) * x).sum(1), 6),
    "learned queries": (lambda self, x: asked(self, x).flatten(1), 18),
    "population variance": (lambda _, x: torch.var(x, 1, correction=0), 6),
    "statistics": (lambda _, x: spread(x, 1), 12),
    "change": (lambda _, x: x[:, -1] - x[:, 0], 6),
}


@pytest.mark.filterwarnings("ignore:std..:UserWarning")
@pytest.mark.parametrize("name", LAYERS)
def test_pytorchs_layers_run_along(name: str, tmp_path: Path) -> None:
    module = Over(*LAYERS[name]).eval()
    sequence, stream = equals_the_original((module, models.example()), tmp_path, 40, max_steps=40)
    step = stepping(stream, tmp_path)
    assert step.delay == (name == "statistics"), "of one frame there is no sample deviation"
    step.reset()
    given, x = step.run(models.walks(1, 9)[0]), torch.from_numpy(models.walks(1, 9)[0][None]).double()
    with torch.no_grad():
        expected = [module.double()(x[:, :end])[0].numpy() for end in range(1, 10)]
    np.testing.assert_allclose(given, expected, atol=1e-5)
    assert sequence.every_step is False


def test_far_from_zero_and_great_scores_lose_nothing(tmp_path: Path) -> None:
    """Squares taken apart would cancel where the mean is far from zero; exp of the scores themselves would overflow."""
    module = Over(lambda _, x: torch.cat([spread(x + 300, 0), (torch.softmax(400 * x, 1) * x).sum(1)], -1), 18)
    equals_the_original((module.eval(), models.example()), tmp_path, 150, max_steps=150)


@pytest.mark.long
def test_all_backends_run_it(tmp_path: Path) -> None:
    module = Over(everything, 36).eval()
    options: dict[str, Any] = {"calibration": models.walks(2), "state": "carry", "max_steps": 5000}
    bundle = export.export((module, models.example()), tmp_path / "b", variants=["float32"], **options)
    assert {entry.backend for entry in bundle.manifest.parity} == {"ort", "litert", "native"}
    assert np.isnan(edgeseq.load(bundle).step(models.walks(1)[0][0])).all(), "of one frame there is no deviation"


@pytest.mark.long
@pytest.mark.parametrize("name", sorted(LAYERS.keys() - {"learned queries"}))
def test_all_variants_pass_their_bounds(name: str, tmp_path: Path) -> None:
    module = Over(*LAYERS[name]).eval()
    options: dict[str, Any] = {"calibration": models.walks(), "state": "carry", "max_steps": 300}
    variants = ["float32", "int8", "w8a16"]
    bundle = export.export((module, models.example()), tmp_path / "b", variants=variants, **options)
    assert len(bundle.manifest.parity) == 9
