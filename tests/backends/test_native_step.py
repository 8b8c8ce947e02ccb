"""A native step as Python calls it, and a run that computes ahead: whatever comes in, what comes out is the same."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantized_families import FAMILIES, family, frames

from edgeseq import direct
from edgeseq.backends import native
from edgeseq.backends.native.ahead import STEPS
from edgeseq.backends.native.step import NativeStep
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.errors import ModelError
from edgeseq.types import Frames
from export.lowering import lower
from export.native import states
from export.variants import describe, file_of
from export.writers import native as writer

VARIANTS = ("float32", "w8a16")


@pytest.fixture(scope="module", params=FAMILIES)
def models(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[tuple[NativeStep, Frames]]:
    """A family's variants, each with frames of three times what is computed ahead, and some."""
    made, folder = family(request.param), tmp_path_factory.mktemp("step")
    found = []
    for variant in VARIANTS:
        program = lower(made.stream) if variant == "float32" else made.program(variant)
        path = folder / f"{variant}.npz"
        writer.write(path, program)
        file = file_of(program, variant, "npz", writer.weight_bytes(program), states(program))
        model = native.open_step(path, describe(made.stream), file)
        assert isinstance(model, NativeStep)
        found.append((model, frames(made.stream, 3 * STEPS + 5)))
    return found


def stepped(model: NativeStep, x: Frames, out: Frames | None = None) -> Frames:
    groups = x if model.frames_per_step == 1 else x.reshape(-1, model.frames_per_step, x.shape[1])
    return np.array([model.step(group, out).copy() for group in groups])


def test_steps_a_run_and_any_split_of_it_are_the_same(models: list[tuple[NativeStep, Frames]]) -> None:
    for model, x in models:
        check_splits(model, x)


def check_splits(model: NativeStep, x: Frames) -> None:
    model.reset()
    expected = stepped(model, x)
    left = model.get_state()

    @given(st.lists(st.integers(0, len(x)), max_size=4))
    @settings(max_examples=10, deadline=None)
    def split(cuts: list[int]) -> None:
        model.reset()
        found = np.concatenate([model.run(part) for part in np.split(x, sorted(cuts))])
        np.testing.assert_array_equal(found, expected)

    split()
    after = model.get_state()
    assert all(np.array_equal(after[name], value) for name, value in left.items())
    model.reset()
    np.testing.assert_array_equal(stepped(model, x, np.empty(model.outputs, np.float32)), expected)


def test_streams_take_frames_that_cannot_be_written(gru: NativeStep) -> None:
    program = gru._layout.program
    many = NativeStreams(program, gru._graph, gru._file, 2)
    x = np.linspace(-1, 1, 10 * 2 * gru.features, dtype=np.float32).reshape(10, 2, -1)
    expected = many.run(x)
    many.reset()
    x.flags.writeable = False
    np.testing.assert_array_equal(many.run(x), expected)


def forms(x: Frames) -> dict[str, Any]:
    """The same frames as no C function would take them."""
    wide = np.zeros((*x.shape, 2), np.float32)
    wide[..., 0] = x
    swapped = x.astype(x.dtype.newbyteorder())
    apart = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    return {
        "gaps": wide[..., 0],
        "float64": x.astype(np.float64),
        "another order of bytes": swapped,
        "not aligned": apart,
        "a class of one's own": x.view(np.recarray),
        "read only": np.frombuffer(x.tobytes(), np.float32).reshape(x.shape),
    }


def test_frames_of_any_form_give_the_same(models: list[tuple[NativeStep, Frames]]) -> None:
    for model, x in models:
        group = x[0] if model.frames_per_step == 1 else x[: model.frames_per_step]
        model.reset()
        expected = model.step(group)
        for name, form in forms(group).items():
            model.reset()
            np.testing.assert_array_equal(model.step(form), expected, name)
        for out in (np.empty(2 * model.outputs, np.float32)[::2], np.empty(model.outputs)):
            model.reset()
            assert model.step(group, out) is out
            np.testing.assert_array_equal(out, expected)


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> NativeStep:
    made, path = family("gru"), tmp_path_factory.mktemp("gru") / "step.npz"
    program = lower(made.stream)
    writer.write(path, program)
    file = file_of(program, "float32", "npz", 0, states(program))
    model = native.open_step(path, describe(made.stream), file)
    assert isinstance(model, NativeStep)
    return model


def test_what_is_no_step_is_refused_and_changes_nothing(gru: NativeStep) -> None:
    gru.reset()
    before = gru.get_state()
    x, out = np.zeros(gru.features, np.float32), np.full(gru.outputs, 7, np.float32)
    locked = out.copy()
    locked.flags.writeable = False
    wrong: list[tuple[Any, Any, type[Exception], str]] = [
        (x[:-1].copy(), None, ModelError, "frames of shape"),
        (x[None], None, ModelError, "frames of shape"),
        (np.full_like(x, np.nan), out, ModelError, "NaN or infinity"),
        (np.full_like(x, -np.inf), None, ModelError, "NaN or infinity"),
        (x, locked, ModelError, "read-only"),
        (x, out[:-1].copy(), ModelError, "out takes outputs of shape"),
        (x, out[None].copy(), ModelError, "out takes outputs of shape"),
        (x, out.astype(np.int64), ModelError, "not int64"),
        (x, [0.0] * gru.outputs, ModelError, "not list"),
        (7, None, ModelError, "frames of shape"),
        (None, None, ModelError, "not NoneType"),
        (x.astype(np.complex64), None, ModelError, "not complex64"),
        (x.astype(object), None, ModelError, "not object"),
        ([[1.0], [1.0, 2.0]], None, ModelError, "not alike"),
        (np.full(gru.features, 1e39), None, ModelError, "1e[+]39, beyond what float32 holds"),
    ]
    for given_x, given_out, error, says in wrong:
        with pytest.raises(error, match=says):
            gru.step(given_x, given_out)
    assert (out == 7).all()
    assert all(np.array_equal(value, before[name]) for name, value in gru.get_state().items())
    for wrong_rows in (None, x, x.astype(np.complex64)[None], np.full((2, gru.features), 1e39)):
        with pytest.raises(ModelError):
            gru.run(cast("Any", wrong_rows))
    assert all(np.array_equal(value, before[name]) for name, value in gru.get_state().items())


def test_a_list_of_numbers_is_a_frame(gru: NativeStep) -> None:
    gru.reset()
    expected = gru.step(np.ones(gru.features, np.float32))
    for call in (gru.step, lambda x: gru.run([x])[0]):
        gru.reset()
        np.testing.assert_array_equal(cast("Any", call)([1] * gru.features), expected)


def test_no_reference_is_lost_or_left(gru: NativeStep) -> None:
    x, out, count = np.zeros(gru.features, np.float32), np.empty(gru.outputs, np.float32), 1000
    watched = (x, out, x.dtype, None, np.ndarray)
    gru.step(x, out)
    before = [sys.getrefcount(each) for each in watched]
    kept = []
    for _ in range(count):
        gru.step(x, out)
        gru.step(x, out=out)
        kept.append(gru.step(x))
        for wrong in (x[:1], None):
            with pytest.raises((ModelError, AttributeError)):
                gru.step(wrong, out)
    kept.clear()
    after = [sys.getrefcount(each) for each in watched]
    assert all(abs(a - b) < count // 2 for a, b in zip(before, after, strict=True))
    assert gru.step(x).flags.owndata
    assert gru.step(x, out) is out


def test_arguments_come_by_place_or_by_name(gru: NativeStep) -> None:
    x, out = np.linspace(-1, 1, gru.features, dtype=np.float32), np.empty(gru.outputs, np.float32)
    name = b"out".decode()  # equal to the name that code has, and another object
    gru.reset()
    expected = gru.step(x)
    calls: list[Callable[[], Frames]] = [
        lambda: gru.step(x, None), lambda: gru.step(x, out=None), lambda: gru.step(x=x), lambda: gru.step(out=out, x=x),
        lambda: gru.step(x, out), lambda: gru.step(x, out=out), lambda: gru.step(x, **{name: out}),
        lambda: NativeStep.step(gru, x), lambda: NativeStep.step(gru, x, out=out),
    ]  # fmt: skip
    for call in calls:
        out[...] = 7
        gru.reset()
        np.testing.assert_array_equal(call(), expected)
    assert (out == expected).all()


def test_a_call_that_means_nothing_is_told_as_python_tells_it(gru: NativeStep) -> None:
    x, step = np.zeros(gru.features, np.float32), cast("Any", gru.step)
    for call, says in (
        (step, "missing 1 required positional argument: 'x'"),
        (lambda: step(x, None, None), "positional arguments"),
        (lambda: step(x, oot=x), "unexpected keyword argument 'oot'"),
        (lambda: step(x, x=x), "multiple values for argument 'x'"),
        (lambda: cast("Any", NativeStep.step)(7, x), "int"),
    ):
        with pytest.raises(TypeError, match=says):
            call()
    bare = NativeStep.__new__(NativeStep)
    with pytest.raises(AttributeError):
        bare.step(x)


def test_it_says_what_it_takes(gru: NativeStep) -> None:
    assert list(inspect.signature(gru.step).parameters) == ["x", "out"]
    assert inspect.signature(gru.step).parameters["out"].default is None
    assert "float32[outputs]" in str(gru.step.__doc__)
    assert gru.step.__name__ == "step"


def test_outputs_are_their_callers_for_as_long_as_they_are_held(gru: NativeStep) -> None:
    x = np.random.default_rng(0).normal(size=(50, gru.features)).astype(np.float32)
    gru.reset()
    expected = stepped(gru, x)
    gru.reset()
    kept = [gru.step(row) for row in x]
    np.testing.assert_array_equal(kept, expected)
    assert len({y.ctypes.data for y in kept}) == len(x)
    gru.reset()
    views = [gru.step(row)[::2] for row in x]
    np.testing.assert_array_equal(views, expected[:, ::2])
    gru.reset()
    memories = [memoryview(gru.step(row)) for row in x]
    np.testing.assert_array_equal(memories, expected)


def test_outputs_that_were_made_otherwise_are_not_given_again(gru: NativeStep) -> None:
    x = np.linspace(-1, 1, gru.features, dtype=np.float32)

    def shaped(y: Frames) -> None:
        y.shape = (2, -1)

    def typed(y: Frames) -> None:
        y.dtype = np.dtype(np.int32)

    gru.reset()
    expected = gru.step(x)
    changes: list[Callable[[Frames], None]] = [shaped, typed, lambda y: y.setflags(write=False)]
    for change in changes:
        model = gru.fork()
        for _ in range(4):
            model.reset()
            y = model.step(x)
            np.testing.assert_array_equal(y, expected)
            assert y.flags.writeable
            change(y)


def test_an_output_that_is_referred_to_weakly_goes(gru: NativeStep) -> None:
    x = np.ones(gru.features, np.float32)
    for _ in range(2 * direct.SPARES):
        y = gru.step(x)
        seen = weakref.ref(y)
        before = y.copy()
        del y
        gru.step(x)
        held = seen()  # the model still has it, and does not give it again
        assert held is None or np.array_equal(held, before)


def test_an_output_that_was_resized_is_not_given_again(gru: NativeStep) -> None:
    model, x = gru.fork(), np.ones(gru.features, np.float32)
    expected = [gru.fork().run(np.tile(x, (8, 1)))[t] for t in range(8)]
    for row in expected:
        y = model.step(x)
        np.testing.assert_array_equal(y, row)
        y.resize(3 * gru.outputs, refcheck=False)
        y[:] = 7


def test_a_subclass_may_step_otherwise(gru: NativeStep) -> None:
    class Doubled(NativeStep):
        def step(self, x: Frames, out: Frames | None = None) -> Frames:
            return 2 * super().step(x, out)

    x = np.linspace(-1, 1, gru.features, dtype=np.float32)
    model = Doubled(gru._layout.program, gru._graph, gru._file)
    gru.reset()
    np.testing.assert_array_equal(model.step(x), 2 * gru.step(x))


def test_it_is_neither_pickled_nor_copied(gru: NativeStep) -> None:
    for way in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make another, and hand over what get_state gives"):
            way(gru)


def test_many_threads_step_models_of_their_own(gru: NativeStep) -> None:
    x = np.random.default_rng(0).normal(size=(2000, gru.features)).astype(np.float32)
    gru.reset()
    expected = gru.run(x)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda model: stepped(model, x), [gru.fork() for _ in range(8)]):
            np.testing.assert_array_equal(found, expected)


def test_what_is_left_to_python_gives_the_same(gru: NativeStep) -> None:
    x = np.linspace(-1, 1, gru.features, dtype=np.float32)
    gru.reset()
    expected = [gru.step(x) for _ in range(3)]
    gru.reset()
    np.testing.assert_array_equal([getattr(gru, direct.IN_PYTHON)(x) for _ in range(3)], expected)


def test_a_layer_over_the_frames_is_computed_ahead(gru: NativeStep) -> None:
    model = gru.fork()
    x = np.zeros((STEPS, gru.features), np.float32)
    model.run(x[:-1])
    assert model._ahead is None
    model.run(x)
    assert model._ahead
