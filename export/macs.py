"""Counts a step's multiply-accumulates, integer and float, in the graph that onnxruntime really runs.

The graph is run once and every product counted by the shapes it really meets: fused ops keep no shapes of their own,
one recurrent op may run several steps and streams at once, and the graphs inside loops run as often as they do.

1. A product of two matrices: each output element takes as many as there are columns on the left.
2. A convolution: each output element, at every place, takes one kernel's worth of its group's channels.
3. A recurrent op: both its weight matrices, for every time step and every row of the batch.
4. Attention fused into one op: queries times keys and weights times values, and what projects them where it does so.
5. Einsum of two values: all of its indices together.
6. A graph inside (Loop, Scan, If): counted at its first run, times its runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper

from export.errors import ExportError
from export.graph import first_line

INTEGER = {"QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearConv"}
INTEGER |= {"ConvInteger", "DynamicQuantizeLSTM", "QAttention", "MatMulNBits"}
RUNS = "edgeseq.runs"
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one step."""

    integer: int
    floating: int
    ops: tuple[str, ...]
    """The names of the op types that were counted."""


def count(model: onnx.ModelProto, given: Values | None = None) -> Macs:
    """Optimize the model as a session would, run it once on zeros, and count; sizes that are not fixed count as 1.

    given: what enters instead of zeros.
    """
    optimized = optimize(model)
    feeds = {entry.name: np.zeros(_shape(entry), _dtype(entry)) for entry in optimized.graph.input}
    feeds |= {name: array for name, array in (given or {}).items() if name in feeds}
    totals = {True: 0, False: 0}
    seen = set()
    for node, macs in _products(optimized, feeds):
        totals[node.op_type in INTEGER] += macs
        seen.add(node.op_type)
    return Macs(totals[True], totals[False], tuple(sorted(seen)))


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that an onnxruntime session runs in place of the model.

    All but the blocked layout of convolutions: it rounds channels up to the width of this very processor's vectors.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = _options(ort.GraphOptimizationLevel.ORT_ENABLE_ALL)
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        _session(model, options, ["NchwcTransformer"])
        return onnx.load(options.optimized_model_filepath)


def _products(model: onnx.ModelProto, feeds: Values) -> Iterator[tuple[onnx.NodeProto, int]]:
    """Run a graph; give every product in it, those of graphs inside too, with its multiply-accumulates."""
    values = _run(model, feeds)
    for node in model.graph.node:
        rule = RULES.get(node.op_type)
        if rule is not None:
            given = [values.get(name) for name in node.input]
            yield node, int(rule(_attributes(node), given, [values.get(name) for name in node.output]))
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                inside, entering, runs = _inside(model, node, attribute, values)  # 6
                if runs:
                    yield from ((product, runs * macs) for product, macs in _products(inside, entering))


def _run(model: onnx.ModelProto, feeds: Values) -> dict[str, Any]:
    """Return all values of a graph, constants included, as it stands."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    names = dict.fromkeys(name for node in model.graph.node for name in node.output if name)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    runtime = _session(shown, _options(ort.GraphOptimizationLevel.ORT_DISABLE_ALL), [])
    taken = {entry.name for entry in runtime.get_inputs()}
    try:
        results = runtime.run(list(names), {name: array for name, array in feeds.items() if name in taken})
    except Exception as cause:
        raise ExportError(f"the step does not run: {first_line(cause)}") from cause
    # A value may be a sequence of tensors (a list), which no product takes as it is, but a graph inside may.
    found = {name: array for name, array in zip(names, results, strict=True) if array is not None}
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer} | dict(feeds) | found


def _inside(
    model: onnx.ModelProto, node: onnx.NodeProto, attribute: onnx.AttributeProto, values: Values
) -> tuple[onnx.ModelProto, dict[str, Any], int]:
    """Return a graph inside a node as a model, what enters it at its first run, and how often it runs."""
    graph = onnx.GraphProto()
    graph.CopyFrom(attribute.g)
    given = [values.get(name, np.zeros(0)) for name in node.input]
    settings = _attributes(node)
    first: list[Any] = []
    if node.op_type == "Scan":
        scanned: int = settings["num_scan_inputs"]
        held = len(given) - scanned
        axes = settings.get("scan_input_axes") or [0] * scanned
        runs = given[held].shape[axes[0]]
        first = given[:held] + [np.take(x, 0, axis=axis) for x, axis in zip(given[held:], axes, strict=True) if runs]
    elif node.op_type == "Loop":
        runs = _turns(model, node, values)
        first = [np.array(0, np.int64), np.array(True), *given[2:]]
    else:
        runs = int(bool(given[0].reshape(-1)[0]) == (attribute.name == "then_branch"))
    entering = {entry.name: array for entry, array in zip(graph.input, first, strict=False)}
    outside = _outside(graph) - set(entering)
    entering |= {name: values[name] for name in outside if name in values}
    del graph.input[:]
    graph.input.extend(_described(name, array) for name, array in entering.items())
    inside = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return inside, entering, runs


def _described(name: str, value: Any) -> onnx.ValueInfoProto:
    """Describe a value as an input; a sequence of which nothing is known is one of floats."""
    if isinstance(value, list):
        dtype = value[0].dtype if value else np.dtype(np.float32)
        return helper.make_tensor_sequence_value_info(name, helper.np_dtype_to_tensor_dtype(dtype), None)
    return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)


def _outside(graph: onnx.GraphProto) -> set[str]:
    """Return the names that a graph, or one inside it, takes from outside."""
    own = {entry.name for entry in (*graph.input, *graph.initializer)} | {o for node in graph.node for o in node.output}
    read = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                read |= _outside(attribute.g)
    return read - own - {""}


def _turns(model: onnx.ModelProto, node: onnx.NodeProto, values: Values) -> int:
    """Return how often a Loop runs: it is run once more, with an output that it gives at every turn."""
    turned = onnx.NodeProto()
    turned.CopyFrom(node)
    body = next(attribute.g for attribute in turned.attribute if attribute.name == "body")
    body.node.append(helper.make_node("Identity", [body.input[0].name], [RUNS]))
    body.output.append(helper.make_tensor_value_info(RUNS, onnx.TensorProto.INT64, []))
    del turned.output[:]
    turned.output.extend([*(f"{RUNS}.{place}" for place in range(len(body.output) - 2)), RUNS])
    outside = {name: values[name] for name in {*node.input, *_outside(body)} if name in values}
    entering = [_described(name, array) for name, array in outside.items()]
    graph = helper.make_graph([turned], "turns", entering, [onnx.ValueInfoProto(name=RUNS)])
    alone = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    return len(_run(alone, outside)[RUNS])


def _matmul(settings: Mapping[str, Any], given: list[Any], left: list[Any]) -> int:
    shape = given[0].shape
    turned = settings.get("transA", 0) and len(shape) > 1
    columns = shape[-1] if not turned else shape[0 if settings.get("transBatchA") else -2]
    return int(left[0].size * columns)  # 1


def _convolution(weights: int) -> Callable[..., int]:
    return lambda _, given, left: left[0].size * int(np.prod(given[weights].shape[1:]))  # 2


def _transposed(_: Mapping[str, Any], given: list[Any], __: list[Any]) -> int:
    return int(given[0].size * np.prod(given[1].shape[1:]))  # 2, from where each input element goes


def _recurrent(_: Mapping[str, Any], given: list[Any], __: list[Any]) -> int:
    x, weights, recurrence = given[:3]
    return int(x.shape[0] * x.shape[1] * (weights.size + recurrence.size))  # 3


def _projecting(_: Mapping[str, Any], given: list[Any], left: list[Any]) -> int:
    x, weights = given[:2]
    seen = x.shape[1]
    return int(x.shape[0] * seen * weights.size + 2 * left[0].size * seen)  # 4


def _attention(_: Mapping[str, Any], given: list[Any], left: list[Any]) -> int:
    query, key = given[:2]
    return int((query.size + left[0].size) * key.shape[-2])  # 4


def _einsum(settings: Mapping[str, Any], given: list[Any], _: list[Any]) -> int:
    terms = settings["equation"].replace(" ", "").split("->")[0].split(",")
    lengths: dict[Any, int] = {}
    for term, array in zip(terms, given, strict=True):
        named = len(term.replace("...", ""))
        front = term.partition("...")[0]
        # Axes under an ellipsis are told apart by their place from the right.
        rest = range(array.ndim - named, 0, -1) if "..." in term else ()
        letters: list[Any] = [*front, *rest, *(term[len(front) + 3 :] if "..." in term else "")]
        for letter, length in zip(letters, array.shape, strict=True):
            lengths[letter] = max(lengths.get(letter, 1), length)
    return (len(terms) - 1) * int(np.prod(list(lengths.values())))  # 5


RULES: Mapping[str, Callable[..., int]] = {
    **dict.fromkeys(("Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "TransposeMatMul", "MatMulNBits"), _matmul),
    **dict.fromkeys(("QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"), _matmul),
    **dict.fromkeys(("Conv", "FusedConv", "NhwcFusedConv", "ConvInteger"), _convolution(1)),
    "QLinearConv": _convolution(3),
    "ConvTranspose": _transposed,
    **dict.fromkeys(("GRU", "LSTM", "RNN", "DynamicQuantizeLSTM"), _recurrent),
    "QAttention": _projecting,
    "Attention": lambda s, given, left: (_projecting if "num_heads" in s else _attention)(s, given, left),
    "MultiHeadAttention": _attention,
    "Einsum": _einsum,
}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    plain = [attribute for attribute in node.attribute if attribute.type != onnx.AttributeProto.GRAPH]
    values = {attribute.name: helper.get_attribute_value(attribute) for attribute in plain}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in values.items()}


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim)


def _dtype(value: onnx.ValueInfoProto) -> Any:
    return helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)


def _options(level: ort.GraphOptimizationLevel) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return options


def _session(model: onnx.ModelProto, options: ort.SessionOptions, disabled: list[str]) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=disabled
        )
    except Exception as cause:
        raise ExportError(f"onnxruntime does not accept the step: {first_line(cause)}") from cause
