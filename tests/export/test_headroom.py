"""w8a16 has bits to spare: frames beyond the calibrated ones do not saturate; and what needs none of them is known."""

from __future__ import annotations

from unittest import mock

import models
import numpy as np
import pytest
import torch
from lowered import stream_of
from quantized_families import FAMILIES, calibration, family
from torch import nn

from export.lowering import lower
from export.operations import float_step, initial_state, joined
from export.program import Array, Op, Program, ProgramInput, ProgramState
from export.quantize import types
from export.quantize.bounds import within_one
from export.quantize.calibrate import calibrate
from export.quantize.integers import quantize
from export.quantize.reference import Interpreter
from export.variants import describe

REAL = [name for name in FAMILIES if name not in {"gpt", "embedding"}]
"""Families that take real numbers, not tokens alone."""
BOUND = 0.02
"""Twice that of calibrated frames, as a share of the output's spread; what saturates costs more than 0.08."""


def beyond(name: str, program: Program, times: float = 2) -> Array:
    """Return each output's rms error over frames so many times as large as those of the calibration."""
    stream = family(name).stream
    lowered, delay = lower(stream), describe(stream).delay
    real = np.concatenate([np.full(entry.features, entry.dtype != "int64") for entry in stream.frames])
    given, expected = [], []
    for frames in calibration(stream):
        x = np.where(real, times * frames, frames)
        state, rows = initial_state(lowered, 1), []
        for group in x.reshape(-1, lowered.frames, x.shape[-1]):
            values, state = float_step(lowered, group[None], state)
            rows.append(joined(values, lowered, 1)[0])
        expected.append(np.array(rows, np.float64)[delay:])
        given.append(Interpreter(program).run(x)[delay:])
    wanted = np.concatenate(expected)
    return np.sqrt(np.mean(np.square(np.concatenate(given) - wanted), axis=0)) / wanted.std(axis=0)


@pytest.mark.parametrize("name", REAL)
def test_frames_twice_as_large_as_the_calibrated_ones_do_not_saturate(name: str) -> None:
    assert (beyond(name, family(name).program("w8a16")) <= BOUND).all()


@pytest.mark.parametrize("name", ["rnn", "gru", "lstm", "tcn", "attention"])
def test_without_headroom_they_do(name: str) -> None:
    stream = family(name).stream
    lowered = lower(stream)
    none = {"int16": types.Headroom(1.0, 1.0, 1.0)}
    with mock.patch("export.quantize.integers.HEADROOM", none):
        program = quantize(lowered, calibrate(lowered, calibration(stream)), "w8a16")
    assert (beyond(name, program) > BOUND).any()


# ---- what cannot leave +-1


@pytest.mark.parametrize("name", FAMILIES)
def test_what_cannot_leave_1_does_not_whatever_comes(name: str) -> None:
    stream = family(name).stream
    lowered = lower(stream)
    found = within_one(lowered)
    state, rng = initial_state(lowered, 1), np.random.default_rng(0)
    tokens = np.concatenate([np.full(entry.features, entry.dtype == "int64") for entry in stream.frames])
    for frames in calibration(stream):
        for group in frames.reshape(-1, lowered.frames, frames.shape[-1])[:40]:
            x = np.where(tokens, group, rng.normal(scale=100, size=group.shape)).astype(np.float32)
            values, state = float_step(lowered, x[None], state)
            for tensor in found & values.keys():
                if values[tensor].dtype == np.float32:
                    assert np.abs(values[tensor]).max(initial=0) <= 1 + 1e-6, tensor


def test_states_of_gates_are_within_1_and_cells_are_not() -> None:
    known = {
        "rnn": {"rnn0.h", "rnn1.h", "rnn2.h"},
        "gru": {"gru0.h"},
        "lstm": {"lstm0.h", "lstm1.h"},
        "fused": {"gru0.h"},
    }
    for name, expected in known.items():
        lowered = lower(family(name).stream)
        found = within_one(lowered)
        recurrent = {s.name for s in lowered.states if s.input in found and not s.name.startswith(("delay", "conv"))}
        assert recurrent == expected, name


ONE = Op("Constant", "one", arrays={"value": np.ones(3, np.float32)})
GATES = [Op("Sigmoid", "z", ("x",)), Op("Sigmoid", "u", ("x",)), Op("Tanh", "n", ("x",)), Op("Tanh", "m", ("x",)), ONE]


def mixed(*ops: Op, start: float = 0.0, held: str | None = None) -> bool:
    """Say whether a state h that leaves as `out` is known to stay within +-1."""
    state = ProgramState("h", "h", "out", np.full(3, start, np.float32), held)
    program = Program([ProgramInput("x", (3,), 0, slice(0, 3))], states=[state], ops=[*GATES, *ops])
    return "h" in within_one(program)


@pytest.mark.parametrize("turned", [False, True])
def test_mixtures_are_within_1(turned: bool) -> None:  # noqa: FBT001
    def either(a: str, b: str) -> tuple[str, str]:
        return (b, a) if turned else (a, b)

    def towards(h: str, n: str, z: str, start: float = 0.0, other: str = "n") -> bool:
        return mixed(
            Op("Sub", "d", (h, n)), Op("Mul", "k", either(z, "d")), Op("Add", "out", either(other, "k")), start=start
        )

    def parted(rest: str, n: str, z: str) -> bool:
        return mixed(
            Op("Sub", "r", ("one", rest)), Op("Mul", "a", either("r", n)), Op("Mul", "b", either(z, "h")),
            Op("Add", "out", either("a", "b")),
        )  # fmt: skip

    assert towards("h", "n", "z")
    assert parted("z", "n", "z")
    assert mixed(Op("Slice", "part", ("n",)), Op("Reshape", "out", ("part",)))
    # Other shares of the two, another value than the one subtracted, one beyond 1, one that may be negative, and sums.
    assert not parted("u", "n", "z")
    assert not towards("h", "n", "z", other="m")
    assert not towards("h", "x", "z", other="x")
    assert not towards("h", "n", "m")
    assert not towards("h", "n", "z", start=1.5)
    assert not mixed(Op("Add", "out", either("h", "n")))
    # What a decoder begins with is its encoder's, and any.
    assert mixed(Op("Mul", "out", either("h", "z")))
    assert not mixed(Op("Mul", "out", either("h", "z")), held="memory")
    assert not mixed(Op("Pad", "out", ("h",), attributes={"value": 3.0}))


def test_a_state_that_may_leave_1_has_room_to() -> None:
    """An LSTM's cell that calibration saw within +-1 goes beyond where frames do."""
    made = family("two frames a step")
    kind = made.program("w8a16").types["lstm0.c.in"]
    assert kind.scale > types.UNIT.scale
    assert made.program("w8a16").types["lstm0.h.in"] == types.UNIT


@pytest.mark.parametrize("variant", ["int8", "w8a16"])
def test_a_tanh_that_leaves_as_a_state_which_began_beyond_1_is_what_it_is(variant: str) -> None:
    """The curves' tables give 2^-15 alone; the state that they become holds what it began with, in coarser steps."""

    class Begun(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.memory, self.start = (
                nn.RNN(models.FEATURES, 6, batch_first=True),
                nn.Parameter(torch.full((1, 1, 6), 3.0)),
            )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.memory(x, self.start)[0]

    lowered, frames = lower(stream_of((Begun().eval(), models.example()))), models.walks(3, 150)
    program = quantize(lowered, calibrate(lowered, frames), variant)
    state, rows = initial_state(lowered, 1), []
    for frame in frames[0]:
        values, state = float_step(lowered, frame[None, None], state)
        rows.append(joined(values, lowered, 1)[0])
    assert np.abs(Interpreter(program).run(frames[0]) - np.array(rows)).max() < 0.1
