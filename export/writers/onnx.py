"""Writes steps as ONNX files: the float step graph as it stands, a quantized Program as QDQ.

The forms onnxruntime computes with integers, exactly: Linear is Gemm with transB=1 between Quantize/Dequantize pairs,
Conv and MatMul stand between such pairs as they are, and int8 is stored as uint8 with its zero point moved by 128
(signed activations and weights run in float on some processors, mixed signs saturate on others). 16-bit integers have
no integer kernels there: their ops run in float between pairs that put every value back on its integer.

A Gemm or Conv in float32 between such pairs is taken for one whose weights were forgotten: onnxruntime's
WeightBiasQuantization stores them in int8 then, with one scale for all. So a Max follows, which changes nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx_ir.passes import common

from export.graph import StreamGraph
from export.operations import MOVING, PRODUCTS
from export.program import Growing, Op, Program, Type

FIRST_OPSET, WIDE_OPSET = 13, 21
"""The first with a scale for each output in DequantizeLinear, and the first with 16-bit integers in QuantizeLinear."""
IR_VERSION = 10
ELEMENT = {"int8": TensorProto.UINT8, "int16": TensorProto.INT16}
OVER_REAL = {("Where", "int16"), ("Pad", "int16")}
"""Moving ops that onnxruntime has not for a type: they move the real values, and nothing is lost."""


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


def quantized_step(program: Program, outputs: Sequence[str]) -> onnx.ModelProto:
    """Return a quantized Program as a checked ONNX model.

    outputs: the names of its outputs in the graph. States enter as `<state>.in` and leave as `<state>.out`, in their
    stored integers.
    """
    return _Writer(program).write(outputs)


def stored(kind: Type) -> tuple[Any, int]:
    """Return how a type stands in the file: NumPy dtype and zero point."""
    return (np.uint8, kind.zero_point + 128) if kind.dtype == "int8" else (np.int16, kind.zero_point)


class _Writer:
    """`at` says as which value of the file a Program tensor was written, `reals` where its real values are.

    shared: the product under whose name weights were written. scales: the number of each, for a small file has no room
    for the same ones under the name of each tensor. titles: by which something leaves, and nothing else goes.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.at: dict[str, str] = {}
        self.reals: dict[str, str] = {}
        self.shared: dict[int, str] = {}
        self.scales: dict[float, int] = {}
        self.titles: set[str] = set()

    def write(self, names: Sequence[str]) -> onnx.ModelProto:
        program = self.program
        inputs, outputs = [], []
        for entry in program.inputs:
            inputs.append(self._described(entry.name, entry.name))
            self.at[entry.name] = entry.name
        for name in program.held:
            inputs.append(self._described(name, name))
            self.at[name] = name
        for state in program.states:
            inputs.append(self._described(f"{state.name}.in", state.input))
            self.at[state.input] = f"{state.name}.in"
        leaving = [*zip(program.outputs, names, strict=True), *((s.output, f"{s.name}.out") for s in program.states)]
        self.titles = {title for _, title in leaving}
        for op in program.ops:
            self.at[op.output] = f"{op.output}.stored" if op.output in program.types else op.output
            write = _NODES.get(op.kind, _plain)
            write(self, op)
        self.titles.clear()
        for name, title in leaving:
            self.node("Identity", [self.at[name]], title)
            outputs.append(self._described(title, name))
        graph = helper.make_graph(self.nodes, "step", inputs, outputs, list(self.initializers.values()))
        _without_identities(graph)
        wide = any(kind.dtype == "int16" for kind in program.types.values())
        return _lowest(graph, WIDE_OPSET if wide else FIRST_OPSET)

    def _described(self, title: str, name: str) -> onnx.ValueInfoProto:
        kind = self.program.types.get(name)
        element = (
            helper.np_dtype_to_tensor_dtype(np.dtype(self.program.dtype(name))) if kind is None else ELEMENT[kind.dtype]
        )
        shape = ["source" if isinstance(size, Growing) else size for size in self.program.shapes[name]]
        return helper.make_tensor_value_info(title, element, shape)

    def node(self, op_type: str, inputs: list[str], output: str, **attributes: Any) -> str:
        output = f"{output}.inner" if output in self.titles else output
        # What goes in and out of integers is most nodes: it needs no name besides its output's.
        name = None if op_type in {"QuantizeLinear", "DequantizeLinear"} else output
        self.nodes.append(helper.make_node(op_type, inputs, [output], name, **attributes))
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        self.initializers.setdefault(name, numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def numbers(self, *content: int) -> str:
        """Return a constant of whole numbers, one for all that need the same."""
        return self.constant("numbers." + ".".join(map(str, content)), np.array(content, np.int64))

    def real(self, name: str) -> str:
        """Return the real values of a tensor, dequantized once."""
        if name not in self.program.types:
            return self.at[name]
        if name not in self.reals:
            self.reals[name] = self.node("DequantizeLinear", [self.at[name], *self._pair(name)], f"{name}.real.out")
        return self.reals[name]

    def store(self, real: str, name: str) -> None:
        """Quantize real values to the integers of a tensor; leave them as they are where it has none."""
        if name in self.program.types:
            self.at[name] = self.node("QuantizeLinear", [real, *self._pair(name)], self.at[name])
        else:
            self.at[name] = real

    def _pair(self, name: str) -> list[str]:
        kind = self.program.types[name]
        dtype, zero = stored(kind)
        scale = np.float32(kind.scale)
        number = self.scales.setdefault(float(scale), len(self.scales))
        return [self.constant(f"scale.{number}", np.array(scale)), self.zeros(np.array(zero, dtype))]

    def zeros(self, array: NDArray[Any]) -> str:
        """Return a constant of one zero point, or of as many as it has: one for all that need the same."""
        sizes = "".join(f".{size}" for size in array.shape)
        return self.constant(f"zero.{array.dtype}.{array.flat[0]}{sizes}", array)


def _lowest(graph: onnx.GraphProto, first: int) -> onnx.ModelProto:
    """Return a graph as a checked model of the lowest opset that has all of its nodes as they are, from `first` on.

    Between these opsets no op that is written here changes what it computes: they add types, attributes and inputs.
    """
    for version in range(first, WIDE_OPSET):
        opset = helper.make_opsetid("", version)
        model = helper.make_model(
            graph, opset_imports=[opset], ir_version=helper.find_min_ir_version_for([opset]), producer_name="edgeseq"
        )
        with contextlib.suppress(onnx.checker.ValidationError, onnx.shape_inference.InferenceError):
            return checked(model)
    opset = helper.make_opsetid("", WIDE_OPSET)
    return checked(helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="edgeseq"))


def _without_identities(graph: onnx.GraphProto) -> None:
    """Let what leaves the graph be named so where it is made, unless it enters, or leaves twice."""
    made = {output: node for node in graph.node for output in node.output}
    leaving = {output.name for output in graph.output}
    for node in [node for node in graph.node if node.op_type == "Identity"]:
        (source,), (target,) = node.input, node.output
        if source not in made or source in leaving or made[source].op_type == "Identity":
            continue
        made[target] = made.pop(source)
        graph.node.remove(node)
        for other in graph.node:
            for names in (other.input, other.output):
                for place, name in enumerate(names):
                    if name == source:
                        names[place] = target


def _weights(writer: _Writer, op: Op) -> list[str]:
    """Return a product's weight and bias as real values."""
    weight, bias = op.arrays["weight"], op.arrays["bias"]
    # Products of the same weights (the steps of a recurrent layer in a window) share what is written of them.
    title, name = writer.shared.setdefault(id(weight), op.output), op.output
    entering = writer.program.types.get(op.inputs[0])
    if entering is None:
        return [writer.constant(f"{title}.weight", weight), writer.constant(f"{name}.bias", bias)]
    row, scale = op.arrays["scale"].astype(np.float32), (op.arrays["scale"] * entering.scale).astype(np.float32)
    if entering.dtype == "int8":
        matrix = writer.constant(f"{title}.weight", (weight.astype(np.int16) + 128).astype(np.uint8))
        zeros = [writer.zeros(np.full(len(row), 128, np.uint8))]
    else:
        matrix, zeros = writer.constant(f"{title}.weight", weight), []
    scales = writer.constant(f"{title}.weight.scale", row)
    real = writer.node("DequantizeLinear", [matrix, scales, *zeros], f"{name}.weight.real", axis=0)
    if bias.dtype == np.int32:
        parts = [writer.constant(f"{name}.bias", bias), writer.constant(f"{name}.bias.scale", scale)]
        return [real, writer.node("DequantizeLinear", parts, f"{name}.bias.real", axis=0)]
    # ONNX has no 64-bit DequantizeLinear; with 16-bit operands the product runs in float in any case.
    return [real, writer.constant(f"{name}.bias", (bias * (op.arrays["scale"] * entering.scale)).astype(np.float32))]


def _product(writer: _Writer, op: Op) -> None:
    given = [writer.real(name) for name in op.inputs]
    title = f"{op.output}.total" if op.output in writer.program.types or op.attributes.get("relu") else op.output
    if op.kind == "Linear":
        total = writer.node("Gemm", [*given, *_weights(writer, op)], title, transB=1)
    elif op.kind == "Conv":
        settings = {key: op.attributes[key] for key in ("strides", "dilations", "pads", "group")}
        total = writer.node(
            "Conv", [*given, *_weights(writer, op)], title, kernel_shape=op.attributes["kernel"], **settings
        )
    else:
        total = writer.node("MatMul", given, title)
    if op.kind != "MatMul" and op.inputs[0] not in writer.program.types:
        least = writer.constant("least", np.array(-np.inf, np.float32))
        total = writer.node("Max", [total, least], f"{op.output}.kept")
    # In int8 a relu needs no node: it is the output's lower limit, since its zero point is then the least integer.
    if op.attributes.get("relu") and writer.program.dtype(op.output) != "int8":
        total = writer.node("Relu", [total], f"{op.output}.relu")
    writer.store(total, op.output)


def _plain(writer: _Writer, op: Op) -> None:
    """Write an op on real values, whole numbers or conditions; what is stored goes in and out of its integers."""
    title = f"{op.output}.float" if op.output in writer.program.types else op.output
    more, settings = _SETTINGS[op.kind](writer, op) if op.kind in _SETTINGS else ([], dict(op.attributes))
    result = writer.node(op.kind, [*(writer.real(name) for name in op.inputs), *more], title, **settings)
    writer.store(result, op.output)


def _gelu(writer: _Writer, op: Op) -> None:
    """Write x/2 (1 + erf(x/√2)) as that: runtimes make one op of it, and ONNX has one from opset 20 on alone."""
    if op.attributes["approximate"] != "none":
        _plain(writer, op)
        return
    x, name = writer.real(op.inputs[0]), op.output
    root, one, half = (writer.constant(f"float.{c:g}", np.array(c, np.float32)) for c in (np.sqrt(2), 1, 0.5))
    part = writer.node("Erf", [writer.node("Div", [x, root], f"{name}.div")], f"{name}.erf")
    part = writer.node("Mul", [x, writer.node("Add", [part, one], f"{name}.add")], f"{name}.mul")
    writer.store(writer.node("Mul", [part, half], f"{name}.float"), name)


def _moving(writer: _Writer, op: Op) -> None:
    kind = writer.program.types.get(op.output)
    if kind is None or (op.kind, kind.dtype) in OVER_REAL:
        _plain(writer, op)
        return
    more, settings = _SETTINGS[op.kind](writer, op) if op.kind in _SETTINGS else ([], dict(op.attributes))
    entering = [*(writer.at[name] for name in op.inputs), *more]
    writer.at[op.output] = writer.node(op.kind, entering, writer.at[op.output], **settings)


def _convert(writer: _Writer, op: Op) -> None:
    writer.store(writer.real(op.inputs[0]), op.output)


def _dequantize(writer: _Writer, op: Op) -> None:
    real = writer.real(op.inputs[0])
    for op_type, key in (("Mul", "factor"), ("Add", "offset")):
        if key in op.arrays:
            array = writer.constant(f"{op.output}.{key}", op.arrays[key])
            real = writer.node(op_type, [real, array], f"{op.output}.{op_type.lower()}")
    writer.at[op.output] = real


def _constant(writer: _Writer, op: Op) -> None:
    array = op.arrays["value"]
    if writer.program.dtype(op.output) == "int8":
        array = (array.astype(np.int16) + 128).astype(np.uint8)
    writer.at[op.output] = writer.constant(writer.at[op.output], array)


Settings = tuple[list[str], dict[str, Any]]


def _cuts(writer: _Writer, op: Op) -> Settings:
    shape = writer.program.shapes[op.inputs[0]]
    starts, ends, steps = (op.attributes[key] for key in ("starts", "ends", "steps"))
    along = [axis for axis, size in enumerate(shape) if (starts[axis], ends[axis], steps[axis]) != (0, size, 1)]
    picked = ([values[axis] for axis in along] for values in (starts, ends, range(len(shape)), steps))
    return [writer.numbers(*values) for values in picked], {}


def _pads(writer: _Writer, op: Op) -> Settings:
    kind, value = writer.program.types.get(op.output), op.attributes["value"]
    dtype: Any = writer.program.dtype(op.output)
    if kind is not None and (op.kind, kind.dtype) in OVER_REAL:
        value, dtype = (value - kind.zero_point) * kind.scale, np.float32
    elif kind is not None:
        dtype, zero = stored(kind)
        value += zero - kind.zero_point
    fill = writer.constant(f"{op.output}.fill", np.array(value, dtype))
    return [writer.numbers(*op.attributes["pads"]), fill], {}


def _norm(writer: _Writer, op: Op) -> Settings:
    arrays = [writer.constant(f"{op.output}.{key}", op.arrays[key]) for key in ("scale", "bias")]
    return arrays, dict(op.attributes)


_SETTINGS: Mapping[str, Callable[[_Writer, Op], Settings]] = {
    "Reshape": lambda writer, op: ([writer.numbers(*op.attributes["shape"])], {}),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), lambda writer, op: ([writer.numbers(*op.attributes["axes"])], {})),
    "Expand": lambda writer, op: ([writer.numbers(*op.attributes["shape"])], {}),
    "Slice": _cuts,
    "Pad": _pads,
    "LayerNormalization": _norm,
    "Cast": lambda _, op: ([], {"to": helper.np_dtype_to_tensor_dtype(np.dtype(op.attributes["to"]))}),
    **dict.fromkeys(
        ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"),
        lambda writer, op: ([writer.numbers(*op.attributes["axes"])], {"keepdims": 1}),
    ),
}
"""What is said otherwise in ONNX than in a Program: further inputs, and attributes."""
_NODES: Mapping[str, Callable[[_Writer, Op], None]] = {
    **dict.fromkeys(PRODUCTS, _product),
    **dict.fromkeys(MOVING, _moving),
    "Quantize": _convert,
    "Requantize": _convert,
    "Dequantize": _dequantize,
    "Constant": _constant,
    "Gelu": _gelu,
}
