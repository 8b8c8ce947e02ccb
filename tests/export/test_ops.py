"""Ops one by one: what works on each time step by itself runs, what does not is refused by node and reason."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from streaming import equals_the_original, rewritten
from test_strange_models import value

from export.errors import ExportError

FEATURES = 8
CONSTANTS: dict[str, Any] = {
    "half": np.float32(0.5), "zero": np.float32(0), "one": np.float32(1), "two": np.array(2, np.int64),
    "three": np.array([3], np.int64), "axis1": np.array([1], np.int64), "axis2": np.array([2], np.int64),
    "axis3": np.array([3], np.int64), "scale": np.float32(0.05), "z": np.int8(3), "u": np.uint8(120),
    "matrix": np.random.default_rng(0).normal(size=(FEATURES, 3)).astype(np.float32),
    "ones8": np.ones(FEATURES, np.float32), "ones4": np.ones(4, np.float32), "ones2": np.ones(2, np.float32),
    "w8": np.random.default_rng(1).integers(-100, 100, size=(FEATURES, 3)).astype(np.int8),
    "off": np.array([0, 1], np.float32), "depth": np.array(4, np.int64), "k": np.array([3], np.int64),
    "square": np.array([1, -1, 2, 4], np.int64), "image": np.array([-1, 4, 1, 2], np.int64),
    "tiles": np.array([-1, 1, 2, 4], np.int64), "back": np.array([1, -1, 8], np.int64),
    "channels": np.array([1, -1, 4, 2], np.int64), "grow": np.array([1, 1, 2, 1], np.float32),
    "stretch": np.array([1, 2, 1], np.float32), "bits": np.array(1, np.uint8),
    "picks": np.array([0, 2], np.int64), "perm": np.array([[[3, 1, 0]]], np.int64),
    "kernel": np.random.default_rng(2).normal(size=(2, 1, 2, 3)).astype(np.float32),
    "taps": np.random.default_rng(3).normal(size=(3, FEATURES, 3)).astype(np.float32),
    "up": np.random.default_rng(4).normal(size=(FEATURES, 3, 4)).astype(np.float32),
    "cells": np.random.default_rng(5).normal(size=(2, 9, 1)).astype(np.float32),
    "again": np.random.default_rng(6).normal(size=(2, 9, 3)).astype(np.float32),
    "cells9": np.random.default_rng(7).normal(size=(1, 9, FEATURES)).astype(np.float32),
    "again9": np.random.default_rng(8).normal(size=(1, 9, 3)).astype(np.float32),
    "nought": np.array([0], np.int64), "from": np.array(0, np.int64), "by": np.array(1, np.int64),
    "every": np.array([2], np.int64), "back1": np.array([-1], np.int64), "far": np.array([2**40], np.int64),
    "back3": np.array([-3], np.int64),
    "newest": np.array(-1, np.int64),
    "wide": np.array([1, -1, 48], np.int64), "lags": np.array([[0, 2, 3]], np.int64),
    "early": np.array([0, 3, 0, 0, 0, 0], np.int64), "laid": np.array([1, -1, 3 * FEATURES], np.int64),
    "first": np.array([[0, 0]], np.int64), "row": np.ones((1, FEATURES), np.float32),
    "pair": np.array([1, -1, 2 * FEATURES], np.int64), "triple": np.array([1, -1, 3, FEATURES], np.int64),
    "split": np.array([1, FEATURES, -1, 2], np.int64),
    "rows": np.random.default_rng(9).normal(size=(1, 2, FEATURES)).astype(np.float32),
}  # fmt: skip


def model(path: Path, lines: str, opset: int) -> str:
    """Write a graph from lines `y, z = Op(a, b, attribute=value)`; x is [batch, time, 8], the last output is y."""
    nodes = []
    for number, line in enumerate(filter(None, (line.strip() for line in lines.split(";")))):
        found = re.fullmatch(r"(.+?) = (\w+)\((.*)\)", line)
        assert found is not None, line
        outputs, op, inside = found.groups()
        words = [word.strip() for word in re.findall(r"(?:'[^']*'|\[[^\]]*\]|[^,'\[])+", inside)]
        inputs = ["" if word == "_" else word for word in words if "=" not in word]
        attributes = {word.split("=", 1)[0]: eval(word.split("=", 1)[1]) for word in words if "=" in word}  # noqa: S307
        nodes.append(helper.make_node(op, inputs, outputs.split(", "), f"n{number}", **attributes))
    used = {name for node in nodes for name in node.input}
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in CONSTANTS.items() if name in used]
    graph = helper.make_graph(
        nodes, "g", [value("x", ["batch", "time", FEATURES])], [value("y", ["a", "b", "c"])], tensors
    )
    saved = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    del saved.graph.output[0].type.tensor_type.shape.dim[:]
    saved.graph.output[0].type.tensor_type.shape.dim.extend([onnx.TensorShapeProto.Dimension() for _ in range(3)])
    onnx.save(saved, path)
    return str(path)


BACK = "q = Transpose(a, perm=[2, 0, 1, 3]); y = Reshape(q, wide)"
RUNS = [
    "y = Celu(x, alpha=0.7)",
    "y = Shrink(x, lambd=0.3, bias=0.1)",
    "y = Atan(x)",
    "y = Sinh(x)",
    "y = Hardmax(x, axis=-1)",
    "b = IsInf(x); f = Cast(b, to=1); y = Add(f, x)",
    "q = Clip(x, zero, one); i = Cast(q, to=2); s = BitShift(i, bits, direction='LEFT'); y = Cast(s, to=1)",
    "y = Einsum(x, matrix, equation='btf,fo->bto')",
    "y = Einsum(x, x, equation='btf,btf->bt')",
    "v, i = TopK(x, k, axis=-1); f = Cast(i, to=1); y = Add(v, f)",
    "s = Reshape(x, tiles); t = Trilu(s, two, upper=0); y = Reshape(t, back)",
    "s = Reshape(x, image); d = DepthToSpace(s, blocksize=2); y = Reshape(d, back)",
    "s = Reshape(x, image); d = SpaceToDepth(s, blocksize=1); y = Reshape(d, back)",
    "s = Reshape(x, channels); y = Resize(s, _, grow, mode='nearest')",
    "v, i = TopK(x, k, axis=-1); y = GatherElements(x, i, axis=2)",
    "a = ArgMax(x, axis=2, keepdims=0); h = OneHot(a, depth, off, axis=-1); y = Identity(h)",
    "y = LpNormalization(x, axis=-1, p=2)",
    "y = LayerNormalization(x, ones8, axis=-1)",
    "y = CastLike(x, half)",
    "q = QuantizeLinear(x, scale, z); y = DequantizeLinear(q, scale, z)",
    "q = QuantizeLinear(x, scale, u); m = MatMulInteger(q, w8, u); y = Cast(m, to=1)",
    "q = QuantizeLinear(x, scale, u); m = QLinearMatMul(q, scale, u, w8, scale, z, scale, u); y = Cast(m, to=1)",
    "s = Reshape(x, image); n = LRN(s, size=3); y = Reshape(n, back)",
    "s = Reshape(x, image); n = InstanceNormalization(s, ones4, ones4); y = Reshape(n, back)",
    "s = Reshape(x, tiles); c = Conv(s, kernel, pads=[0, 1, 0, 1]); y = Squeeze(c, axis2)",
    "s = Reshape(x, image); g = GlobalAveragePool(s); y = Add(g, g)",
    "m = MeanVarianceNormalization(x, axes=[2]); y = Identity(m)",
    "g = Gather(x, picks, axis=2); y = Identity(g)",
    "y = Mean(x, ones8)",
    "m = ReduceMean(x, axes=[2]); y = Sub(x, m)",
    "s = Reshape(x, channels); d = ReduceL2(s, axes=[3]); y = Identity(d)",
    "t = Transpose(x, perm=[2, 1, 0]); a = GRU(t, cells, again, hidden_size=3, direction='bidirectional'); " + BACK,
]
STEPS = "d = Shape(x); n = Gather(d, by, axis=0); r = Range(from, n, by);"
MOVED = [
    ("s = Slice(x, axis1, far, axis1, every); y = Identity(s)", 2),
    ("s = Slice(x, nought, far, axis1, k); y = Identity(s)", 3),
    (STEPS + "g = Gather(x, r, axis=1); y = Identity(g)", 1),
    (STEPS + "p = Pad(x, early); w = Unsqueeze(r, axis1); i = Add(w, lags); g = Gather(p, i, axis=1); "
     "y = Reshape(g, laid)", 1),
    ("d = Shape(x); n = Gather(d, by, axis=0); r = Range(from, n, two); g = Gather(x, r, axis=1); y = Identity(g)", 2),
    ("t = Transpose(x, perm=[0, 2, 1]); c = ConvTranspose(t, up, pads=[0, 3]); y = Transpose(c, perm=[0, 2, 1])", 1),
    ("t = Transpose(x, perm=[0, 2, 1]); c = ConvTranspose(t, up, pads=[2, 1]); y = Transpose(c, perm=[0, 2, 1])", 1),
]  # fmt: skip


@pytest.mark.parametrize("lines", RUNS)
def test_what_is_pointwise_in_time_runs(lines: str, tmp_path: Path) -> None:
    equals_the_original(model(tmp_path / "m.onnx", lines, 17), tmp_path, 60)


@pytest.mark.parametrize(("lines", "stride"), MOVED)
def test_what_picks_entries_along_time_runs(lines: str, stride: int, tmp_path: Path) -> None:
    _, stream = equals_the_original(model(tmp_path / "m.onnx", lines, 17), tmp_path, 61)
    assert stream.frames_per_step == stride


@pytest.mark.parametrize(
    ("lines", "opset"),
    [
        ("s = Reshape(x, image); n = GroupNormalization(s, ones4, ones4, num_groups=2); y = Reshape(n, back)", 21),
        ("y = Gelu(x)", 20),
        ("y = RMSNormalization(x, ones8, axis=-1)", 23),
        ("y = Swish(x)", 24),
    ],
)
def test_newer_ops_run(lines: str, opset: int, tmp_path: Path) -> None:
    equals_the_original(model(tmp_path / "m.onnx", lines, opset), tmp_path, 60)


T = "t = Transpose(x, perm=[0, 2, 1]);"
REFUSED = [
    (
        T + "n = InstanceNormalization(t, ones8, ones8); y = Identity(n)",
        "InstanceNormalization",
        "normalizes over time",
    ),
    (T + "l = LpNormalization(t, axis=-1); y = Identity(l)", "LpNormalization", "normalizes over time"),
    ("m = MeanVarianceNormalization(x, axes=[1, 2]); y = Identity(m)", "MeanVarianceNormalization", "normalizes over"),
    (T + "v, i = TopK(t, k, axis=-1); y = Identity(v)", "TopK", "ends the time axis"),
    ("h = Hardmax(x, axis=1); y = Identity(h)", "Hardmax", "along the time axis"),
    ("q, s, p = DynamicQuantizeLinear(x); y = DequantizeLinear(q, s, p)", "DynamicQuantizeLinear", "fixed scales"),
    ("s = Resize(x, _, stretch, mode='nearest'); y = Identity(s)", "Resize", "between the steps"),
    ("b = Greater(x, zero); n = NonZero(b); f = Cast(n, to=1); y = Unsqueeze(f, axis1)", "NonZero", "depends on what"),
    ("e = Einsum(x, x, equation='btf,btf->bf'); y = Identity(e)", "Einsum", "ends the time axis"),
    ("b = ReduceMax(x, axes=[0, 2], keepdims=0); c = Greater(b, zero); e = Compress(x, c, axis=1); y = Identity(e)",
     "Compress", "depends on what"),
    ("d = ReduceMax(x, axes=[0, 1, 2], keepdims=0); y = Sub(x, d)", "ReduceMax", "into the future"),
    ("l = LayerNormalization(x, one, axis=1); y = Identity(l)", "LayerNormalization", "normalizes over time"),
    ("s = ScatterND(x, first, row); y = Identity(s)", "ScatterND", "Concat"),
    ("a = ArgMax(x, axis=1); y = Cast(a, to=1)", "ArgMax", "ends the time axis"),
    ("s = Slice(x, axis1, axis2, axis1); m = ReduceMax(x, axes=[1]); y = Sub(m, s)", "Slice", "ends the time axis"),
    (T + "c = Conv(t, taps, pads=[1, 1]); y = GlobalMaxPool(c)", "GlobalMaxPool", "comes late"),
    (T + "c = ConvTranspose(t, up, strides=[2]); y = Identity(c)", "ConvTranspose", "several steps out of one"),
    ("s = Slice(x, far, nought, axis1, back1); y = Identity(s)", "Slice", "goes backwards"),
    ("r = RandomNormalLike(x); y = Add(x, r)", "RandomNormalLike", "random numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "op", "reason"), REFUSED)
def test_what_is_not_is_refused_by_node(lines: str, op: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=rf"node 'n\d' \({op}\): .*{reason}"):
        rewritten(model(tmp_path / "m.onnx", lines, 17))


HEADS = [
    ("y = ReduceMax(x, axes=[1], keepdims=0)", {}),
    ("y = ReduceMin(x, axes=[1], keepdims=1)", {}),
    (T + "y = GlobalMaxPool(t)", {}),
    (T + "y = GlobalAveragePool(t)", {"max_steps": 200}),
    ("m = ReduceMean(x, axes=[1, 2], keepdims=0); y = Exp(m)", {"max_steps": 200}),
    ("m = ReduceSum(x, axis1, keepdims=0); y = Tanh(m)", {"max_steps": 200}),
    ("m = ReduceSumSquare(x, axes=[1]); y = Sqrt(m)", {"max_steps": 200}),
    ("s = Reshape(x, channels); t = Transpose(s, perm=[0, 2, 1, 3]); g = GlobalAveragePool(t); y = Flatten(g)",
     {"max_steps": 200}),
    ("s = Reshape(x, channels); t = Transpose(s, perm=[0, 2, 1, 3]); g = GlobalMaxPool(t); y = Flatten(g)", {}),
    (T + "c = Conv(t, taps); y = GlobalMaxPool(c)", {}),
    (T + "c = Conv(t, taps); y = GlobalAveragePool(c)", {"max_steps": 200}),
    (T + "c = Conv(t, taps); e = Abs(c); y = ReduceSum(e, axis2, keepdims=0)", {"max_steps": 200}),
    (T + "c = Conv(t, taps, strides=[2]); e = Tanh(c); y = GlobalAveragePool(e)", {"max_steps": 200}),
    (T + "c = Conv(t, taps, strides=[3]); y = Gather(c, newest, axis=2)", {}),
    (T + "c = Conv(t, taps, strides=[2]); e = MaxPool(c, kernel_shape=[2], strides=[2]); y = GlobalMaxPool(e)", {}),
    (T + "c = Conv(t, taps); a = GlobalMaxPool(c); b = GlobalMaxPool(t); y = Concat(a, b, axis=1)", {}),
    ("d = Shape(x); n = Gather(d, by, axis=0); m = Sub(n, by); y = Gather(x, m, axis=1)", {}),
    (T + "c = Conv(t, taps, strides=[2]); s = ReduceSum(c, axis2, keepdims=0); d = Shape(c); "
     "n = Gather(d, two, axis=0); f = Cast(n, to=1); y = Div(s, f)", {"max_steps": 200}),
    ("d = Shape(x); n = Slice(d, axis1, axis2); m = Sub(n, axis1); s = Slice(x, m, n, axis1); y = Tanh(s)", {}),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "options"), HEADS)
def test_a_head_over_all_time_runs_along(lines: str, options: dict[str, Any], tmp_path: Path) -> None:
    file = model(tmp_path / "m.onnx", lines, 17)
    _, stream = equals_the_original(file, tmp_path, 60, **options)
    assert stream.limited == bool(options)
    if options:
        with pytest.raises(ExportError, match=r"node 'n\d' .*--max-steps N"):
            rewritten(file)
