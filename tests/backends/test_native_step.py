"""A native step as Python calls it, and a run that computes ahead: whatever comes in, what comes out is the same."""

from __future__ import annotations

import sys
from typing import Any

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
        (x, locked, ValueError, "read-only"),
        (x, out[:-1].copy(), ValueError, "broadcast"),
        (7, None, AttributeError, "shape"),
    ]
    for given_x, given_out, error, says in wrong:
        with pytest.raises(error, match=says):
            gru.step(given_x, given_out)
    assert (out == 7).all()
    gru.reset()
    assert all(np.array_equal(value, before[name]) for name, value in gru.get_state().items())


def test_no_reference_is_lost_or_left(gru: NativeStep) -> None:
    x, out, count = np.zeros(gru.features, np.float32), np.empty(gru.outputs, np.float32), 1000
    watched = (x, out, x.dtype, None, np.ndarray)
    gru.step(x, out)
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(count):
        gru.step(x, out)
        gru.step(x)
        gru._quick(x, x)
        gru._quick(None, None)
    after = [sys.getrefcount(each) for each in watched]
    assert all(abs(a - b) < count // 2 for a, b in zip(before, after, strict=True))
    assert sys.getrefcount(gru.step(x)) == sys.getrefcount(np.empty(3))
    assert gru.step(x).flags.owndata
    assert gru.step(x, out) is out


def test_it_is_not_called_with_anything_but_two_arguments(gru: NativeStep) -> None:
    x = np.zeros(gru.features, np.float32)
    assert gru._quick(x) is None
    assert gru._quick() is None
    assert gru._quick(x, None, None) is None


def test_where_arrays_lie_otherwise_a_step_goes_the_slower_way(
    gru: NativeStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.linspace(-1, 1, gru.features, dtype=np.float32)
    gru.reset()
    expected = [gru.step(x) for _ in range(3)]
    monkeypatch.setattr(direct, "_TYPE", 0)
    direct.table.cache_clear()
    try:
        slow = gru.fork()
        assert slow._quick(x, None) is None
        np.testing.assert_array_equal([slow.step(x) for _ in range(3)], expected)
    finally:
        direct.table.cache_clear()


def test_a_layer_over_the_frames_is_computed_ahead(gru: NativeStep) -> None:
    model = gru.fork()
    x = np.zeros((STEPS, gru.features), np.float32)
    model.run(x[:-1])
    assert model._ahead is None
    model.run(x)
    assert model._ahead
