"""Counts a step's multiply-accumulates, integer and float, in the graph that onnxruntime really runs."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

from export.errors import ExportError
from export.graph import first_line

INTEGER = {"QGemm", "QLinearMatMul", "MatMulInteger", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "QLinearConv"}
INTEGER |= {"ConvInteger", "DynamicQuantizeLSTM", "QAttention", "MatMulNBits"}
FLOAT = {"Gemm", "FusedGemm", "MatMul", "FusedMatMul", "TransposeMatMul", "Conv", "FusedConv", "GRU", "LSTM", "RNN"}


@dataclass(frozen=True)
class Macs:
    """Multiply-accumulates of one step."""

    integer: int
    floating: int
    ops: tuple[str, ...]
    """The names of the op types that were counted."""


def count(model: onnx.ModelProto) -> Macs:
    """Optimize the model as a session would, and count. Raises ExportError for a product with no known weights."""
    optimized = optimize(model)
    sizes = {tensor.name: tuple(tensor.dims) for tensor in optimized.graph.initializer}
    for node in optimized.graph.node:
        # Weights of a float product may still stand behind their DequantizeLinear.
        if node.op_type == "DequantizeLinear" and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    # Fused ops keep the names of what they read and give, not the shapes.
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: _shape(value) for value in [*inferred.value_info, *inferred.input, *inferred.output]}
    totals = {"integer": 0, "float": 0}
    seen = set()
    for node in optimized.graph.node:
        kind = "integer" if node.op_type in INTEGER else "float" if node.op_type in FLOAT else None
        if kind is None:
            continue
        seen.add(node.op_type)
        weights = [sizes[name] for name in node.input if len(sizes.get(name, ())) > 1]
        between = None if weights else _between(node, shapes)
        if between is not None:
            totals[kind] += between
            continue
        if not weights:
            raise ExportError(f"node '{node.name}' ({node.op_type}): its weights are not in the optimized graph.")
        pick: Callable[..., list[tuple[int, ...]]] = (
            (lambda w: w[:2]) if node.op_type in ("GRU", "LSTM", "RNN") else (lambda w: w[:1])
        )
        totals[kind] += sum(int(np.prod(shape)) for shape in pick(weights))
    return Macs(totals["integer"], totals["float"], tuple(sorted(seen)))


def _shape(value: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _between(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int | None:
    """Return the multiply-accumulates of a product of two values, as attention has them; None where sizes lack."""
    leaving = shapes.get(node.output[0], ())
    for place, attribute_name, axes in ((0, "transA", (-1, -2)), (1, "transB", (-2, -1))):
        entering = shapes.get(node.input[place], ())
        if "MatMul" in node.op_type and len(entering) > 1 and 0 not in (*entering, *leaving):
            turned = any(attribute.name == attribute_name and attribute.i for attribute in node.attribute)
            return int(np.prod(leaving)) * entering[axes[turned]]
    return None


def optimize(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that an onnxruntime session runs in place of the model."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        options.log_severity_level = 4
        try:
            ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception as cause:
            raise ExportError(f"onnxruntime does not accept the step: {first_line(cause)}") from cause
        return onnx.load(options.optimized_model_filepath)
