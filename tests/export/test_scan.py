"""Recurrences written out as ONNX Scan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import scans
from models import FEATURES, seeds, walks
from onnx import TensorProto
from scans import node, scan, value

import edgeseq
import export

OPTIONS: dict[str, Any] = {"calibration": walks(), "variants": ["float32"]}
HIDDEN = 6


def gru(path: Path, axis: int, *, last: bool = False) -> str:
    cell, arrays = scans.gru(FEATURES, HIDDEN)
    turned = [] if axis else [node("Transpose", "x", "x0", perm=[1, 0, 2])]
    nodes = [
        *turned,
        scan(
            f"h0 {'x' if axis else 'x0'}",
            [*cell, node("Identity", "h1", "hy")],
            [value("h", [1, HIDDEN]), value("xt", [1, FEATURES])],
            [value("h1", [1, HIDDEN]), value("hy", [1, HIDDEN])],
            "h_last ys",
            scan_input_axes=[axis],
            scan_output_axes=[-2],
        ),
        node("MatMul", f"{'h_last' if last else 'ys'} head", "y"),
    ]
    arrays |= scans.weights(9, head=(HIDDEN, 2))
    return scans.save(path, nodes, arrays, FEATURES, rank=2 if last else 3)


def streamed(
    bundle: edgeseq.bundle.Bundle, x: np.ndarray[Any, Any], seed: int = 0, backend: str = "auto"
) -> np.ndarray[Any, Any]:
    """The step over frames in chunks, a reset in the middle of others before; without what comes late."""
    rng = np.random.default_rng(seed)
    model = edgeseq.load(bundle, backend, "float32")
    model.run(x[:17])
    model.reset()
    rows, at, k = [], 0, model.frames_per_step
    while at < len(x):
        size = int(rng.integers(1, 20))
        chunk = x[at : at + size]
        rows.append(model.step(chunk[0])[None] if size == k == 1 else model.run(chunk))
        at += size
    return np.concatenate([*rows, model.flush()])[model.delay :]


@pytest.mark.long
@pytest.mark.parametrize("axis", [0, 1])
def test_a_gru_written_as_a_scan_is_quantized(axis: int, tmp_path: Path) -> None:
    file = scans.scramble(gru(tmp_path / "m.onnx", axis))
    bundle = export.export(file, tmp_path / "b", calibration=walks())
    assert [e.variant for e in bundle.manifest.parity if e.backend == "ort"] == ["float32", "int8", "w8a16"]
    assert [entry.float_macs for entry in bundle.manifest.files if entry.variant == "int8"] == [0, 0, 0]
    ops = {n.op_type for n in onnx.load(tmp_path / "b" / "step.float32.onnx").graph.node}
    assert "Scan" not in ops
    x = walks(1, 90, seed=3)[0]
    np.testing.assert_allclose(streamed(bundle, x), scans.whole(file, x), atol=2e-6)


def test_a_last_state_is_read_at_every_step(tmp_path: Path) -> None:
    file = gru(tmp_path / "m.onnx", 1, last=True)
    with pytest.raises(export.ExportError, match="--state carry"):
        export.export(file, tmp_path / "b", **OPTIONS)
    x = walks(1, 40)[0]
    carried = edgeseq.load(export.export(file, tmp_path / "carry", state="carry", **OPTIONS)).run(x)
    for end in (1, 2, 40):
        np.testing.assert_allclose(carried[end - 1], scans.whole(file, x[:end], last=True)[0], atol=2e-6)


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("choice", ["window", "restart"])
def test_every_output_is_that_of_its_window(choice: str, last: bool, tmp_path: Path) -> None:  # noqa: FBT001
    cell, arrays = scans.gru(FEATURES, HIDDEN)
    del arrays["h0"]
    begin = [
        node("Shape", "x", "dims"),
        node("Gather", "dims first", "batch"),
        node("Concat", "batch hidden", "state", axis=0),
        node("Expand", "nothing state", "h0"),
    ]
    arrays |= {"first": np.array([0]), "hidden": np.array([HIDDEN]), "nothing": np.zeros((1, 1), np.float32)}
    inside = [value("h", ["b", HIDDEN]), value("xt", ["b", FEATURES])]
    given = [value("h1", ["b", HIDDEN]), value("hy", ["b", HIDDEN])]
    body = [*cell, node("Identity", "h1", "hy")]
    nodes = [
        *begin,
        scan("h0 x", body, inside, given, "h_last ys", scan_input_axes=[1], scan_output_axes=[1]),
        node("Tanh", "h_last" if last else "ys", "y"),
    ]
    file = scans.save(tmp_path / "m.onnx", nodes, arrays, FEATURES, rank=2 if last else 3)
    model = edgeseq.load(export.export(file, tmp_path / "b", **{choice: 7}, **OPTIONS))
    x = walks(1, 40)[0]
    given_rows = model.run(x)
    assert np.isnan(given_rows[:6]).all()
    expected = [scans.whole(file, x[end - 7 : end], last=last)[-1] for end in range(7, 41)]
    np.testing.assert_allclose(given_rows[6:], expected, atol=2e-6)


def many(path: Path, *, backwards: bool = False) -> str:
    """Carries float32, float64, int64 and bool side by side; two inputs on different axes, two outputs."""
    body = [
        node("Mul", "h decay", "kept"),
        node("Add", "kept xt", "h1"),
        node("Cast", "xt", "xd", to=TensorProto.DOUBLE),
        node("Mul", "d slow", "dk"),
        node("Add", "dk xd", "d1"),
        node("Add", "n one", "n0"),
        node("Mod", "n0 seven", "n1"),
        node("Not", "b", "b1"),
        node("Cast", "n1", "nf", to=TensorProto.FLOAT),
        node("Cast", "b1", "bf", to=TensorProto.FLOAT),
        node("Cast", "d1", "df", to=TensorProto.FLOAT),
        node("Mul", "h1 bf", "hb"),
        node("Add", "hb nf", "p"),
        node("Mul", "df xu", "q"),
    ]
    inside = [
        value("h", [1, FEATURES]), value("d", [1, FEATURES], TensorProto.DOUBLE), value("n", [], TensorProto.INT64),
        value("b", [1], TensorProto.BOOL), value("xt", [1, FEATURES]), value("xu", [1, FEATURES]),
    ]  # fmt: skip
    given = [
        value("h1", [1, FEATURES]), value("d1", [1, FEATURES], TensorProto.DOUBLE), value("n1", [], TensorProto.INT64),
        value("b1", [1], TensorProto.BOOL), value("p", [1, FEATURES]), value("q", [1, FEATURES]),
    ]  # fmt: skip
    nodes = [
        node("Transpose", "x", "x0", perm=[1, 0, 2]),
        node("Sigmoid", "x0", "x1"),
        scan(
            "h0 d0 n0_ b0 x x1", body, inside, given, "ha da na ba ps qs", 2,
            scan_input_axes=[1, 0], scan_output_axes=[2, 0], scan_input_directions=[int(backwards), 0],
        ),
        node("Transpose", "ps", "p2", perm=[0, 2, 1]),
        node("Transpose", "qs", "q2", perm=[1, 0, 2]),
        node("Add", "p2 q2", "y"),
    ]  # fmt: skip
    arrays = {
        "decay": np.linspace(0.3, 0.95, FEATURES, dtype=np.float32), "slow": np.full(FEATURES, 0.9),
        "one": np.array(1), "seven": np.array(7), "h0": np.full((1, FEATURES), 0.5, np.float32),
        "d0": np.zeros((1, FEATURES)), "n0_": np.array(3), "b0": np.array([True]),
    }  # fmt: skip
    return scans.save(path, nodes, arrays, FEATURES)


def test_states_of_every_type_inputs_and_outputs_on_any_axis(tmp_path: Path) -> None:
    file = scans.scramble(many(tmp_path / "m.onnx"))
    bundle = export.export(file, tmp_path / "b", calibration=walks())
    assert [state.dtype for state in bundle.manifest.files[0].states] == ["float32", "float64", "int64", "bool"]
    x = walks(1, 70, seed=5)[0]
    # In TFLite the state in float64 is two of float32.
    for backend in ("native", "ort", "litert"):
        found = streamed(bundle, x, backend=backend)
        np.testing.assert_allclose(found, scans.whole(file, x), rtol=1e-5, atol=1e-5, err_msg=backend)


def ema(length: int = 1, **attributes: Any) -> tuple[onnx.NodeProto, dict[str, Any]]:
    """h = decay h + x, over axis 1 of "u", giving "ys"."""
    body = [node("Mul", "h decay", "kept"), node("Add", "kept xt", "h1"), node("Identity", "h1", "hy")]
    shape = [length, FEATURES]
    inside, given = [value("h", shape), value("xt", shape)], [value("h1", shape), value("hy", shape)]
    options = {"scan_input_axes": [1], "scan_output_axes": [1]} | attributes
    decay = np.linspace(0.2, 0.95, FEATURES, dtype=np.float32)
    return scan("h0 u", body, inside, given, "h_last ys", **options), {
        "decay": decay,
        "h0": np.full(shape, 0.25, np.float32),
    }


CONV = {"kernel": np.random.default_rng(0).normal(size=(FEATURES, FEATURES, 3)).astype(np.float32) * 0.3}


@pytest.mark.parametrize("pads", [[1, 1], [0, 2], [2, 0]])
def test_a_scan_waits_for_what_comes_late(pads: list[int], tmp_path: Path) -> None:
    recurrence, arrays = ema()
    nodes = [
        node("Transpose", "x", "xc", perm=[0, 2, 1]),
        node("Conv", "xc kernel", "uc", pads=pads),
        node("Relu", "uc", "ur"),
        node("Transpose", "ur", "u", perm=[0, 2, 1]),
        recurrence,
        node("Add", "ys x", "y"),
    ]
    file = scans.scramble(scans.save(tmp_path / "m.onnx", nodes, arrays | CONV, FEATURES))
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    assert bundle.manifest.graphs[0].delay == pads[1]
    x = walks(1, 60, seed=2)[0]
    np.testing.assert_allclose(streamed(bundle, x), scans.whole(file, x), rtol=1e-5, atol=1e-5)


def test_a_scan_of_what_is_shifted_back_in_time(tmp_path: Path) -> None:
    recurrence, arrays = ema()
    nodes = [node("Pad", "x pads", "xp"), node("Slice", "xp zero end one", "u"), recurrence, node("Add", "ys x", "y")]
    arrays |= {"pads": np.array([0, 1, 0, 0, 0, 0]), "zero": np.array([0]), "end": np.array([-1]), "one": np.array([1])}
    file = scans.save(tmp_path / "m.onnx", nodes, arrays, FEATURES)
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    x = walks(1, 60, seed=2)[0]
    np.testing.assert_allclose(streamed(bundle, x), scans.whole(file, x), rtol=1e-5, atol=1e-5)


def test_a_step_of_several_entries_runs_the_body_for_each(tmp_path: Path) -> None:
    recurrence, arrays = ema()
    nodes = [
        node("Transpose", "x", "xc", perm=[0, 2, 1]),
        node("Conv", "xc kernel", "uc", pads=[1, 1]),
        node("Transpose", "uc", "u", perm=[0, 2, 1]),
        recurrence,
        node("Transpose", "ys", "yc", perm=[0, 2, 1]),
        node("Conv", "yc kernel", "y2", strides=[3]),
        node("Transpose", "y2", "y", perm=[0, 2, 1]),
    ]
    file = scans.scramble(scans.save(tmp_path / "m.onnx", nodes, arrays | CONV, FEATURES))
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    assert bundle.manifest.graphs[0].frames_per_step == 3
    x = walks(1, 61, seed=2)[0]
    model = edgeseq.load(bundle)
    given = np.concatenate([model.run(x[:20]), model.run(x[20:]), model.flush()])[model.delay :]
    expected = scans.whole(file, x, last=True).reshape(-1, FEATURES)
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5)


def mixed(path: Path, seed: int) -> str:
    """Random layers on each other: dense, causal convolution, GRU as an op, a written GRU, a diagonal recurrence."""
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    arrays: dict[str, Any] = {"axis1": np.array([1])}
    at, width = "x", FEATURES
    kinds = ["dense", "conv", "gru", "scan", "diagonal"]
    for number, kind in enumerate([*rng.permutation(kinds)[: int(rng.integers(2, 5))], "scan"]):
        p, out = f"l{number}_", f"o{number}"
        if kind == "dense":
            arrays |= scans.weights(seed + number, **{f"{p}W": (width, 7)})
            nodes += [node("MatMul", f"{at} {p}W", f"{p}d"), node("Tanh", f"{p}d", out)]
            width = 7
        elif kind == "conv":
            arrays |= scans.weights(seed + number, **{f"{p}K": (6, width, 3)})
            nodes += [
                node("Transpose", at, f"{p}a", perm=[0, 2, 1]),
                node("Conv", f"{p}a {p}K", f"{p}b", pads=[2, 0] if rng.integers(2) else [1, 1]),
                node("Relu", f"{p}b", f"{p}c"),
                node("Transpose", f"{p}c", out, perm=[0, 2, 1]),
            ]
            width = 6
        elif kind == "gru":
            arrays |= scans.weights(seed + number, **{f"{p}W": (1, 15, width), f"{p}R": (1, 15, 5)})
            arrays[f"{p}W"], arrays[f"{p}R"] = arrays[f"{p}W"] * 0.3, arrays[f"{p}R"] * 0.3
            nodes += [
                node("Transpose", at, f"{p}a", perm=[1, 0, 2]),
                node("GRU", f"{p}a {p}W {p}R", f"{p}b", hidden_size=5),
                node("Squeeze", f"{p}b axis1", f"{p}c"),
                node("Transpose", f"{p}c", out, perm=[1, 0, 2]),
            ]
            width = 5
        elif kind == "scan":
            cell, known = scans.gru(width, 4, seed + number, p)
            arrays |= known
            inside = [value(f"{p}h", [1, 4]), value(f"{p}xt", [1, width])]
            given = [value(f"{p}h1", [1, 4]), value(f"{p}hy", [1, 4])]
            body = [*cell, node("Identity", f"{p}h1", f"{p}hy")]
            layer = scan(
                f"{p}h0 {at}", body, inside, given, f"{p}last {out}", scan_input_axes=[1], scan_output_axes=[1]
            )
            layer.name = p
            nodes.append(layer)
            width = 4
        else:
            arrays[f"{p}a"] = rng.uniform(0.1, 0.97, width).astype(np.float32)
            arrays[f"{p}h0"] = rng.normal(size=(1, width)).astype(np.float32)
            body = [node("Mul", f"{p}h {p}a", f"{p}k"), node("Add", f"{p}k {p}xt", f"{p}h1")]
            body.append(node("Tanh", f"{p}h1", f"{p}hy"))
            names = (f"{p}h", f"{p}xt"), (f"{p}h1", f"{p}hy")
            inside, given = ([value(name, [1, width]) for name in part] for part in names)
            layer = scan(
                f"{p}h0 {at}", body, inside, given, f"{p}last {out}", scan_input_axes=[1], scan_output_axes=[1]
            )
            layer.name = p
            nodes.append(layer)
        at = out
    nodes.append(node("Identity", at, "y"))
    return scans.scramble(scans.save(path, nodes, arrays, FEATURES), seed)


@pytest.mark.parametrize("seed", seeds(6, range(3)))
def test_a_random_architecture_streams(seed: int, tmp_path: Path) -> None:
    file = mixed(tmp_path / "m.onnx", seed)
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    x = walks(1, 80, seed=seed)[0]
    np.testing.assert_allclose(streamed(bundle, x, seed), scans.whole(file, x), rtol=1e-5, atol=1e-5)


def refused(case: str) -> tuple[list[onnx.NodeProto], dict[str, Any]]:
    attributes: dict[str, Any] = {}
    first = [node("Identity", "x", "u")]
    if case in ("backwards", "written backwards"):
        kind = "input" if case == "backwards" else "output"
        attributes = {f"scan_{kind}_directions": [1]}
    recurrence, arrays = ema(**attributes)
    if case == "data":
        first += [node("Slice", "x zero one one", "x_first"), node("Squeeze", "x_first one", "h0")]
        arrays |= {"zero": np.array([0]), "one": np.array([1])}
        del arrays["h0"]
    if case == "captured":
        body = recurrence.attribute[0].g
        body.node.insert(0, node("ReduceMax", "x", "top", axes=[1], keepdims=0))
        body.node[1].input[1] = "top"
    if case == "longer":
        first = [node("Pad", "x pads", "u")]
        arrays |= {"pads": np.array([0, 1, 0, 0, 0, 0])}
    return [*first, recurrence, node("Identity", "ys", "y")], arrays


@pytest.mark.parametrize(
    ("case", "says"),
    [
        ("backwards", "backwards over time"),
        ("written backwards", "backwards over time"),
        ("data", "initial state is computed from the data"),
        ("captured", "its body reads '.*', which runs over time"),
        ("longer", "padded before the first frame"),
    ],
)
def test_what_cannot_stream_is_refused_by_node_and_reason(case: str, says: str, tmp_path: Path) -> None:
    nodes, arrays = refused(case)
    file = scans.save(tmp_path / "m.onnx", nodes, arrays, FEATURES)
    with pytest.raises(export.ExportError, match=rf"node 'scan' \(Scan\): .*{says}"):
        export.export(file, tmp_path / "b", **OPTIONS)
    assert not (tmp_path / "b").exists()
