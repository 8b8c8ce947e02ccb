"""The integer reference against exact arithmetic, and onnxruntime op by op against the reference."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction

import models
import numpy as np
import onnx
import onnx_ir as ir
import op_by_op
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from export.frontends import torch as frontend
from export.graph import StreamGraph
from export.lowering import lower
from export.macs import count, optimize
from export.operations import float_step, initial_state
from export.passes import rewrite
from export.program import Program
from export.quantize import reference
from export.quantize.calibrate import calibrate
from export.quantize.integers import quantize
from export.quantize.reference import Interpreter, multiplier, rescaling
from export.writers.onnx import quantized_step


def lowered(module: models.Recurrent) -> tuple[StreamGraph, Program]:
    sequence = frontend.from_module(module, models.example(), "test", "")
    stream = rewrite(StreamGraph(ir.from_proto(sequence.model), sequence.inputs))
    return stream, lower(stream)


def quantized(module: models.Recurrent, variant: str) -> tuple[Program, onnx.ModelProto]:
    stream, program = lowered(module)
    result = quantize(program, calibrate(program, models.walks()), variant)
    return result, quantized_step(result, [str(value.name) for value in stream.outputs])


@settings(deadline=None)
@given(st.floats(2**-30, 2**20), st.integers(-(2**31), 2**31 - 1))
def test_rescale_is_the_ratio_rounded_once_halves_up(ratio: float, value: int) -> None:
    m, shift = multiplier(ratio)
    assert m < 2**31
    assert math.isclose(m / 2.0**shift, ratio, rel_tol=2**-30)
    if abs(value * m) < 2**62 and shift >= 1:
        exact = math.floor(Fraction(value * m, 2**shift) + Fraction(1, 2))
        assert int(rescaling(m, shift)(np.int64(value))) == exact


@pytest.mark.parametrize("kind", ["Sigmoid", "Tanh"])
def test_tables_are_the_real_functions_correctly_rounded(kind: str) -> None:
    table = reference.table(kind, 2.0**-12)
    for q in (-32768, -4096, -1, 0, 1, 777, 4096, 32767):
        x = q / 4096
        real = math.tanh(x) if kind == "Tanh" else 1 / (1 + math.exp(-x))
        assert table[q + 32768] == min(32767, math.floor(real * 32768 + 0.5))


@pytest.mark.parametrize("seed", range(4))
def test_the_float_program_is_the_module(seed: int) -> None:
    module = models.random_module(seed, norm=False)
    _, program = lowered(module)
    x = models.walks(1)[0][:50]
    state, rows = initial_state(program, 1), []
    for frame in x:
        values, state = float_step(program, frame[None, None], state)
        rows.append(values[program.outputs[0]].reshape(-1))
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(np.array(rows), expected, atol=2e-5)


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
@pytest.mark.parametrize("kind", ["gru", "lstm", "rnn"])
def test_onnxruntime_is_within_one_step_of_the_reference_op_by_op(kind: str, variant: str) -> None:
    program, _ = quantized(models.random_module(5, norm=False, kind=kind), variant)
    checked = op_by_op.compared(program, models.walks(1)[0][:40])
    assert checked["Linear"] >= 3
    assert checked.total() - checked["Dequantize"] > 8


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_every_stored_integer_counts(variant: str) -> None:
    program, _ = quantized(models.gru(hidden=8), variant)
    x = models.walks(1)[0]
    before = Interpreter(program).run(x)
    rng = np.random.default_rng(0)
    for op in program.ops:
        if op.kind != "Linear":
            continue
        for key in ("weight", "bias"):
            array = op.arrays[key]
            index = tuple(int(rng.integers(size)) for size in array.shape)
            kept = array[index]
            limits = np.iinfo(np.int8) if key == "weight" else np.iinfo(np.int16)
            array[index] = limits.min if kept > 0 else limits.max
            assert not np.array_equal(Interpreter(program).run(x), before), (op.output, key, index)
            array[index] = kept


def test_int8_runs_every_product_in_integers() -> None:
    program, model = quantized(models.random_module(5, norm=False, kind="gru"), "int8")
    counted = count(model)
    assert counted.floating == 0
    assert {"int8": counted.integer} == program.precisions()


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_the_optimized_graph_holds_no_product_of_another_precision(variant: str) -> None:
    _, model = quantized(models.random_module(5, norm=False, kind="lstm"), variant)
    ops = {node.op_type for node in optimize(model).graph.node}
    assert "MatMulNBits" not in ops
    assert "MatMul" not in ops
    assert ("QGemm" in ops) == (variant == "int8")


def test_a_gru_left_in_float_is_counted_as_float() -> None:
    stream, program = lowered(models.gru())
    counted = count(ir.to_proto(stream.model))
    assert (counted.integer, counted.floating) == (0, program.precisions()["float32"])


def test_streams_side_by_side_are_the_streams_alone() -> None:
    program, _ = quantized(models.gru(), "int8")
    walks = models.walks(3)
    together = Interpreter(program, streams=3)
    rows = np.stack([together.step(np.stack([walk[t] for walk in walks])) for t in range(50)])
    for index, walk in enumerate(walks):
        np.testing.assert_array_equal(rows[:, index], Interpreter(program).run(walk[:50]))


def test_a_gate_that_keeps_its_state_for_thousands_of_steps_keeps_it() -> None:
    """Sigmoid inputs beyond 8 must not be cut off there: the state would leak away."""
    module = models.gru()
    gates = module.layers[0]
    with torch.no_grad():
        gates.bias_ih_l0[12:24] += 14.0
    _, program = lowered(module)
    start = np.linspace(-0.8, 0.8, 12, dtype=np.float32).reshape(program.states[0].initial.shape)
    program.states[0] = dataclasses.replace(program.states[0], initial=start)
    frames = np.zeros((4000, models.FEATURES), np.float32)
    state = initial_state(program, 1)
    for frame in frames:
        _, state = float_step(program, frame[None, None], state)
    interpreter = Interpreter(quantize(program, calibrate(program, [frames]), "w8a16"))
    interpreter.run(frames)
    (kept,) = (value[0] for value in state.values())
    (stored,) = (value[0] * 2.0**-15 for value in interpreter.state.values())
    np.testing.assert_allclose(kept, start, atol=0.02)
    np.testing.assert_allclose(stored, kept, atol=0.13)  # 2^-15 short of 1, over 4,000 steps: e^(-4000 / 2^15) = 0.885
