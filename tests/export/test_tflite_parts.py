"""Slices in TFLite files: one SPLIT where together they are all of a tensor, in equal parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.program import Op, Program, ProgramState
from export.writers import tflite

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
COLUMNS = 12
Cut = tuple[int, int, int]


def sliced(columns: list[Cut], dtype: str = "float32", shape: tuple[int, ...] = (3, COLUMNS)) -> tuple[bytes, Any]:
    """Return the file of slices of the last axis (start, end, step), and what it is of."""
    program = Program([], 1, [f"part{place}" for place in range(len(columns))])
    program.states.append(ProgramState("x", "x", "x", np.zeros(shape)))
    program.shapes["x"] = shape
    program.dtypes["x"] = dtype
    whole = [(0, size, 1) for size in shape[:-1]]
    for output, cut in zip(program.outputs, columns, strict=True):
        starts, ends, steps = zip(*whole, cut, strict=True)
        made = Op("Slice", output, ("x",), "node", {"starts": starts, "ends": ends, "steps": steps})
        program.emit(made, (*shape[:-1], len(range(*cut))), dtype)
    x = np.random.default_rng(0).integers(-100, 100, shape).astype(dtype)
    return tflite.write(program, program.outputs), x


def ops(content: bytes) -> list[str]:
    file = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = file.subgraphs
    return [NAMES[file.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]


def check(content: bytes, x: Any, columns: list[Cut]) -> None:
    step = Interpreter(model_content=content).get_signature_runner("step")
    given = step(**{"x.in": x})
    for place, cut in enumerate(columns):
        np.testing.assert_array_equal(given[f"part{place}"], x[..., slice(*cut)])


THIRDS: list[Cut] = [(0, 4, 1), (4, 8, 1), (8, 12, 1)]


@pytest.mark.parametrize("shape", [(3, COLUMNS), (COLUMNS,), (2, 3, 2, 3, COLUMNS)])
@pytest.mark.parametrize("dtype", ["float32", "int32"])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_all_parts_are_one_op(order: tuple[int, ...], dtype: str, shape: tuple[int, ...]) -> None:
    columns = [THIRDS[place] for place in order]
    content, x = sliced(columns, dtype, shape)
    found = ops(content)
    assert found.count("SPLIT") == 1
    assert "SLICE" not in found
    check(content, x, columns)


@pytest.mark.parametrize(
    ("columns", "dtype", "splits"),
    [
        (THIRDS[:2], "float32", 0),  # a part is missing
        ([(0, 5, 1), (5, 12, 1)], "float32", 0),  # unequal
        ([(0, 5, 1), (5, 10, 1)], "float32", 0),  # a rest
        ([(0, 12, 2), (1, 12, 2)], "float32", 0),  # in turn
        ([(0, 4, 1), (2, 6, 1), (8, 12, 1)], "float32", 0),  # one over another
        ([(place, place + 2, 1) for place in range(0, 12, 2)], "float32", 0),  # more than XNNPACK splits into
        (THIRDS, "int64", 0),  # SPLIT has no such type
        ([*THIRDS, THIRDS[1]], "float32", 1),  # one twice
        ([*THIRDS, (2, 6, 1)], "float32", 1),  # another one besides
        ([*THIRDS, (0, 6, 1), (6, 12, 1)], "float32", 2),  # thirds and halves
    ],
)
def test_others_are_cut_one_by_one(columns: list[Cut], dtype: str, splits: int) -> None:
    content, x = sliced(columns, dtype)
    assert ops(content).count("SPLIT") == splits
    check(content, x, columns)
