"""Recurrences written out by hand, as ONNX Scan: what the tests of scan.py are run on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from renamed import renamed

FLOAT = TensorProto.FLOAT
Arrays = dict[str, np.ndarray[Any, Any]]


def value(name: str, shape: Any, element: int = FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, shape)


def node(op: str, inputs: str, outputs: str, **attributes: Any) -> onnx.NodeProto:
    """A node from names apart by spaces; it is called as its first output."""
    given = outputs.split()
    return helper.make_node(op, inputs.split(), given, f"n_{given[0]}", **attributes)


def scan(  # noqa: PLR0917 - as the op has them
    outer: str,
    body: Sequence[onnx.NodeProto],
    inside: Sequence[onnx.ValueInfoProto],
    given: Sequence[onnx.ValueInfoProto],
    outputs: str,
    count: int = 1,
    **attributes: Any,
) -> onnx.NodeProto:
    """A Scan node called "scan"; inside and given are the body's inputs and outputs."""
    graph = helper.make_graph(list(body), "body", list(inside), list(given))
    return helper.make_node(
        "Scan", outer.split(), outputs.split(), "scan", body=graph, num_scan_inputs=count, **attributes
    )


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], arrays: Arrays, features: int, *, outputs: int = 1, rank: int = 3
) -> str:
    """Write a model x [1, time, features] -> y (y1 …) and return its file's name."""
    names = ["y", *(f"y{n}" for n in range(1, outputs))]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [value("x", ["batch", "time", features])],
        [value(name, [None] * rank) for name in names],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return str(path)


def scramble(path: str, seed: int = 0) -> str:
    """Give every name of a model's file, bodies included, a name that means nothing."""
    onnx.save(renamed(onnx.load(path), seed), path)
    return path


def whole(path: str, x: np.ndarray[Any, Any], *, last: bool = False) -> np.ndarray[Any, Any]:
    """The original over all frames at once, [T, outputs]; last: it gives one output alone."""
    runtime = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (name,) = (entry.name for entry in runtime.get_inputs())
    results = [np.asarray(y) for y in runtime.run(None, {name: x[None].astype(np.float32)})]
    return np.concatenate([y.reshape(1 if last else len(x), -1) for y in results], axis=1)


def weights(seed: int, **shapes: tuple[int, ...]) -> Arrays:
    """Seeded weights, small enough for a recurrence to stay within bounds."""
    rng = np.random.default_rng(seed)
    return {
        name: (rng.normal(size=shape) * 0.8 / np.sqrt(shape[0])).astype(np.float32) for name, shape in shapes.items()
    }


def gru(features: int, hidden: int, seed: int = 0, prefix: str = "") -> tuple[list[onnx.NodeProto], Arrays]:
    """A GRU cell's equations, from xt and h to n_h; h0 is its zero state."""
    p = prefix
    arrays = weights(seed, **{f"{p}Wz": (features, hidden), f"{p}Wr": (features, hidden), f"{p}Wn": (features, hidden)})
    arrays |= weights(seed + 1, **{f"{p}Rz": (hidden, hidden), f"{p}Rr": (hidden, hidden), f"{p}Rn": (hidden, hidden)})
    arrays |= weights(seed + 2, **{f"{p}bz": (hidden,), f"{p}br": (hidden,), f"{p}bn": (hidden,)})
    arrays |= {f"{p}one": np.ones((), np.float32), f"{p}h0": np.zeros((1, hidden), np.float32)}
    cell = []
    for gate in "zr":
        cell += [
            node("MatMul", f"{p}xt {p}W{gate}", f"{p}x{gate}"),
            node("MatMul", f"{p}h {p}R{gate}", f"{p}h{gate}"),
            node("Add", f"{p}x{gate} {p}b{gate}", f"{p}xb{gate}"),
            node("Add", f"{p}xb{gate} {p}h{gate}", f"{p}s{gate}"),
            node("Sigmoid", f"{p}s{gate}", f"{p}{gate}"),
        ]
    cell += [
        node("Mul", f"{p}r {p}h", f"{p}rh"),
        node("MatMul", f"{p}rh {p}Rn", f"{p}hn"),
        node("MatMul", f"{p}xt {p}Wn", f"{p}xn"),
        node("Add", f"{p}xn {p}bn", f"{p}xbn"),
        node("Add", f"{p}xbn {p}hn", f"{p}sn"),
        node("Tanh", f"{p}sn", f"{p}n"),
        node("Sub", f"{p}one {p}z", f"{p}nz"),
        node("Mul", f"{p}nz {p}n", f"{p}new"),
        node("Mul", f"{p}z {p}h", f"{p}old"),
        node("Add", f"{p}new {p}old", f"{p}h1"),
    ]
    return cell, arrays
