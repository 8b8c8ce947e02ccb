"""Holds a float Program against the step graph it was lowered from, step by step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from random_graphs import FEATURES, Builder
from streaming import opened

from export.choices import Choice
from export.graph import StreamGraph, session
from export.lowering import lower
from export.operations import float_step, initial_state
from export.program import Program
from export.writers import onnx as writer


def graph(
    build: Callable[[Builder, str], str], folder: Path, *, opset: int = 22, seed: int = 0, shape: Any = None
) -> str:
    """Write a model whose y is what `build` makes of x float32[1, time, FEATURES]."""
    builder = Builder(seed)
    y = build(builder, "x")
    builder.nodes.append(helper.make_node("Identity", [y], ["y"], "last"))
    info = helper.make_tensor_value_info
    made = helper.make_graph(
        builder.nodes, "model",
        [info("x", TensorProto.FLOAT, [1, "time", FEATURES] if shape is None else shape)],
        [info("y", TensorProto.FLOAT, None)], builder.tensors,
    )  # fmt: skip
    inferred = onnx.shape_inference.infer_shapes(_model(made, opset)).graph.output[0]
    known = inferred.type.tensor_type.HasField("shape")
    made.output[0].CopyFrom(inferred if known else info("y", TensorProto.FLOAT, [None] * 3))
    path = folder / "m.onnx"
    onnx.save(_model(made, opset), path)
    return str(path)


def _model(made: onnx.GraphProto, opset: int) -> onnx.ModelProto:
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def stream_of(source: Any, *, window: int = 0, restart: int = 0, **options: Any) -> StreamGraph:
    """Rewrite a model to a step."""
    choice = Choice("window", window) if window else Choice("restart", restart) if restart else Choice("carry")
    return choice.rewrite(opened(source), **options)


def noise(stream: StreamGraph, steps: int, seed: int = 0) -> Any:
    """Return random frames, float32[steps, frames a step, features]."""
    rng = np.random.default_rng(seed)
    parts = [
        rng.integers(0, entry.tokens or 2, (steps, stream.frames_per_step, entry.features)).astype(np.float32)
        if entry.dtype == "int64"
        else rng.normal(size=(steps, stream.frames_per_step, entry.features)).astype(np.float32)
        for entry in stream.frames
    ]
    return np.concatenate(parts, axis=2)


def equals_its_step(stream: StreamGraph, steps: int = 24, seed: int = 0, limit: float = 1e-5) -> Program:
    """Run both from the same states; they leave and give the same, in the same shapes and types. Return the Program."""
    program = lower(stream)
    runtime = session(writer.float_step(stream))
    names = [str(value.name) for value in stream.outputs] + [str(state.output.name) for state in stream.states]
    state = initial_state(program, 1)
    for x in noise(stream, steps, seed):
        feeds = {entry.name: entry.enter(x[None])[0] for entry in program.inputs}
        feeds |= {str(entry.input.name): state[entry.name][0] for entry in stream.states}
        expected = runtime.run(names, feeds)
        values, state = float_step(program, x[None], state)
        given = [values[name][0] for name in program.outputs] + [state[entry.name][0] for entry in stream.states]
        for name, a, b in zip(names, given, expected, strict=True):
            assert (a.shape, a.dtype) == (b.shape, b.dtype), name
            if a.dtype.kind == "f":
                size = float(np.abs(b[np.isfinite(b)]).max(initial=0))
                np.testing.assert_allclose(a, b, rtol=0, atol=limit * max(size, 1e-2), err_msg=name)
            else:
                np.testing.assert_array_equal(a, b, name)
    for name, dtype in program.dtypes.items():
        if name in values:
            assert values[name].dtype == dtype, name
    for name, shape in program.shapes.items():
        if name in values:
            assert values[name].shape[1:] == shape, name
    return program


def image(b: Builder, x: str) -> str:
    """Make x [time, 4, 3, 2] of its first 5 features."""
    wide = b.op("MatMul", x, b.weight(FEATURES, 24))
    return b.op("Reshape", wide, b.constant([-1, 4, 3, 2]))


def flat(b: Builder, y: str, size: int) -> str:
    return b.op("Reshape", y, b.constant([1, -1, size]))
