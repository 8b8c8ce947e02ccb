"""What the products of the written files compute in: TFLite's and the native engine's, as the Program says.

Neither runtime rewrites what stands there. A product swapped for float is nearer to the original, and rounds to the
same integers nearly always: no replay and no op by op tells, the count in the file does.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ai_edge_litert import schema_py_generated as schema
from floated import floated
from quantized_families import FAMILIES, VARIANTS, family

from edgeseq.backends.native import program as native_file
from export.program import Program
from export.writers import native, tflite

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
PRODUCTS = ("Linear", "Conv", "MatMul")


def in_tflite(program: Program, folder: Path) -> Counter[str]:
    """Return the multiply-accumulates of a written TFLite file by what both operands are: of integers, the first's."""
    del folder
    content = tflite.write(program, [f"y{place}" for place in range(len(program.outputs))])
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    found = Counter[str]()
    for op in graph.operators:
        name = NAMES[model.operatorCodes[op.opcodeIndex].builtinCode]
        if name in TAKEN:
            x, weight = (graph.tensors[index] for index in op.inputs[:2])
            floats = [TYPES[tensor.type] == "float32" for tensor in (x, weight)]
            assert floats[0] == floats[1], "one operand on integers, the other real: the runtime quantizes on its own"
            made = math.prod(graph.tensors[op.outputs[0]].shape.tolist())
            found[TYPES[x.type]] += made * TAKEN[name](x.shape.tolist(), weight.shape.tolist())
    return found


TAKEN: dict[str, Callable[[Any, Any], int]] = {
    "FULLY_CONNECTED": lambda _, weight: weight[1],
    "CONV_2D": lambda _, weight: math.prod(weight[1:]),
    "DEPTHWISE_CONV_2D": lambda _, weight: weight[1] * weight[2],
    "BATCH_MATMUL": lambda x, _: x[-1],
}
"""Operator -> how many each number that it gives takes, from the shapes of its operands."""


def in_native(program: Program, folder: Path) -> Counter[str]:
    """Return the same of a written native program."""
    native.write(folder / "step.npz", program)
    file = native_file.read(folder / "step.npz")
    tensors, found = file.description.tensors, Counter[str]()
    for op in file.description.ops:
        if op.kind in PRODUCTS:
            x, made = tensors[op.inputs[0]], math.prod(tensors[op.output].shape)
            weight = file.arrays[op.arrays["weight"]] if op.kind != "MatMul" else None
            if weight is not None:
                assert (weight.dtype == "float32") == (x.dtype == "float32")
            found[x.dtype] += made * (x.shape[-1] if weight is None else math.prod(weight.shape[1:]))
    return found


def run_in_what_is_said(program: Program, counted: Counter[str]) -> None:
    assert dict(counted) == program.precisions()


FORMATS = pytest.mark.parametrize("counted", [in_tflite, in_native])
Count = Callable[[Program, Path], Counter[str]]


@FORMATS
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_products_run_in_what_the_program_says(name: str, variant: str, counted: Count, tmp_path: Path) -> None:
    program = family(name).program(variant)
    run_in_what_is_said(program, counted(program, tmp_path))


@FORMATS
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(("name", "kind"), [("gru", "Linear"), ("conv2d", "Conv"), ("attention", "MatMul")])
def test_one_that_was_swapped_for_float_is_found(
    name: str, kind: str, variant: str, counted: Count, tmp_path: Path
) -> None:
    program = family(name).program(variant)
    with pytest.raises(AssertionError, match="float32"):
        run_in_what_is_said(program, counted(floated(program, kind), tmp_path))
