"""Lengths that grow with the source: how they compute, and what the TFLite writer makes of them, or refuses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from export.errors import ExportError
from export.program import Growing, Op, Program, grows
from export.writers import tflite
from export.writers.tflite.writer import broadcast

T = Growing(37, 53)


def test_products_and_quotients_grow_along() -> None:
    for size in (T * 2, 2 * T, math.prod((1, 2, T)), (T * 4) // 2):
        assert isinstance(size, Growing)
        assert (int(size), size.other) == (74, 106)
    assert (Growing(37**2, 53**2), T) == (T * T, (T * T) // T)
    assert grows((1, T, 4, T * 2)) == 2


def test_it_equals_what_grows_alike_alone() -> None:
    assert Growing(37, 53) == T
    assert len({T, Growing(37, 53), 37, Growing(37, 54)}) == 3
    for other in (37, 53, Growing(37, 54), T * 2, "37"):
        assert other != T
        assert not other == T  # noqa: SIM201 - both ways are used


def test_what_is_stretched_goes_on_growing() -> None:
    assert broadcast((1, T, 1), (4,), (3, 1, 1)) == (3, T, 4)
    assert grows(broadcast((1, 1), (T, 2))) == 1


def program(kind: str, *shapes: tuple[Any, ...], gives: tuple[Any, ...], dtype: str = "float32", **how: Any) -> Program:
    """Make a Program that runs once, of one operation on what is held."""
    made = Program([])
    for place, shape in enumerate(shapes):
        made.held.append(f"x{place}")
        made.shapes[f"x{place}"] = shape
        if dtype != "float32":
            made.dtypes[f"x{place}"] = dtype
    made.outputs = [made.emit(Op(kind, "y", tuple(made.held), node="that", attributes=how), gives, dtype)]
    return made


def run(made: Program, *inputs: np.ndarray) -> np.ndarray:
    """Run it on the stock Interpreter, resized."""
    interpreter = Interpreter(model_content=tflite.write(made, ["y"]), num_threads=1)
    places = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for place, x in enumerate(inputs):
        interpreter.resize_tensor_input(places[f"x{place}"], x.shape, strict=True)
    interpreter.allocate_tensors()
    for place, x in enumerate(inputs):
        interpreter.set_tensor(places[f"x{place}"], x)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize("length", [1, 2, 37, 60])
def test_what_is_cut_or_viewed_is_numpys_at_every_length(length: int) -> None:
    x = np.random.default_rng(length).normal(size=(1, length, 6)).astype(np.float32)
    beyond = 2**63 - 1
    whole = program("Slice", (1, T, 6), gives=(1, T, 2), starts=(0, 0, 1), ends=(1, beyond, 3), steps=(1, 1, 1))
    np.testing.assert_array_equal(run(whole, x), x[:, :, 1:3])
    last = program("Slice", (1, T, 6), gives=(1, 1, 6), starts=(0, -1, 0), ends=(1, beyond, 6), steps=(1, 1, 1))
    np.testing.assert_array_equal(run(last, x), x[:, -1:])
    view = program("Reshape", (1, T, 6), gives=(T, 2, 3), shape=(-1, 2, 3))
    np.testing.assert_array_equal(run(view, x), x.reshape(-1, 2, 3))
    turned = program("Transpose", (1, T, 6), gives=(1, 6, T), perm=(0, 2, 1))
    np.testing.assert_array_equal(run(turned, x), x.transpose(0, 2, 1))


@pytest.mark.parametrize("length", [1, 5, 37])
def test_two_lengths_in_a_tensor_stay_apart(length: int) -> None:
    """Turned, made odds of and summed up: views of both would not be told apart again."""
    x = np.random.default_rng(length).normal(size=(length, length, 3)).astype(np.float32)
    made = program("Transpose", (T, T, 3), gives=(3, T, T), perm=(2, 0, 1))
    made.emit(Op("Unsqueeze", "view", ("y",), node="that", attributes={"axes": (0,)}), (1, 3, T, T))
    made.emit(Op("Softmax", "odds", ("view",), node="that", attributes={"axis": 3}), (1, 3, T, T))
    made.outputs = [made.emit(Op("ReduceMax", "most", ("odds",), attributes={"axes": (3,)}), (1, 3, T, 1))]
    odds = np.exp(x.transpose(2, 0, 1))
    expected = (odds / odds.sum(axis=-1, keepdims=True)).max(axis=-1)[None, ..., None]
    np.testing.assert_allclose(run(made, x), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (program("Expand", (1, 4), gives=(T, 4), shape=(37, 4)), "stretches nothing to a length"),
        (program("Range", (), (), (), gives=(T,)), "counts whole numbers, not float32"),
    ],
)
def test_what_tflite_has_no_form_for_is_refused_by_node(made: Program, reason: str) -> None:
    with pytest.raises(ExportError, match=rf"node 'that' \(\w+\): .*{reason}"):
        tflite.write(made, ["y"])


def test_what_leaves_with_two_lengths_is_refused() -> None:
    with pytest.raises(ExportError, match="'y' leaves with several lengths that grow"):
        tflite.write(program("Transpose", (T, T), gives=(T, T), perm=(1, 0)), ["y"])


def test_a_view_of_one_length_as_two_is_refused() -> None:
    made = program("Reshape", (T * T, 4), gives=(T, T, 4), shape=())
    made.outputs = [made.emit(Op("ReduceMax", "most", ("y",), node="those", attributes={"axes": (1,)}), (T, 1, 4))]
    with pytest.raises(ExportError, match=r"node 'those' \(ReduceMax\): its views have several lengths that grow"):
        tflite.write(made, ["most"])


def test_an_entry_from_an_end_that_is_not_known_is_refused() -> None:
    made = program("Gather", (1, T, 4), gives=(1, 1, 4), axis=1)
    place = Op("Constant", "place", node="place", arrays={"value": np.array([-1])})
    made.ops[0] = Op("Gather", "y", ("x0", "place"), node="that", attributes={"axis": 1})
    made.emit(place, (1,), "int64")
    made.ops.reverse()
    with pytest.raises(ExportError, match="counted from an end that it does not know"):
        tflite.write(made, ["y"])
