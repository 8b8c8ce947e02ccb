"""Writes steps as ONNX files: the float step graph as it stands, a quantized Program as QDQ.

The forms onnxruntime computes with integers, exactly: linear is Gemm with transB=1 between Quantize/Dequantize pairs,
and int8 is stored as uint8 with its zero point moved by 128 (signed activations and weights run in float on some
processors, mixed signs saturate on others). 16-bit integers have no integer kernels there: their ops run in float
between pairs that put every value back on its integer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from export.graph import StreamGraph
from export.program import Op, Program, Type

OPSET = 21
"""The first with 16-bit integers in QuantizeLinear."""
IR_VERSION = 10
ELEMENT = {"int8": TensorProto.UINT8, "int16": TensorProto.INT16}
OPERATOR = {"add": "Add", "sub": "Sub", "mul": "Mul", "sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def float_step(stream: StreamGraph) -> onnx.ModelProto:
    """Return the float32 step graph as a checked ONNX model."""
    model = _bare(stream.model)
    model.ir_version = min(model.ir_version, IR_VERSION)
    model.producer_name = "edgeseq"
    model.graph.name = "step"
    return checked(model)


def whole(model: ir.Model) -> onnx.ModelProto:
    """Return a graph that is no step as a checked ONNX model."""
    return checked(_bare(model))


def _bare(model: ir.Model) -> onnx.ModelProto:
    """Return a graph without what PyTorch's exporter notes at every node: the lines of the source, and where it lay."""
    copy = model.clone()
    common.ClearMetadataAndDocStringPass()(copy)
    return ir.to_proto(copy)


def checked(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model after onnx.checker with full shape inference has passed it."""
    onnx.checker.check_model(model, full_check=True)
    return model


def quantized_step(program: Program, shapes: Mapping[str, tuple[int, ...]], output: str) -> onnx.ModelProto:
    """Return a quantized Program as a checked ONNX model.

    shapes: of the input, of the output under its graph name `output`, and of every state's tensors by state name.
    States enter as `<state>.in` and leave as `<state>.out`, in their stored integers.
    """
    return _Writer(program, shapes, output).write()


def stored(kind: Type) -> tuple[Any, int]:
    """Return how a type stands in the file: NumPy dtype and zero point."""
    return (np.uint8, kind.zero_point + 128) if kind.dtype == "int8" else (np.int16, kind.zero_point)


class _Writer:
    """Each Program tensor exists as its integers `<name>` and, made on demand, dequantized as `<name>.real`."""

    def __init__(self, program: Program, shapes: Mapping[str, tuple[int, ...]], output: str) -> None:
        self.program, self.shapes, self.output = program, shapes, output
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.reals: dict[str, str] = {}

    def write(self) -> onnx.ModelProto:
        program = self.program
        inputs = [helper.make_tensor_value_info(program.input, TensorProto.FLOAT, self.shapes[program.input])]
        outputs = [helper.make_tensor_value_info(self.output, TensorProto.FLOAT, self.shapes[self.output])]
        self.reals[program.input] = self._reshape(program.input, "frame", (1, program.sizes[program.input]))
        for state in program.states:
            element = ELEMENT[program.types[state.input].dtype]
            shape = self.shapes[state.name]
            inputs.append(helper.make_tensor_value_info(f"{state.name}.in", element, shape))
            outputs.append(helper.make_tensor_value_info(f"{state.name}.out", element, shape))
            self._reshape(f"{state.name}.in", f"{state.input}.stored", (1, program.sizes[state.input]))
        for op in program.ops:
            _NODES[op.kind](self, op)
        for state in program.states:
            self._reshape(f"{state.output}.stored", f"{state.name}.out", self.shapes[state.name])
        self._reshape(self.reals[program.output], self.output, self.shapes[self.output])
        graph = helper.make_graph(self.nodes, "step", inputs, outputs, list(self.initializers.values()))
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="edgeseq")
        return checked(model)

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op_type, inputs, [output], output, **attributes))
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def real(self, name: str) -> str:
        """Return the dequantized form of a tensor."""
        if name not in self.reals:
            self.reals[name] = self.node("DequantizeLinear", [f"{name}.stored", *self._pair(name)], f"{name}.real")
        return self.reals[name]

    def store(self, real: str, name: str) -> None:
        """Quantize a float value to the integers of a tensor."""
        self.node("QuantizeLinear", [real, *self._pair(name)], f"{name}.stored")

    def _pair(self, name: str) -> list[str]:
        kind = self.program.types[name]
        dtype, zero = stored(kind)
        return [
            self.constant(f"{name}.scale", np.array(kind.scale, np.float32)),
            self.constant(f"{name}.zero", np.array(zero, dtype)),
        ]

    def _reshape(self, source: str, output: str, shape: tuple[int, ...]) -> str:
        dims = self.constant("shape." + "x".join(map(str, shape)), np.array(shape, np.int64))
        return self.node("Reshape", [source, dims], output)


def _linear(writer: _Writer, op: Op) -> None:
    name, entering = op.output, writer.program.types[op.inputs[0]]
    weight, row = op.arrays["weight"], op.arrays["scale"].astype(np.float32)
    bias, scale = op.arrays["bias"], (op.arrays["scale"] * entering.scale).astype(np.float32)
    if entering.dtype == "int8":
        matrix = writer.constant(f"{name}.weight", (weight.astype(np.int16) + 128).astype(np.uint8))
        zeros = [writer.constant(f"{name}.weight.zero", np.full(len(row), 128, np.uint8))]
    else:
        matrix, zeros = writer.constant(f"{name}.weight", weight), []
    scales = writer.constant(f"{name}.weight.scale", row)
    weight_real = writer.node("DequantizeLinear", [matrix, scales, *zeros], f"{name}.weight.real", axis=0)
    if bias.dtype == np.int32:
        parts = [writer.constant(f"{name}.bias", bias), writer.constant(f"{name}.bias.scale", scale)]
        bias_real = writer.node("DequantizeLinear", parts, f"{name}.bias.real", axis=0)
    else:
        # ONNX has no 64-bit DequantizeLinear; with 16-bit operands the product runs in float in any case.
        bias_real = writer.constant(f"{name}.bias", (bias * (op.arrays["scale"] * entering.scale)).astype(np.float32))
    total = writer.node("Gemm", [writer.real(op.inputs[0]), weight_real, bias_real], f"{name}.total", transB=1)
    # A relu needs no node: it is the output's lower limit, since its zero point is then the least integer.
    if op.ints.get("relu") and entering.dtype != "int8":
        total = writer.node("Relu", [total], f"{name}.relu")
    writer.store(total, name)


def _elementwise(writer: _Writer, op: Op) -> None:
    result = writer.node(OPERATOR[op.kind], [writer.real(name) for name in op.inputs], f"{op.output}.float")
    writer.store(result, op.output)


def _convert(writer: _Writer, op: Op) -> None:
    writer.store(writer.real(op.inputs[0]), op.output)


def _dequantize(writer: _Writer, op: Op) -> None:
    real = writer.real(op.inputs[0])
    for op_type, key in (("Mul", "factor"), ("Add", "offset")):
        if key in op.arrays:
            array = writer.constant(f"{op.output}.{key}", op.arrays[key].reshape(1, -1))
            real = writer.node(op_type, [real, array], f"{op.output}.{op_type.lower()}")
    writer.reals[op.output] = real


def _constant(writer: _Writer, op: Op) -> None:
    writer.constant(f"{op.output}.stored", op.arrays["value"].reshape(1, -1))


def _slice(writer: _Writer, op: Op) -> None:
    bounds = [writer.constant(f"at.{op.ints[key]}", np.array([op.ints[key]], np.int64)) for key in ("start", "stop")]
    writer.node(
        "Slice", [f"{op.inputs[0]}.stored", *bounds, writer.constant("at.1", np.array([1]))], f"{op.output}.stored"
    )


def _concat(writer: _Writer, op: Op) -> None:
    writer.node("Concat", [f"{name}.stored" for name in op.inputs], f"{op.output}.stored", axis=1)


_NODES: Mapping[str, Callable[[_Writer, Op], None]] = {
    "linear": _linear,
    **dict.fromkeys(("add", "sub", "mul", "sigmoid", "tanh", "relu"), _elementwise),
    "quantize": _convert,
    "requantize": _convert,
    "dequantize": _dequantize,
    "constant": _constant,
    "slice": _slice,
    "concat": _concat,
}
