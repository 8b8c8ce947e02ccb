"""States that are windows of past rows: wherever they stand in their memory, a step sees the same rows."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_windows import Past, Plain, pasts, program

from edgeseq.backends.native.plan import Plan, Sliding, address
from edgeseq.backends.native.program import Program
from edgeseq.backends.native.rings import windows
from edgeseq.backends.native.step import NativeStep
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.errors import ModelError
from edgeseq.types import Frames, State

SOME = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
DRAWN = st.lists(pasts(), min_size=1, max_size=3)


def frames(rng: np.random.Generator, *shape: int) -> Frames:
    """Return frames of whole numbers, which every type holds."""
    return rng.integers(-99, 100, shape).astype(np.float32)


def holds(found: State, plain: Plain, stream: int | None = None) -> None:
    """Hold a state's rows against the plain ones: in the order in which they came, wherever they stand."""
    for name, value in plain.state.items():
        here = found[name] if stream is None else found[name][stream]
        assert here.flags.c_contiguous
        np.testing.assert_array_equal(here, value, name)


@given(
    DRAWN, SEEDS, st.lists(st.sampled_from(("step", "run", "long run", "keep", "back", "reset", "fork")), max_size=30)
)
@SOME
def test_one_stream_is_plain_at_every_step(drawn: list[Past], seed: int, actions: list[str]) -> None:
    rng, plain = np.random.default_rng(seed), Plain(drawn)
    made = program(drawn)
    model = NativeStep(*made)
    assert len(windows(made[0].description)) == len(drawn)
    kept = model.get_state()
    kept_plain = dict(plain.state)
    for action in actions:
        if action == "fork":
            model.fork().run(frames(rng, 5, model.features))
        elif action == "keep":
            kept, kept_plain = model.get_state(), dict(plain.state)
        elif action == "back":
            model.set_state(kept)
            plain.state = dict(kept_plain)
        elif action == "reset":
            model.reset()
            plain.reset()
        else:
            x = frames(rng, {"step": 1, "run": int(rng.integers(7)), "long run": 45}[action], model.features)
            y = model.step(x[0])[None] if action == "step" else model.run(x)
            np.testing.assert_array_equal(y, np.array([plain.step(row) for row in x]).reshape(y.shape))
        holds(model.get_state(), plain)


@given(
    DRAWN, SEEDS, st.integers(1, 7), st.lists(st.sampled_from(("step", "step", "run", "back", "reset")), max_size=20)
)
@SOME
def test_streams_that_do_not_step_stand_still(drawn: list[Past], seed: int, count: int, actions: list[str]) -> None:
    rng, plain = np.random.default_rng(seed), [Plain(drawn) for _ in range(count)]
    model = NativeStreams(*program(drawn), count)
    for action in actions:
        mask = rng.random(count) < 0.6
        if action == "back":
            other = model.fork()
            other.set_state(model.get_state())
            model = other
        elif action == "reset":
            model.reset(mask)
            for stream in np.flatnonzero(mask):
                plain[stream].reset()
        else:
            x = frames(rng, 1 if action == "step" else 11, count, model.features)
            y = model.step(x[0], mask=mask)[None] if action == "step" else model.run(x)
            for stream in range(count):
                steps = not (action == "step" and not mask[stream])
                expected = [
                    plain[stream].step(row) if steps else np.full(model.outputs, np.nan) for row in x[:, stream]
                ]
                np.testing.assert_array_equal(y[:, stream], np.array(expected))
        for stream in range(count):
            holds(model.get_state(), plain[stream], stream)


def test_a_window_goes_back_to_the_start_of_its_memory_and_no_further() -> None:
    past = Past((2, 1), 1, 5, beside=True)
    made = program([past])
    model = NativeStep(*made)
    (state,) = [state for state in model._layout.states.values() if state.over is not state.array]
    places, row = [], state.array.strides[2]
    for _ in range(20):
        places.append((int(state.place[0]) - state.array.ctypes.data) // row)
        model.step(np.zeros(2, np.float32))
    assert places[:8] == [0, 1, 2, 3, 4, 5, 0, 1]
    assert max(places) + past.remembered + 1 == state.over.shape[2]


def changed(made: Program, kind: str, **attributes: Any) -> Program:
    """Return a program with other attributes of its first operation of a kind."""
    ops = list(made.description.ops)
    place = next(place for place, op in enumerate(ops) if op.kind == kind)
    ops[place] = msgspec.structs.replace(ops[place], attributes={**ops[place].attributes, **attributes})
    return Program(made.path, msgspec.structs.replace(made.description, ops=ops), made.arrays)


@pytest.mark.parametrize(
    "attributes",
    [{"starts": [0]}, {"starts": [-3]}, {"ends": [3]}, {"steps": [2]}, {"starts": []}, {"starts": "none"}],
)
def test_what_leaves_otherwise_is_no_window(attributes: dict[str, Any]) -> None:
    made = program([Past((1,), 0, 3)])[0]
    assert len(windows(made.description)) == 1
    assert not windows(changed(made, "Slice", **attributes).description)


@pytest.mark.parametrize("axis", [1, -1, "0", None, 0.5])
def test_nor_is_what_is_joined_along_no_axis(axis: Any) -> None:
    made = program([Past((1,), 0, 3)])[0]
    assert not windows(changed(made, "Concat", axis=axis).description)


@pytest.mark.parametrize("new", [[], ["rows0", "rows0"], ["old0"]])
def test_other_new_rows_than_the_file_says_are_refused(new: list[str]) -> None:
    made = program([Past((1, 2), 0, 3)])
    ops = [
        msgspec.structs.replace(op, inputs=["old0", *new]) if op.kind == "Concat" else op
        for op in made[0].description.ops
    ]
    told = Program(made[0].path, msgspec.structs.replace(made[0].description, ops=ops), {})
    assert len(windows(told.description)) == 1
    with pytest.raises(ModelError, match=r"step\.npz: operation 'whole0' \(Concat\): .* as 1 new rows"):
        NativeStep(told, *made[1:])


def test_nor_is_what_two_states_enter_as() -> None:
    told = program([Past((1,), 0, 3)])[0].description
    twice = msgspec.structs.replace(told, states=[told.states[0], told.states[0]])
    assert not windows(twice)


def test_an_address_beside_one_that_slides_does_so_too() -> None:
    array, memory = Plan().sliding((3, 5), np.int16)
    there = address(array[1:, ::2].T) + 4
    assert isinstance(there, Sliding)
    assert there.memory is memory
    assert there == array.ctypes.data + 14
    assert not isinstance(address(np.array(array)), Sliding)
