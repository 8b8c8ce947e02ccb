"""Sequences turned round within an encoder: what moves them computes the same."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from export.encoder_decoder import directions, times, turns
from export.graph import Input, StreamGraph, session

WIDTH = 3
LENGTHS = (7, 11)
OPS = ("turn", "gru", "back", "tanh", "joined", "mean")


def drawn(ops: list[str], seed: int) -> onnx.ModelProto:
    """Give a graph of these one behind another; joined: to what came in, mean: less that over time."""
    rng, nodes, value = np.random.default_rng(seed), [], "x"
    arrays: dict[str, np.ndarray] = {
        "minus": np.array([-1]), "least": np.array([np.iinfo(np.int64).min]), "time": np.array([0]),
        "one": np.array([1]),
    }  # fmt: skip
    for place, op in enumerate(ops):
        new = f"v{place}"
        if op == "turn":
            nodes.append(helper.make_node("Slice", [value, "minus", "least", "time", "minus"], [new], new))
        elif op in {"gru", "back"}:
            arrays[f"{new}.w"], arrays[f"{new}.r"] = (rng.normal(size=(1, 3 * WIDTH, WIDTH)) for _ in range(2))
            way = {"gru": "forward", "back": "reverse"}[op]
            given = [value, f"{new}.w", f"{new}.r"]
            nodes.append(helper.make_node("GRU", given, [f"{new}.y"], new, hidden_size=WIDTH, direction=way))
            nodes.append(helper.make_node("Squeeze", [f"{new}.y", "one"], [new], f"{new}.s"))
        elif op == "tanh":
            nodes.append(helper.make_node("Tanh", [value], [new], new))
        elif op == "joined":
            nodes.append(helper.make_node("Add", [value, "x"], [new], new))
        else:
            nodes.append(helper.make_node("ReduceMean", [value], [f"{new}.m"], f"{new}.m", axes=[0]))
            nodes.append(helper.make_node("Sub", [value, f"{new}.m"], [new], new))
        value = new
    nodes.append(helper.make_node("Neg", [value], ["y"], "last"))
    row = ["time", 1, WIDTH]
    kept = [
        numpy_helper.from_array(array.astype(np.int64 if array.dtype.kind == "i" else np.float32), name)
        for name, array in arrays.items()
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, row) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def straightened(model: onnx.ModelProto) -> tuple[StreamGraph, bool]:
    stream = StreamGraph(ir.from_proto(model), (Input("x", (-1, 1, WIDTH)),))
    return stream, turns.straighten(times.seen(stream, LENGTHS))


@given(ops=st.lists(st.sampled_from(OPS), min_size=1, max_size=9), seed=st.integers(0, 9), length=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_what_is_moved_computes_the_same(ops: list[str], seed: int, length: int) -> None:
    model = drawn(ops, seed)
    stream, _ = straightened(model)
    x = np.random.default_rng(seed).normal(size=(length, 1, WIDTH)).astype(np.float32)
    expected, found = (session(each).run(None, {"x": x})[0] for each in (model, ir.to_proto(stream.model)))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("ops", "left", "ways"),
    [
        (["turn", "gru", "turn"], 0, ["reverse"]),
        (["turn", "back", "tanh", "turn"], 0, ["forward"]),
        (["turn", "gru", "gru", "turn", "gru"], 0, ["reverse", "reverse", "forward"]),
        (["turn", "turn"], 0, []),
        (["turn", "gru", "joined"], 1, ["reverse"]),
        (["turn", "gru"], 1, ["reverse"]),
    ],
)
def test_turns_that_meet_are_none_and_recurrences_between_them_go_the_other_way(
    ops: list[str], left: int, ways: list[str]
) -> None:
    stream, changed = straightened(drawn(ops, 0))
    assert changed
    assert sum(node.op_type == "Slice" for node in stream.graph) == left
    assert [directions.of(node) for node in stream.graph if node.op_type == "GRU"] == ways


def test_what_turns_nothing_is_left_alone() -> None:
    stream, changed = straightened(drawn(["gru", "back", "tanh", "joined", "mean"], 0))
    assert not changed
    assert [directions.of(node) for node in stream.graph if node.op_type == "GRU"] == ["forward", "reverse"]
