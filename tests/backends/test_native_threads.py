"""One model, several threads, and what interrupts a run: an error or all of it, never half."""

from __future__ import annotations

import _thread
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_pairs as pairs
from quantized_families import family
from test_native_step import stepped

import edgeseq.backends.native.lengths
from edgeseq.backends import native
from edgeseq.backends.native import engine
from edgeseq.backends.native.step import NativeStep
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.errors import ModelError
from edgeseq.types import Frames, State
from export.lowering import lower
from export.native import states
from export.variants import describe, file_of
from export.writers import native as writer

IN_USE = "another thread is at work with this model"


def opened(name: str, folder: Path) -> NativeStep:
    made, path = family(name), folder / "step.npz"
    program = lower(made.stream)
    writer.write(path, program)
    model = native.open_step(path, describe(made.stream), file_of(program, "float32", "npz", 0, states(program)))
    assert isinstance(model, NativeStep)
    return model


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> NativeStep:
    return opened("gru", tmp_path_factory.mktemp("gru"))


@pytest.fixture(scope="module")
def pairs_of_frames(tmp_path_factory: pytest.TempPathFactory) -> NativeStep:
    return opened("two frames a step", tmp_path_factory.mktemp("strided"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a run be interrupted every few steps."""
    monkeypatch.setattr(engine, "SLICE", 3)


@pytest.fixture
def hurried() -> Iterator[None]:
    """Have threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def noise(model: NativeStep, rows: int) -> Frames:
    return np.random.default_rng(0).normal(size=(rows, model.features)).astype(np.float32)


def same(a: State, b: State) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(value, b[name]) for name, value in a.items())


def test_a_model_at_work_is_refused_to_other_threads(gru: NativeStep) -> None:
    model, x = gru.fork(), noise(gru, 4)
    state = model.get_state()
    calls: list[Callable[[], Any]] = [
        lambda: model.step(x[0]), lambda: model.run(x), lambda: model.step(x[0].astype(np.float64)), model.reset,
        model.get_state, lambda: model.set_state(state), lambda: model.hold({}),
    ]  # fmt: skip
    for call in calls:
        model._board[engine.BUSY] = 1
        with pytest.raises(ModelError, match=IN_USE):
            call()
        assert model._board[engine.BUSY] == 1
        model._board[engine.BUSY] = 0
        assert same(model.get_state(), state)
        call()
        model.reset()


def test_so_are_many_streams(gru: NativeStep) -> None:
    many = NativeStreams(gru._layout.program, gru._graph, gru._file, 2)
    x = noise(gru, 2)
    many._board[engine.BUSY] = 1
    with pytest.raises(ModelError, match=IN_USE):
        many.step(x)
    many._board[engine.BUSY] = 0
    many.step(x)


def test_a_run_is_whole_whatever_other_threads_try(gru: NativeStep) -> None:
    model, x = gru.fork(), noise(gru, 200_000)
    expected = gru.fork().run(x)
    refused = 0
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(model.run, x)
        while not model._board[engine.BUSY] and not running.done():
            time.sleep(0)
        while not running.done() and not refused:
            try:
                model.get_state()
            except ModelError:
                refused += 1
        np.testing.assert_array_equal(running.result(), expected)
    assert refused


@pytest.mark.usefixtures("hurried")
def test_what_a_decoder_holds_may_change_while_another_thread_steps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edgeseq.backends.native.lengths, "KEPT_BYTES", 0)  # a layout goes as soon as another comes
    made = pairs.family("transformer")
    model = pairs.opened(made, "float32", "native", tmp_path)
    memories = [model.encode(made.source(length)) for length in range(3, 12)]
    token, tokens = np.array([1], np.float32), np.ones((3, 1), np.float32)
    decoder: Any = model.decoder(memories[0])
    done = threading.Event()

    def until_done(call: Callable[[], Any]) -> None:
        while not done.is_set():
            try:
                call()
            except ModelError as error:
                assert IN_USE in str(error) or "reset it" in str(error)  # noqa: PT017 - one of two

    with ThreadPoolExecutor(2) as pool:
        others = [
            pool.submit(until_done, lambda: decoder.step(token)),
            pool.submit(until_done, lambda: decoder.run(tokens)),
        ]
        held = 0
        while held < 60:
            try:
                decoder.hold(memories[held % len(memories)])
            except ModelError:
                continue
            decoder._board[engine.LONG] = 1  # let go of the interpreter in every step
            held += 1
        done.set()
        for other in others:
            other.result()
    expected = pairs.opened(made, "float32", "native", tmp_path).decoder(memories[0]).step(token)
    decoder.hold(memories[0])
    np.testing.assert_array_equal(decoder.step(token), expected)


def test_threads_may_share_an_encoder(tmp_path: Path) -> None:
    made = pairs.family("transformer")
    model = pairs.opened(made, "float32", "native", tmp_path)
    sources = [made.source(length) for length in range(3, 9)] * 20
    expected = [model.encode(source) for source in sources[:6]] * 20
    with ThreadPoolExecutor(4) as pool:
        for found, wanted in zip(pool.map(model.encode, sources), expected, strict=True):
            assert all(np.array_equal(found[name], value) for name, value in wanted.items())


def test_ctrl_c_leaves_a_long_run_as_if_it_had_not_begun(gru: NativeStep) -> None:
    model, x = gru.fork(), noise(gru, 16 * engine.SLICE)
    model.run(x[:7])
    before, run, begun = model.get_state(), model._run, threading.Event()

    def interrupt() -> None:
        begun.wait()
        _thread.interrupt_main()

    waiting = threading.Thread(target=interrupt, daemon=True)

    def interrupted(*given: Any) -> Any:
        if model._steps > engine.SLICE:  # the first slice is made: there is something to undo
            begun.set()
        code = run(*given)
        if model._steps > len(x):  # all are made: on a busy machine the other thread may have had no turn until now
            waiting.join()
        return code

    model._run = interrupted
    waiting.start()
    with pytest.raises(KeyboardInterrupt):
        model.run(x)
    waiting.join()
    model._run = run
    assert same(model.get_state(), before)
    np.testing.assert_array_equal(model.run(x[:5]), gru.fork().run(np.concatenate([x[:7], x[:5]]))[7:])


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("rows", [5, 6, 7, 20, 21])
def test_a_run_that_is_interrupted_is_done_or_not_begun(pairs_of_frames: NativeStep, rows: int) -> None:
    """What arrives during a call that lets go of the interpreter is raised right behind it."""
    x = noise(pairs_of_frames, 3 + rows + 8)
    for at in range(1, 5):
        model = pairs_of_frames.fork()
        model.run(x[:3])
        before, run, calls = model.get_state(), model._run, iter(range(1, 100))

        def interrupted(*given: Any, run: Any = run, calls: Any = calls, at: int = at) -> Any:
            code = run(*given)
            if next(calls) == at:
                raise KeyboardInterrupt
            return code

        model._run = interrupted
        try:
            model.run(x[3 : 3 + rows])
            done = True
        except KeyboardInterrupt:
            done = not same(model.get_state(), before)
        expected = stepped(pairs_of_frames.fork(), x[: 2 * ((3 + rows * done) // 2)])
        model._run = run
        after = x[3 + rows :] if done else x[3:]
        whole = np.concatenate([x[: 3 + rows * done], after])
        reference = pairs_of_frames.fork()
        np.testing.assert_array_equal(model.run(after), reference.run(whole)[len(expected) :])


@pytest.mark.usefixtures("few")
def test_a_frame_that_is_none_late_in_a_long_run_changes_nothing(gru: NativeStep) -> None:
    model, x = gru.fork(), noise(gru, 20)
    many = NativeStreams(gru._layout.program, gru._graph, gru._file, 2)
    expected = model.run(x)
    model.reset()
    np.testing.assert_array_equal(many.run(np.stack([x, x], 1))[:, 1], expected)
    before, all_before = model.get_state(), many.get_state()
    x[-1, 0] = np.nan
    with pytest.raises(ModelError, match="NaN"):
        model.run(x)
    with pytest.raises(ModelError, match="NaN"):
        many.run(np.stack([x, x], 1))
    assert same(model.get_state(), before)
    assert same(many.get_state(), all_before)
