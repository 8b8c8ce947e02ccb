"""What the ops of the written files compute on: integers wherever the Program has them, real values elsewhere.

An op on integers that was swapped for one on real values rounds to the same integers nearly always: no replay and no op
by op tells, what stands in the file does. Products have their multiply-accumulates counted: test_written_products.py.

1. A native file has the ops of the Program, each known by its kind and by the types of what it takes and gives.
2. A TFLite file has elementwise ops one by one, and what moves numbers in many forms. None of it computes on real
   values without going in and out of integers, so the ways in and out are counted.
3. By design TFLite goes over real values where no integers of both runtimes come within a step: 16-bit curves, and from
   8 to 16 bits (integers.py). Softmax, norms and most activations are on real values in the Program itself.
4. An ONNX file has all ops on real values between quantization points, for the runtime to fuse what it has on integers:
   what counts is what stands between them (quantization_points.py). One that computes is swapped for itself there; a
   point less is what a file can have wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import onnx
import pytest
import quantization_points as points
from ai_edge_litert import schema_py_generated as schema
from floated import floated
from quantized_families import FAMILIES, VARIANTS, family

from edgeseq.backends.native import program as native_file
from export.program import Program
from export.writers import native, tflite
from export.writers import onnx as writer
from export.writers.tflite.integers import CURVES

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
COUNTED = {
    "ADD": "Add", "SUB": "Sub", "MUL": "Mul", "RELU": "Relu", "LOGISTIC": "Sigmoid", "TANH": "Tanh",
    "QUANTIZE": "Quantize", "DEQUANTIZE": "Dequantize",
}  # fmt: skip
"""2: TFLite's name -> the Program's."""
FEW = {"gru", "lstm", "linear attention", "delay", "two frames a step", "restart", "se", "attention"}
"""Families that have ops of all kinds between them; the others take their time."""
STORED = {"int8", "int16"}
Taken = tuple[str, tuple[str, ...], str]
"""An op: its kind, the types of what it takes, that of what it gives."""


def of_program(program: Program) -> Iterator[Taken]:
    for op in program.ops:
        yield op.kind, tuple(map(program.dtype, op.inputs)), program.dtype(op.output)


def in_native(program: Program, folder: Path) -> Iterator[Taken]:
    """Give the ops of a written native program (1)."""
    native.write(folder / "step.npz", program)
    description = native_file.read(folder / "step.npz").description
    for op in description.ops:
        yield (
            op.kind,
            tuple(description.tensors[name].dtype for name in op.inputs),
            description.tensors[op.output].dtype,
        )


def as_tflite(program: Program) -> Iterator[Taken]:
    """Give what a Program is in TFLite (2, 3)."""
    for kind, taken, given in of_program(program):
        if (kind in CURVES and given == "int16") or (kind, taken, given) == ("Requantize", ("int8",), "int16"):
            yield "Dequantize", taken, "float32"
            yield "Quantize", ("float32",), given
        elif kind == "Requantize":
            yield "Quantize", taken, given
        elif kind in COUNTED.values():
            yield kind, taken, given


def in_tflite(program: Program, folder: Path) -> Iterator[Taken]:
    """Give the ops of a written TFLite file that are counted (2)."""
    del folder
    content = tflite.write(program, [f"y{place}" for place in range(len(program.outputs))])
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    for op in graph.operators:
        kind = COUNTED.get(NAMES[model.operatorCodes[op.opcodeIndex].builtinCode])
        if kind is not None:
            taken, (given,) = ([TYPES[graph.tensors[index].type] for index in part] for part in (op.inputs, op.outputs))
            yield kind, tuple(taken), given


def as_onnx(program: Program) -> onnx.ModelProto:
    return writer.quantized_step(program, [f"y{place}" for place in range(len(program.outputs))])


def in_onnx(program: Program, folder: Path) -> Iterator[Taken]:
    """Give what stands between the quantization points of a written ONNX file (4)."""
    del folder
    return points.in_onnx(as_onnx(program))


def on_integers(ops: Iterable[Taken]) -> Counter[Taken]:
    """Count the ops that take or give integers."""
    return Counter(op for op in ops if STORED & {*op[1], op[2]})


Said, Written = Callable[[Program], Iterable[Taken]], Callable[[Program, Path], Iterable[Taken]]
FORMATS: dict[str, tuple[Said, Written]] = {
    "native": (of_program, in_native),
    "tflite": (as_tflite, in_tflite),
    "onnx": (points.in_program, in_onnx),
}


def computes_on_what_is_said(program: Program, written: Program, file: str, folder: Path) -> None:
    said, ops = FORMATS[file]
    assert on_integers(ops(written, folder)) == on_integers(said(program))


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in FEW else pytest.mark.long) for name in FAMILIES]
)
def test_ops_compute_on_what_the_program_says(name: str, variant: str, file: str, tmp_path: Path) -> None:
    program = family(name).program(variant)
    computes_on_what_is_said(program, program, file, tmp_path)


COMPUTING = [("gru", kind) for kind in ("Add", "Sub", "Mul", "Sigmoid", "Tanh")]
MOVING = [("gru", "Slice"), ("attention", "Concat")]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("file", "name", "kind"),
    [("native", *case) for case in COMPUTING + MOVING]
    + [("tflite", *case) for case in COMPUTING + MOVING if case[1] not in CURVES]
    + [("onnx", *case) for case in MOVING],
)
def test_one_that_was_swapped_for_float_is_found(name: str, kind: str, variant: str, file: str, tmp_path: Path) -> None:
    program = family(name).program(variant)
    swapped = floated(program, kind)
    with pytest.raises(AssertionError, match="float32" if file != "onnx" else "of integers"):
        computes_on_what_is_said(program, swapped, file, tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("file", "name", "kind"),
    [("tflite", *case) for case in COMPUTING if case[1] in CURVES] + [("onnx", *case) for case in COMPUTING],
)
def test_one_that_goes_over_real_values_by_design_is_swapped_for_itself(
    name: str, kind: str, variant: str, file: str, tmp_path: Path
) -> None:
    program = family(name).program(variant)
    computes_on_what_is_said(program, floated(program, kind), file, tmp_path)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    ("name", "op_type"),
    [
        *COMPUTING[:3], ("lstm", "Sigmoid"), ("gru", "Tanh"), ("gru", "Gemm"),
        *(("attention", kind) for kind in ("MatMul", "Softmax", "LayerNormalization")),
    ],
)  # fmt: skip
def test_a_quantization_point_less_is_found(name: str, op_type: str, variant: str) -> None:
    program = family(name).program(variant)
    fewer = points.without_a_point(as_onnx(program), op_type)
    assert Counter(points.in_onnx(fewer)) != Counter(points.in_program(program))
