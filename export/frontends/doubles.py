"""An ONNX model in float64: ONNX's own reference evaluator on a copy with all float32 made float64.

ONNX's evaluator is a plain reading of the specification, but not of all of it. Given here anew:

1. RNN, GRU, LSTM (onnx_recurrent.py): it takes no notice of activations and clip.
2. Scan and Loop (onnx_loops.py): it knows one axis alone, and stacks what rounds give in the wrong way.
3. MaxPool and AveragePool (pools.py): strides together with padding.
4. What it lacks or has for float32 alone (onnx_reference.py).
"""

from __future__ import annotations

from collections.abc import Sequence as Items

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from export.frontends import onnx_loops, onnx_recurrent, onnx_reference
from export.frontends.pools import POOLS


def evaluator(model: onnx.ModelProto) -> ReferenceEvaluator:
    """Return a float64 engine of a float32 model. Raises whatever onnx raises where the model has no meaning in it."""
    own: list[type[OpRun]] = [*onnx_recurrent.OPS, *onnx_loops.OPS, *POOLS, *onnx_reference.lacking(model)]
    return ReferenceEvaluator(doubled(model), new_ops=own)


def doubled(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with all its float32 weights, inputs, constants and casts in float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _double_graph(copy.graph)
    for function in copy.functions:
        _double_nodes(function.node)
    return copy


def _double_graph(graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        _double_tensor(tensor)
    for value in [*graph.input, *graph.output, *graph.value_info]:
        _double_type(value.type)
    _double_nodes(graph.node)


def _double_nodes(nodes: Items[onnx.NodeProto]) -> None:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                _double_tensor(attribute.t)
            if attribute.HasField("g"):
                _double_graph(attribute.g)
            typed = (node.op_type, attribute.name) in (("Cast", "to"), ("SequenceEmpty", "dtype"))
            if typed and attribute.i == TensorProto.FLOAT:
                attribute.i = TensorProto.DOUBLE
        if node.op_type == "ConstantOfShape" and not node.attribute:
            zero = numpy_helper.from_array(np.zeros(1, np.float64))
            node.attribute.append(helper.make_attribute("value", zero))
        if node.op_type == "SequenceEmpty" and not node.attribute:
            node.attribute.append(helper.make_attribute("dtype", TensorProto.DOUBLE))


def _double_type(kind: onnx.TypeProto) -> None:
    if kind.HasField("sequence_type"):
        _double_type(kind.sequence_type.elem_type)
    elif kind.tensor_type.elem_type == TensorProto.FLOAT:
        kind.tensor_type.elem_type = TensorProto.DOUBLE


def _double_tensor(tensor: onnx.TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))
