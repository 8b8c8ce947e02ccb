"""What the Keras frontend's files share: a call of a layer, a value in the ONNX graph, and the graph being built."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from export.errors import ExportError
from export.graph import first_line

OPSET = 20
IR_VERSION = 10
Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Call:
    """One call of one layer: a shared layer is called several times, with the same weights.

    name: the layer's, unique for each call. inputs: names of calls, or numbers. options: what else the call was given,
    such as use_causal_mask, or a GetItem's key.
    """

    name: str
    kind: str
    config: Mapping[str, Any]
    weights: tuple[NDArray[np.float32], ...]
    inputs: tuple[str | float, ...]
    options: Mapping[str, Any] = field(default_factory=dict)

    def error(self, reason: str) -> ExportError:
        """Return an error that names the layer."""
        return ExportError(f"layer '{self.name}' ({self.kind}): {reason}")

    def expect(self, *shapes: tuple[int, ...]) -> None:
        """Refuse weights of other shapes than the configuration asks for."""
        found = [weight.shape for weight in self.weights]
        if found != list(shapes):
            raise self.error(f"its weights have the shapes {found}; {list(shapes)} was expected. The file is damaged.")


@dataclass(frozen=True)
class Value:
    """A tensor: [1, time, *dims] where it is timed, [1, *dims] otherwise."""

    name: str
    dims: tuple[int, ...]
    timed: bool

    @property
    def last_axis(self) -> int:
        """Number of the last axis, as Keras counts it (the batch is axis 0)."""
        return int(self.timed) + len(self.dims)


@dataclass
class Graph:
    """An ONNX graph under construction. The node that does a layer's work carries the layer's name.

    source: the input, tokens or numbers. window: how many steps the original was built for, if fixed.
    """

    source: Value
    tokens: bool = False
    window: int | None = None
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)

    def op(self, op_type: str, inputs: list[str], name: str, **attributes: Any) -> str:
        """Add a node and return its first output's name."""
        return self.ops(op_type, inputs, name, [".y"], **attributes)[0]

    def ops(self, op_type: str, inputs: list[str], name: str, outputs: list[str], **attributes: Any) -> list[str]:
        """Add a node of several outputs, named by suffixes ("" leaves one out), and return their names."""
        unique = self.unique(name)
        names = [unique + suffix if suffix else "" for suffix in outputs]
        self.nodes.append(helper.make_node(op_type, inputs, names, name=unique, **attributes))
        return names

    def constant(self, name: str, array: NDArray[Any] | float) -> str:
        """Add an initializer, float32 unless it holds integers, and return its name."""
        values = np.asarray(array)
        unique = self.unique(name)
        kept = values if values.dtype == np.int64 else np.ascontiguousarray(values, np.float32)
        self.tensors.append(numpy_helper.from_array(kept, unique))
        return unique

    def unique(self, name: str) -> str:
        """Return the name, numbered where it is taken."""
        found, number = name, 0
        while found in self.taken:
            number += 1
            found = f"{name}.{number}"
        self.taken.add(found)
        return found

    def steps(self, x: Value) -> int | None:
        """Return how many steps a value has where the model runs on the window it was built for."""
        if self.window is None or x.name == self.source.name:
            return self.window
        leaving = helper.make_tensor_value_info(x.name, TensorProto.FLOAT, None)
        inferred = onnx.shape_inference.infer_shapes(self._model(self.nodes, self.window, leaving))
        dims = inferred.graph.output[0].type.tensor_type.shape.dim
        return dims[1].dim_value if len(dims) > 1 and dims[1].dim_value else None

    def _model(self, nodes: list[onnx.NodeProto], time: int | str, leaving: onnx.ValueInfoProto) -> onnx.ModelProto:
        kind = TensorProto.INT64 if self.tokens else TensorProto.FLOAT
        entering = helper.make_tensor_value_info(self.source.name, kind, [1, time, *self.source.dims])
        graph = helper.make_graph(nodes, "keras", [entering], [leaving], self.tensors)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def model(self, output: Value) -> onnx.ModelProto:
        """Return the checked model: the source's shape in, the output's shape out."""
        shape = [None, None, *output.dims] if output.timed else [None, *output.dims]
        leaving = helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)
        nodes = [*self.nodes, helper.make_node("Identity", [output.name], ["output"], name=self.unique("output"))]
        model = self._model(nodes, "time", leaving)
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as cause:
            raise ExportError(f"the layers do not fit together: {first_line(cause)}") from cause
        return model


def one(call: Call, inputs: list[Value | float]) -> Value:
    """Return the only input of a layer."""
    if len(inputs) != 1 or not isinstance(inputs[0], Value):
        raise call.error(f"it is given {len(inputs)} inputs; one is expected.")
    return inputs[0]


def over_time(call: Call, inputs: list[Value | float]) -> Value:
    """Return the only input of a layer that works along time: [1, time, features]."""
    x = one(call, inputs)
    if not x.timed or len(x.dims) != 1:
        raise call.error("it does not run over the time axis: its input is not [batch, time, features].")
    return x
