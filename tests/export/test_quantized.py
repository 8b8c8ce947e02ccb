"""The quantized variants of every family: within their bounds, in integers where they say so, each integer read."""

from __future__ import annotations

import numpy as np
import onnx
import op_by_op
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized_families import FAMILIES, VARIANTS, Family, Frames, calibration, family, frames

from export import macs
from export.graph import session
from export.lowering import lower
from export.operations import FLOAT, MOVING, PRODUCTS, REAL, float_step, initial_state, joined
from export.program import Array, Op, Program, ProgramInput, Type
from export.quantize import weights
from export.quantize.integers import VARIANTS as OPERANDS
from export.quantize.reference import Interpreter, plan
from export.quantize.step import ReferenceStep
from export.variants import describe

BOUNDS = {"int8": 0.04, "w8a16": 0.01}
BOTH = pytest.mark.parametrize("variant", VARIANTS)
EVERY = pytest.mark.parametrize("name", FAMILIES)
INTEGER = {"QGemm", "QLinearMatMul", "QLinearConv", "MatMulInteger", "ConvInteger", "MatMulIntegerToFloat"}


# ---- free-running


@EVERY
@BOTH
def test_the_reference_runs_freely_near_the_float_program(name: str, variant: str) -> None:
    made, given, expected = family(name), [], []
    delay, lowered = describe(made.stream).delay, lower(made.stream)
    for x in calibration(made.stream):
        state, rows = initial_state(lowered, 1), []
        for group in x.reshape(-1, lowered.frames, x.shape[-1]):
            values, state = float_step(lowered, group[None], state)
            rows.append(joined(values, lowered, 1)[0])
        expected.append(np.array(rows, np.float64)[delay:])
        given.append(Interpreter(made.program(variant)).run(x)[delay:])
    _near(np.concatenate(given), np.concatenate(expected), BOUNDS[variant])


def _near(given: Array, expected: Array, bound: float) -> None:
    """Hold the rms error of each output against a share of its spread."""
    errors = np.sqrt(np.mean(np.square(given - expected), axis=0)) / expected.std(axis=0)
    assert (errors <= bound).all(), errors


# ---- onnxruntime against the reference


@EVERY
@BOTH
def test_onnxruntime_is_within_one_step_of_the_reference_op_by_op(name: str, variant: str) -> None:
    made = family(name)
    program = made.program(variant)
    checked = op_by_op.compared(program, frames(made.stream, 29))
    for kind in {op.kind for op in program.ops} & {"Linear", "Conv", "MatMul"}:
        assert checked[kind]
    constants = program.constants()
    meant = [op for op in program.ops if any(name not in constants for name in op.inputs)]
    assert checked.total() >= len(meant) - sum(op.kind == "Dequantize" for op in meant)


@EVERY
@BOTH
def test_the_file_and_the_reference_run_freely_side_by_side(name: str, variant: str) -> None:
    """Rounding may differ by a step here and there; what comes of it stays well below the variant's own error."""
    made, given, expected = family(name), [], []
    program, delay = made.program(variant), describe(made.stream).delay
    for x in calibration(made.stream):
        given.append(_file_run(made, variant, x)[delay:])
        expected.append(Interpreter(program).run(x)[delay:])
    _near(np.concatenate(given), np.concatenate(expected), BOUNDS[variant])


def _file_run(made: Family, variant: str, x: Frames) -> Array:
    """Run a variant's file on onnxruntime, its states going round in their stored integers."""
    program, tensors = made.program(variant), made.variants[variant].file.states
    runtime, rows, state = session(made.variants[variant].model), [], {}
    outputs = [str(value.name) for value in made.stream.outputs]
    for entry, tensor in zip(program.states, tensors, strict=True):
        value, kind = entry.initial, program.types.get(entry.input)
        if kind is not None:
            value = np.clip(np.rint(value / kind.scale).astype(np.int64) + kind.zero_point, *kind.limits)
        state[tensor.input] = op_by_op.as_stored(program, entry.input, value)
    for group in x.reshape(-1, program.frames, x.shape[-1]):
        feeds = {entry.name: entry.enter(group[None])[0] for entry in program.inputs} | state
        given = runtime.run([*outputs, *(tensor.output for tensor in tensors)], feeds)
        rows.append(np.concatenate([part.reshape(-1) for part in given[: len(outputs)]]))
        state = dict(zip((tensor.input for tensor in tensors), given[len(outputs) :], strict=True))
    return np.array(rows, np.float64)


# ---- what is computed in integers


@EVERY
@BOTH
def test_products_run_in_what_the_program_says(name: str, variant: str) -> None:
    made = family(name)
    program, model = made.program(variant), made.variants[variant].model
    counted, shares = macs.count(model), program.precisions()
    assert counted.integer == shares.get("int8", 0)
    assert counted.integer + counted.floating == sum(shares.values())
    ops = {node.op_type for node in macs.optimize(model).graph.node}
    assert "MatMulNBits" not in ops
    assert bool(ops & INTEGER) == bool(shares.get("int8"))
    assert made.variants[variant].notes[0].startswith(f"{variant}: ")


@EVERY
def test_int8_computes_products_in_integers(name: str) -> None:
    """No family falls back to float32: nine in ten MACs have integer operands, half of all are int8 in most."""
    shares = family(name).program("int8").precisions()
    total = sum(shares.values())
    assert shares.get("int8", 0) + shares.get("int16", 0) >= 0.9 * total
    if name not in {"se", "gpt"}:
        assert shares.get("int8", 0) >= 0.5 * total


@EVERY
@BOTH
def test_float_ops_stand_between_integers(name: str, variant: str) -> None:
    """What has no integers reads and writes float32; every other op reads and writes integers of known types."""
    program = family(name).program(variant)
    constants = program.constants()
    for op in program.ops:
        typed = [name in program.types for name in (*op.inputs, op.output) if name not in constants]
        if op.kind in REAL:
            assert not any(typed), op
        elif op.kind in {"Linear", "Conv", "MatMul", "Add", "Sub", "Mul", "Sigmoid", "Tanh"}:
            assert all(typed) or not any(typed), op
        elif op.kind in MOVING and op.output in program.types:
            assert {program.types[n] for n in op.inputs if n in program.types} == {program.types[op.output]}, op
    for state in program.states:
        assert program.types.get(state.input) == program.types.get(state.output)


@EVERY
@BOTH
def test_nothing_is_converted_twice(name: str, variant: str) -> None:
    """A tensor comes from what it was made as, not from another of its types, which has lost something."""
    program = family(name).program(variant)
    converted = {op.output for op in program.ops if op.kind in {"Quantize", "Requantize"}}
    moved = {op.output for op in program.ops if op.kind in MOVING and op.inputs[0] in converted}
    for op in program.ops:
        assert op.kind not in {"Requantize", "Dequantize"} or op.inputs[0] not in converted - moved, op


@EVERY
@BOTH
def test_the_opset_is_the_lowest_that_has_all_of_it(name: str, variant: str) -> None:
    model = onnx.ModelProto.FromString(family(name).variants[variant].model.SerializeToString())
    model.opset_import[0].version -= 1
    with pytest.raises((onnx.checker.ValidationError, onnx.shape_inference.InferenceError)):
        onnx.checker.check_model(model, full_check=True)


def test_only_16_bits_take_the_opset_of_16_bits() -> None:
    versions = {variant: family("mean head").variants[variant].model.opset_import[0].version for variant in VARIANTS}
    assert versions == {"int8": 18, "w8a16": 21}


# ---- every stored integer counts


@EVERY
@BOTH
def test_every_stored_integer_counts(name: str, variant: str) -> None:
    """Any one set to the other end of its range changes what its op gives, for some row of what the op meets."""
    made = family(name)
    program = made.program(variant)
    x, interpreter, rng = frames(made.stream, 40), Interpreter(program), np.random.default_rng(0)
    rows: list[dict[str, Array]] = []
    for group in x.reshape(-1, program.frames, x.shape[-1]):
        interpreter.step(group[None])
        rows.append(dict(interpreter.values))
    constants = program.constants()
    for op in program.ops:
        for key, array in _integers(op, program, constants):
            for place in rng.choice(array.size, min(4, array.size), replace=False):
                _counts(op, program, rows, key, array, np.unravel_index(int(place), array.shape))


def _integers(op: Op, program: Program, constants: dict[str, Array]) -> list[tuple[str, Array]]:
    """Return what integers an op has stored: weights and biases, or a constant that it reads."""
    if op.kind in {"Linear", "Conv"} and op.inputs[0] in program.types:
        return [("weight", op.arrays["weight"]), ("bias", op.arrays["bias"])]
    if op.kind in {"MatMul", "Add", "Sub", "Mul"}:
        return [(name, constants[name]) for name in op.inputs if name in constants and name in program.types]
    return []


def _counts(  # noqa: PLR0917 - which integer, of what, on what
    op: Op, program: Program, rows: list[dict[str, Array]], key: str, array: Array, place: tuple[np.intp, ...]
) -> None:
    kept = array[place]
    limits = np.iinfo(np.int16 if key == "bias" else array.dtype)
    changed = []
    try:
        array[place] = limits.min if kept > 0 else limits.max
        run, fed = plan(op, program), {key: array.astype(np.int64)[None]} if key in op.inputs else {}
        for row in rows:
            given = run(*(fed.get(name, row[name]) for name in op.inputs))
            changed.append(not np.array_equal(given, row[op.output]))
    finally:
        array[place] = kept
    inputs = [row[op.inputs[0]] for row in rows]
    silent = op.attributes.get("relu") or (key == "weight" and _never_seen(inputs, program.types[op.inputs[0]], place))
    assert any(changed) or silent, (op.kind, op.output, key, place)


def _never_seen(inputs: list[Array], kind: Type, place: tuple[np.intp, ...]) -> bool:
    """Say whether what a weight is multiplied with was zero in all rows."""
    return all(not (np.take(x, int(place[1]), axis=-1) != kind.zero_point).any() for x in inputs) if inputs else True


@BOTH
def test_every_row_of_a_table_counts(variant: str) -> None:
    made = family("embedding")
    program = made.program(variant)
    (lookup,) = (op for op in program.ops if op.kind == "Gather" and op.output in program.types)
    table = program.constants()[lookup.inputs[0]]
    for row in range(len(table)):
        tokens = np.full((3, 1), row, np.float32)
        before, kept = Interpreter(program).run(tokens), table[row].copy()
        table[row] = np.where(kept > 0, np.iinfo(table.dtype).min, np.iinfo(table.dtype).max)
        assert not np.array_equal(Interpreter(program).run(tokens), before), row
        table[row] = kept


@pytest.mark.parametrize(
    ("shape", "axis", "places"),
    [((400,), 0, 1), ((40, 6), 0, 2), ((6, 40), 1, 1), ((6, 40), 1, 2), ((3, 40, 5), 1, 1), ((40,), 0, 0)],
    ids=str,
)
@BOTH
def test_a_table_of_any_form_is_looked_up_along_any_axis(
    shape: tuple[int, ...], axis: int, places: int, variant: str
) -> None:
    rng = np.random.default_rng(0)
    content = rng.normal(size=shape) * rng.uniform(0.1, 10, [n if a != axis else 1 for a, n in enumerate(shape)])
    content = content.astype(np.float32)
    index = rng.integers(0, shape[axis], (2, 3)[:places])
    expected = np.take(content, index, axis=axis)
    kind = Type(OPERANDS[variant], 1.0)
    stored, factor = weights.table(content, axis, expected.ndim, kind)
    assert stored.dtype == kind.dtype
    given = np.take(stored, index, axis=axis) * factor
    assert given.shape == expected.shape
    # Half a step of the column's own scale, which is 1/127 or 1/32767 of its greatest number.
    step = np.broadcast_to(factor, expected.shape)
    assert (np.abs(given - expected) <= 0.5001 * step).all()


# ---- the reference as a step model


@EVERY
@BOTH
def test_whole_is_chunks_is_single_steps(name: str, variant: str) -> None:
    made = family(name)
    graph = describe(made.stream)
    model = ReferenceStep(made.program(variant), graph, variant)
    x = frames(made.stream, 24)[: 24 * graph.frames_per_step - (graph.frames_per_step > 1)]
    whole = np.concatenate([model.run(x), model.flush()])
    state = model.get_state()
    model.reset()
    cuts = np.sort(np.random.default_rng(4).integers(0, len(x), 4))
    chunks = [model.run(part) for part in np.split(x, cuts)]
    np.testing.assert_array_equal(np.concatenate([*chunks, model.flush()]), whole)
    other = model.fork()
    rows = [other.run(frame[None]) for frame in x]
    np.testing.assert_array_equal(np.concatenate([*rows, other.flush()]), whole)
    for key, value in state.items():
        np.testing.assert_array_equal(other.get_state()[key], value)
    if graph.frames_per_step == 1:
        other.reset()
        np.testing.assert_array_equal(np.stack([other.step(frame) for frame in x[:5]]), whole[:5])


# ---- the reference's convolutions and products in plain integers


def _typed(x: Array, kind: Type, leaving: Type, op: Op) -> Program:
    entry = ProgramInput("x", x.shape, 0, slice(0, 1))
    program = Program([entry], ops=[op], types={"x": kind, "y": leaving})
    program.shapes = {"x": x.shape}
    return program


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(["int8", "int16"]), st.booleans())
def test_convolutions_are_plain_loops_in_integers(seed: int, dtype: str, relu: bool) -> None:  # noqa: FBT001
    rng = np.random.default_rng(seed)
    groups, axes = int(rng.integers(1, 4)), int(rng.integers(1, 3))
    channels, outputs = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 4))
    kernel, strides, dilations = (tuple(rng.integers(1, top, axes).tolist()) for top in (4, 3, 3))
    pads = tuple(rng.integers(0, 3, 2 * axes).tolist())
    space = tuple((k - 1) * d + 1 + int(rng.integers(0, 4)) for k, d in zip(kernel, dilations, strict=True))
    zero = int(rng.integers(-128, 128)) if dtype == "int8" else 0
    kind, leaving = Type(dtype, 0.02, zero), Type(dtype, 0.7, -5 if dtype == "int8" else 0)  # type: ignore[arg-type]
    x = rng.integers(*kind.limits, (1, channels, *space), endpoint=True)
    weight = rng.integers(-127, 128, (outputs, channels // groups, *kernel))
    bias, scale = rng.integers(-(2**20), 2**20, outputs), rng.uniform(1e-3, 1e-2, outputs)
    attributes = {"kernel": kernel, "strides": strides, "dilations": dilations, "pads": pads, "group": groups}
    op = Op("Conv", "y", ("x",), "", {**attributes, "relu": int(relu)},
            {"weight": weight.astype(np.int8), "bias": bias, "scale": scale})  # fmt: skip
    given = plan(op, _typed(x, kind, leaving, op))(x[None])[0]
    padded = np.pad(x - zero, [(0, 0), (0, 0), *zip(pads[:axes], pads[axes:], strict=True)])
    for place in np.ndindex(given.shape):
        o, at = place[1], place[2:]
        group = o // (outputs // groups)
        total = int(bias[o])
        for c in range(channels // groups):
            for tap in np.ndindex(kernel):
                where = tuple(p * s + t * d for p, s, t, d in zip(at, strides, tap, dilations, strict=True))
                total += int(padded[(0, group * (channels // groups) + c, *where)]) * int(weight[(o, c, *tap)])
        real = total * 0.02 * scale[o] / 0.7 + leaving.zero_point
        low, high = leaving.limits
        expected = min(max(real, leaving.zero_point if relu else low), high)
        assert abs(given[place] - expected) <= 0.5 + 1e-3 + 1e-6 * abs(real)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**31), st.sampled_from(["int8", "int16"]))
def test_products_of_two_values_are_exact(seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    kinds = [Type(dtype, 0.03, int(rng.integers(-128, 128)) if dtype == "int8" else 0) for _ in range(2)]  # type: ignore[arg-type]
    leaving = Type(dtype, 0.5, 3 if dtype == "int8" else 0)  # type: ignore[arg-type]
    shapes = (2, int(rng.integers(1, 5)), int(rng.integers(1, 200))), (2, 0, 3)
    a = rng.integers(*kinds[0].limits, shapes[0], endpoint=True)
    b = rng.integers(*kinds[1].limits, (2, shapes[0][2], 3), endpoint=True)
    op = Op("MatMul", "y", ("a", "b"))
    program = Program([], ops=[op], types={"a": kinds[0], "b": kinds[1], "y": leaving})
    given = plan(op, program)(a[None], b[None])[0]
    exact = (a - kinds[0].zero_point).astype(object) @ (b - kinds[1].zero_point).astype(object)
    real = exact.astype(np.float64) * (0.03 * 0.03 / 0.5) + leaving.zero_point
    np.testing.assert_array_less(np.abs(given - np.clip(real, *leaving.limits)), 0.5 + 1e-3 + 1e-6 * np.abs(real))


def test_every_kind_of_op_has_a_reference() -> None:
    """What quantization may emit, the interpreter computes: in integers, or as the float op it stays."""
    for name in FAMILIES:
        for variant in OPERANDS:
            kinds = {op.kind for op in family(name).program(variant).ops}
            assert kinds <= {*FLOAT, *PRODUCTS, "Quantize", "Requantize", "Dequantize"}
