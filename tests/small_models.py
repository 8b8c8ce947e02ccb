"""Stateful model files by "somebody else", small enough to read: made with onnx.helper and the TFLite schema."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper

Size = int | str
KINDS = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64}


def value(name: str, shape: Sequence[Size], kind: str = "float32") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, KINDS[kind], shape)


def save(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Sequence[Any] = ()) -> Path:
    graph = helper.make_graph(nodes, "step", inputs, outputs, list(constants))
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def echo(path: Path, state: Sequence[Size] = (1, 1, 4), frame: Sequence[Size] = (1, 6)) -> Path:
    """y = (x[2:] + x[:-2]) * gain + h, h_next = y / 2: 4 samples a step after 2 of the past, gain an int64 constant."""
    nodes = [
        helper.make_node("Slice", ["x", "two", "end", "axis"], ["new"]),
        helper.make_node("Slice", ["x", "zero", "minus_two", "axis"], ["old"]),
        helper.make_node("Add", ["new", "old"], ["sum"]),
        helper.make_node("Cast", ["gain"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["sum", "factor"], ["louder"]),
        helper.make_node("Reshape", ["h", "flat"], ["h_flat"]),
        helper.make_node("Add", ["louder", "h_flat"], ["y"]),
        helper.make_node("Mul", ["y", "half"], ["kept"]),
        helper.make_node("Shape", ["h"], ["h_shape"]),
        helper.make_node("Reshape", ["kept", "h_shape"], ["h_next"]),
    ]
    ints = {"two": [2], "end": [1 << 30], "axis": [1], "zero": [0], "minus_two": [-2], "flat": [1, 4]}
    constants = [helper.make_tensor(name, TensorProto.INT64, [len(of)], of) for name, of in ints.items()]
    constants.append(helper.make_tensor("half", TensorProto.FLOAT, [1], [0.5]))
    inputs = [value("x", frame), value("h", state), value("gain", [], "int64")]
    return save(path, nodes, inputs, [value("y", [1, 4]), value("h_next", state)], constants)


def echo_reference(x: np.ndarray[Any, Any], gain: int = 3) -> np.ndarray[Any, Any]:
    """Return what `echo` gives for float32[n] samples, n a multiple of 4, by plain loops."""
    padded, h, out = np.concatenate([np.zeros(2, np.float32), x]), np.zeros(4, np.float32), []
    for start in range(0, len(x), 4):
        block = padded[start : start + 6]
        y = (block[2:] + block[:-2]) * np.float32(gain) + h
        h = y * np.float32(0.5)
        out.append(y)
    return np.concatenate(out)


def two_states(path: Path, shapes: Sequence[Sequence[Size]] = ((1, 4), (1, 4))) -> Path:
    """y = x + a - b, a_next = y, b_next = a: two states of one shape, which nothing but their names tells apart."""
    nodes = [
        helper.make_node("Add", ["x", "a"], ["sum"]),
        helper.make_node("Sub", ["sum", "b"], ["y"]),
        helper.make_node("Identity", ["y"], ["a_next"]),
        helper.make_node("Identity", ["a"], ["b_next"]),
    ]
    a, b = shapes
    inputs = [value("x", [1, 4]), value("a", a), value("b", b)]
    return save(path, nodes, inputs, [value("y", [1, 4]), value("a_next", a), value("b_next", b)])


def growing(path: Path) -> Path:
    """A memory that gets longer with every step: h_next = concat(h, x)."""
    nodes = [
        helper.make_node("Concat", ["h", "x"], ["h_next"], axis=1),
        helper.make_node("ReduceMean", ["h_next"], ["y"], axes=[1]),
    ]
    return save(
        path,
        nodes,
        [value("x", [1, 1, 4]), value("h", [1, "n", 4])],
        [value("y", [1, 1, 4]), value("h_next", [1, "m", 4])],
    )


def random(path: Path) -> Path:
    """y = x + noise that comes from nowhere."""
    nodes = [helper.make_node("RandomNormalLike", ["x"], ["noise"]), helper.make_node("Add", ["x", "noise"], ["y"])]
    return save(path, nodes, [value("x", [1, 4])], [value("y", [1, 4])])


def per_frame(path: Path, scale: float, shape: Sequence[Size], name: str = "y") -> Path:
    """y = x * scale, one shape in and out, no state."""
    nodes = [helper.make_node("Mul", ["x", "scale"], [name])]
    constants = [helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale])]
    return save(path, nodes, [value("x", shape)], [value(name, shape)], constants)


def stand_in(
    path: Path, data: str, shape: Sequence[Size], state: str, kept: Sequence[Size], *, sr: bool = False
) -> Path:
    """A file with the inputs of somebody's model: y = data / 2 (its mean times sr, if any), state_next = state + 1."""
    nodes = [
        helper.make_node("Mul", [data, "half"], ["y" if not sr else "halved"]),
        helper.make_node("Add", [state, "one"], ["state_next"]),
    ]
    constants = [helper.make_tensor(name, TensorProto.FLOAT, [], [of]) for name, of in (("half", 0.5), ("one", 1.0))]
    inputs, y = [value(data, shape), value(state, kept)], value("y", shape)
    if sr:
        nodes += [
            helper.make_node("Cast", ["sr"], ["rate"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["halved", "rate"], ["scaled"]),
            helper.make_node("ReduceMean", ["scaled"], ["y"], axes=[1]),
        ]
        inputs.append(value("sr", [], "int64"))
        y = value("y", [shape[0], 1])
    return save(path, nodes, inputs, [y, value("state_next", kept)], constants)


def tflite_sum(path: Path, shape: Sequence[int], *, quantized: bool = False, open_sizes: bool = False) -> Path:
    """h_next = h + x, y = tanh(h_next), as TFLite, float or int8 with scales in the file."""
    model, graph = schema.ModelT(), schema.SubGraphT()

    def tensor(name: str, scale: float, zero_point: int) -> Any:
        made = schema.TensorT()
        made.name, made.shape, made.buffer = name.encode(), list(shape), 0
        made.type = schema.TensorType.INT8 if quantized else schema.TensorType.FLOAT32
        if open_sizes:
            made.shapeSignature = [-1] * len(shape)
        if quantized:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [scale], [zero_point]
        return made

    def op(code: int, inputs: list[int], outputs: list[int]) -> Any:
        made = schema.OperatorT()
        made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
        if code == 0:
            made.builtinOptionsType, made.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
        return made

    def code(builtin: int) -> Any:
        made = schema.OperatorCodeT()
        made.builtinCode = made.deprecatedBuiltinCode = builtin
        made.version = 2 if quantized else 1
        return made

    graph.tensors = [
        tensor("x", 1 / 64, 3),
        tensor("h", 1 / 32, -5),
        tensor("h_next", 1 / 16, 7),
        tensor("y", 1 / 128, 0),
    ]
    graph.inputs, graph.outputs, graph.name = [0, 1], [3, 2], b"step"
    graph.operators = [op(0, [0, 1], [2]), op(1, [2], [3])]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    model.operatorCodes = [code(schema.BuiltinOperator.ADD), code(schema.BuiltinOperator.TANH)]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path
