"""Writes a Program as a TFLite file with one signature, `step`.

The forms that ai-edge-litert and tflite-runtime 2.14 both run, and both within one step of the reference:

1. A float linear is FULLY_CONNECTED. A quantized one is a 1×1 CONV_2D: per-channel FULLY_CONNECTED is wrong or refused
   in tflite-runtime. Beside 16-bit activations its bias has 64 bits.
2. add and sub of 16 bits carry pot_scale_int16 = false: the kernel for any scale, which rounds one sum.
3. sigmoid and tanh of 16 bits run in float32 between DEQUANTIZE and QUANTIZE: the integer kernels interpolate, and are
   up to 6 and 12 steps off.
4. 8 to 16 bits goes over float32 too, where it is exact: tflite-runtime has no such QUANTIZE.
5. A float frame is limited before QUANTIZE, which makes the least integer of what is too great for 32 bits.
6. In between every tensor is [1, 1, 1, size]. What enters and leaves is reshaped: every output is a tensor of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from export.program import Op, Program, Type
from export.writers.tflite_file import File

VALID = 1
"""The schema's padding that adds nothing."""


def write(program: Program, shapes: Mapping[str, tuple[int, ...]], output: str) -> bytes:
    """Return a Program, float or quantized, as a TFLite file.

    shapes: of the input, of the output under its graph name `output`, and of every state by its name. States enter as
    `<state>.in` and leave as `<state>.out`, in their stored integers. Raises ExportError without ai-edge-litert.
    """
    return _Writer(program, shapes, output).write()


def weight_bytes(program: Program) -> int:
    """Return the bytes of the numbers that a Program's file holds: weights, biases, their scales, constants."""
    arrays = [(key, array) for op in program.ops for key, array in op.arrays.items()]
    return sum(array.size * (4 if key == "scale" else array.itemsize) for key, array in arrays if array.size > 1)


class _Writer:
    """`at` holds the index of every Program tensor that has been written."""

    def __init__(self, program: Program, shapes: Mapping[str, tuple[int, ...]], output: str) -> None:
        self.program, self.shapes, self.output = program, shapes, output
        self.file = File()
        self.at: dict[str, int] = {}

    def write(self) -> bytes:
        program = self.program
        inputs = {program.input: self._enter(program.input, program.input, program.input)}
        for state in program.states:
            inputs[f"{state.name}.in"] = self._enter(f"{state.name}.in", state.input, state.name)
        for op in program.ops:
            _FORMS[op.kind](self, op)
        outputs = {self.output: self._leave(self.output, program.output, self.output)}
        for state in program.states:
            outputs[f"{state.name}.out"] = self._leave(f"{state.name}.out", state.output, state.name)
        return self.file.packed("step", inputs, outputs)

    def kind(self, name: str) -> Type | None:
        """Return the type of a Program tensor; None for float32."""
        return self.program.types.get(name)

    def dtype(self, name: str) -> str:
        """Return the name of a Program tensor's type."""
        kind = self.kind(name)
        return "float32" if kind is None else kind.dtype

    def inputs(self, op: Op) -> list[int]:
        """Return the tensors that an op reads."""
        return [self.at[name] for name in op.inputs]

    def row(self, name: str, ending: str = "") -> int:
        """Write a Program tensor, in the shape that ops see."""
        self.at[name] = self.file.tensor(f"{name}{ending}", (1, 1, 1, self.program.sizes[name]), self.kind(name))
        return self.at[name]

    def real(self, name: str, size: int) -> int:
        """Write a float32 tensor that stands between others."""
        return self.file.tensor(name, (1, 1, 1, size), None)  # 6

    def to_real(self, source: str, name: str) -> int:
        """Return the real values of a Program tensor of integers."""
        real = self.real(name, self.program.sizes[source])
        return self.file.op("DEQUANTIZE", self.dtype(source), [self.at[source]], real)

    def to_integers(self, x: int, name: str) -> None:
        """Make the integers of a Program tensor of real values, or of other integers."""
        self.file.op("QUANTIZE", self.dtype(name), [x], self.row(name), "QuantizeOptions")

    def _enter(self, name: str, tensor: str, shape: str) -> int:
        index = self.file.tensor(name, self.shapes[shape], self.kind(tensor))
        self._reshape(tensor, index, self.row(tensor, ".row"), (1, 1, 1, self.program.sizes[tensor]))
        return index

    def _leave(self, name: str, tensor: str, shape: str) -> int:
        index = self.file.tensor(name, self.shapes[shape], self.kind(tensor))
        self._reshape(tensor, self.at[tensor], index, self.shapes[shape])
        return index

    def _reshape(self, tensor: str, source: int, target: int, shape: tuple[int, ...]) -> None:
        dims = np.array(shape, np.int32)
        given = [source, self.file.constant("shape." + "x".join(map(str, shape)), dims)]
        self.file.op("RESHAPE", self.dtype(tensor), given, target, "ReshapeOptions", newShape=dims)


def _linear(writer: _Writer, op: Op) -> None:
    x, weight, bias = writer.at[op.inputs[0]], op.arrays["weight"], op.arrays["bias"]
    entering = writer.kind(op.inputs[0])
    name, relu = op.output, int(op.ints.get("relu", 0))  # RELU is 1 among the fused activations, NONE is 0
    if entering is None:
        given = [x, writer.file.constant(f"{name}.weight", weight), writer.file.constant(f"{name}.bias", bias)]
        writer.file.op(
            "FULLY_CONNECTED", "float32", given, writer.row(name), "FullyConnectedOptions",
            keepNumDims=True, fusedActivationFunction=relu,
        )  # fmt: skip
        return
    scale = op.arrays["scale"]
    kernel = writer.file.constant(f"{name}.weight", weight.reshape(len(weight), 1, 1, -1), scales=scale)
    offset = writer.file.constant(f"{name}.bias", bias, scales=scale * entering.scale)
    writer.file.op(
        "CONV_2D", entering.dtype, [x, kernel, offset], writer.row(name), "Conv2DOptions",
        padding=VALID, strideW=1, strideH=1, fusedActivationFunction=relu,
    )  # fmt: skip  # 1


def _binary(writer: _Writer, op: Op) -> None:
    name, options = _BINARY[op.kind]
    dtype, inputs = writer.dtype(op.output), writer.inputs(op)
    given = {} if op.kind == "mul" else {"potScaleInt16": dtype == "float32"}  # 2
    writer.file.op(name, dtype, inputs, writer.row(op.output), options, **given)


def _curve(writer: _Writer, op: Op) -> None:
    name, source = _CURVES[op.kind], op.inputs[0]
    if writer.kind(source) is None:
        writer.file.op(name, "float32", [writer.at[source]], writer.row(op.output))
        return
    size = writer.program.sizes[source]
    real = writer.to_real(source, f"{op.output}.real.in")
    curved = writer.file.op(name, "float32", [real], writer.real(f"{op.output}.real", size))
    writer.to_integers(curved, op.output)  # 3


def _relu(writer: _Writer, op: Op) -> None:
    writer.file.op("RELU", writer.dtype(op.output), [writer.at[op.inputs[0]]], writer.row(op.output))


def _quantize(writer: _Writer, op: Op) -> None:
    kind = writer.program.types[op.output]
    size, x = writer.program.sizes[op.output], writer.at[op.inputs[0]]
    for name, limit in zip(("MAXIMUM", "MINIMUM"), kind.limits, strict=True):
        real = np.array([(limit - kind.zero_point) * kind.scale], np.float32)
        bound = writer.file.constant(f"{op.output}.{name.lower()}", real.reshape(1, 1, 1, 1))
        limited = writer.real(f"{op.output}.{name.lower()}ed", size)
        x = writer.file.op(name, "float32", [x, bound], limited, "MaximumMinimumOptions")  # 5
    writer.to_integers(x, op.output)


def _requantize(writer: _Writer, op: Op) -> None:
    source = op.inputs[0]
    x = writer.at[source]
    if (writer.dtype(source), writer.dtype(op.output)) == ("int8", "int16"):
        x = writer.to_real(source, f"{op.output}.real")  # 4
    writer.to_integers(x, op.output)


def _dequantize(writer: _Writer, op: Op) -> None:
    size = writer.program.sizes[op.output]
    x = writer.to_real(op.inputs[0], f"{op.output}.centred")
    for name, key, options in (("MUL", "factor", "MulOptions"), ("ADD", "offset", "AddOptions")):
        if key in op.arrays:
            array = writer.file.constant(f"{op.output}.{key}", op.arrays[key].astype(np.float32).reshape(1, 1, 1, -1))
            x = writer.file.op(name, "float32", [x, array], writer.real(f"{op.output}.{name.lower()}", size), options)
    writer.at[op.output] = x


def _constant(writer: _Writer, op: Op) -> None:
    array, kind = op.arrays["value"].reshape(1, 1, 1, -1), writer.kind(op.output)
    stored = array.astype(np.float32 if kind is None else kind.dtype)
    writer.at[op.output] = writer.file.constant(op.output, stored, None if kind is None else [kind.scale])


def _slice(writer: _Writer, op: Op) -> None:
    start, size = op.ints["start"], op.ints["stop"] - op.ints["start"]
    at = writer.file.constant(f"at.{start}", np.array([0, 0, 0, start], np.int32))
    many = writer.file.constant(f"many.{size}", np.array([1, 1, 1, size], np.int32))
    dtype = writer.dtype(op.output)
    writer.file.op("SLICE", dtype, [writer.at[op.inputs[0]], at, many], writer.row(op.output), "SliceOptions")


def _concat(writer: _Writer, op: Op) -> None:
    parts = writer.inputs(op)
    dtype = writer.dtype(op.output)
    writer.file.op("CONCATENATION", dtype, parts, writer.row(op.output), "ConcatenationOptions", axis=3)


_BINARY = {"add": ("ADD", "AddOptions"), "sub": ("SUB", "SubOptions"), "mul": ("MUL", "MulOptions")}
_CURVES = {"sigmoid": "LOGISTIC", "tanh": "TANH"}
_FORMS: Mapping[str, Callable[[_Writer, Op], None]] = {
    "linear": _linear,
    **dict.fromkeys(_BINARY, _binary),
    **dict.fromkeys(_CURVES, _curve),
    "relu": _relu,
    "quantize": _quantize,
    "requantize": _requantize,
    "dequantize": _dequantize,
    "constant": _constant,
    "slice": _slice,
    "concat": _concat,
}
