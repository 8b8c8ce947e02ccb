"""Holds onnxruntime against the reference op by op: each op of the file, fed the reference's integers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx.utils import Extractor

from export.graph import session
from export.operations import NOTHING
from export.program import Array, Op, Program
from export.quantize.reference import Interpreter, plan
from export.writers.onnx import _Writer, stored


def written(program: Program) -> tuple[onnx.ModelProto, dict[str, str]]:
    """Write a quantized Program; return the file and as which value of it each tensor was written."""
    writer = _Writer(program)
    model = writer.write([f"y{place}" for place in range(len(program.outputs))])
    present = {name for node in model.graph.node for name in (*node.input, *node.output)}
    # What leaves twice is made by the first of its names.
    leaving = {name: f"y{place}" for place, name in reversed([*enumerate(program.outputs)])}
    leaving = {state.output: f"{state.name}.out" for state in program.states} | leaving
    at = {name: where if where in present else leaving[name] for name, where in writer.at.items() if name in leaving}
    return model, {**{name: where for name, where in writer.at.items() if name not in leaving}, **at}


def as_stored(program: Program, name: str, value: Array) -> Array:
    """Return the reference's values as they stand in the file."""
    kind = program.types.get(name)
    if kind is None:
        return value
    dtype, zero = stored(kind)
    return (value - kind.zero_point + zero).astype(dtype)


def compared(
    program: Program, frames: Array, *, every: int = 7, seed: int = 0, held: Mapping[str, Array] = NOTHING
) -> Counter[str]:
    """Feed every op what the reference has; return how many ops of each kind were within one step of it.

    held: by name, [1, *shape]. Ops on integers alone are fed integers from their whole range as well.
    """
    rng = np.random.default_rng(seed)
    model, at = written(program)
    extractor = Extractor(onnx.shape_inference.infer_shapes(model))
    interpreter, seen = Interpreter(program), []
    interpreter.hold(held)
    steps = len(frames) // program.frames
    for place, group in enumerate(frames.reshape(steps, program.frames, frames.shape[-1])):
        interpreter.step(group[None])
        if place % every == 0:
            seen.append({name: np.asarray(value) for name, value in interpreter.values.items()})
    constants, checked = program.constants(), Counter[str]()
    for op in program.ops:
        fed = [name for name in dict.fromkeys(op.inputs) if name not in constants]
        if not fed or at[op.output] in {at[name] for name in fed}:
            continue
        part = extractor.extract_model([at[name] for name in fed], [at[op.output]])
        runtime = session(part)
        cases = [{name: row[name] for name in op.inputs} for row in seen]
        if all(name in program.types for name in op.inputs):
            cases += [_anything(rng, program, op, seen[0]) for _ in range(len(seen))]
        for case in cases:
            expected = plan(op, program)(*(case[name] for name in op.inputs))
            feeds = {at[name]: np.asarray(as_stored(program, name, case[name])[0]) for name in fed}
            given = runtime.run(None, feeds)[0]
            _hold(program, op, given, as_stored(program, op.output, np.asarray(expected))[0])
        checked[op.kind] += 1
    return checked


def _anything(rng: np.random.Generator, program: Program, op: Op, row: dict[str, Array]) -> dict[str, Array]:
    constants = program.constants()
    found = {}
    for name in op.inputs:
        low, high = program.types[name].limits
        found[name] = row[name] if name in constants else rng.integers(low, high + 1, row[name].shape)
    return found


def _hold(program: Program, op: Op, given: Any, expected: Array) -> None:
    assert given.shape == expected.shape, op
    assert given.dtype == expected.dtype, op
    told = f"{op.kind} '{op.output}'"
    if op.output in program.types:
        assert np.abs(given.astype(np.int64) - expected.astype(np.int64)).max(initial=0) <= 1, told
    elif given.dtype == np.float32:
        finite = np.isfinite(expected)
        np.testing.assert_array_equal(given[~finite], expected[~finite], told)
        limit = 1e-5 * max(float(np.abs(expected[finite]).max(initial=0)), 1e-3)
        np.testing.assert_allclose(given[finite], expected[finite], rtol=1e-5, atol=limit, err_msg=told)
    else:
        np.testing.assert_array_equal(given, expected, told)
