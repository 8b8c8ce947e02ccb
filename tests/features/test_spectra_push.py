"""How samples are pushed into spectra: by the quick way and by the other, whatever form they come in."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sounds import FRAMING, RATE_HZ, opened, sweep

from edgeseq import direct
from edgeseq.errors import StateError
from edgeseq.features import _spectra
from edgeseq.features.log_mel import LogMel
from edgeseq.types import Channel, StreamSpec

SPEC = StreamSpec((Channel("a"), Channel("b")), float(RATE_HZ))
N = 1000
Push = Callable[..., tuple[NDArray[np.int64], NDArray[np.float32]]]


def feature(**keyword: Any) -> LogMel:
    made = LogMel(**FRAMING, dialect="kaldi", bands=40, **keyword)
    opened(made, SPEC)
    return made


def samples() -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    x = sweep()[: 2 * N].reshape(N, 2)
    return np.arange(N, dtype=np.int64) * 62_500, x


@pytest.fixture(params=["quick", "slow"])
def push(request: pytest.FixtureRequest) -> Push:
    """Both ways: the compiled one, and the one in Python for what that leaves."""
    return LogMel.push if request.param == "quick" else getattr(LogMel, direct.IN_PYTHON, LogMel.push)


def test_both_ways_give_the_same(push: Push) -> None:
    t_ns, x = samples()
    times, frames = push(feature(), t_ns, x)
    assert (times.dtype, frames.dtype, frames.shape) == (np.int64, np.float32, (4, 80))
    np.testing.assert_array_equal(times, t_ns[399::160])
    alone = [push(feature(channels=[name]), t_ns, x)[1] for name in ("a", "b")]
    np.testing.assert_array_equal(frames, np.concatenate(alone, axis=1))


def test_any_form_gives_the_same(push: Push) -> None:
    t_ns, x = samples()
    expected = feature().push(t_ns, x)
    locked = x.copy()
    locked.flags.writeable = False
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    forms: dict[str, Any] = {
        "columns": np.asfortranarray(x), "gaps": np.repeat(x, 2, axis=0)[::2], "read only": locked,
        "float64": x.astype(np.float64), "another order of bytes": x.astype(">f4"), "unaligned": unaligned,
        "backwards": x[::-1].copy()[::-1], "a class of one's own": x.view(np.recarray),
    }  # fmt: skip
    for name, form in forms.items():
        for times in (t_ns, np.repeat(t_ns, 2)[::2]):
            found = push(feature(), times, form)
            np.testing.assert_array_equal(found[0], expected[0], name)
            np.testing.assert_array_equal(found[1], expected[1], name)


def test_what_does_not_belong_together_is_not_pushed() -> None:
    t_ns, x = samples()
    made: Any = feature()
    before = made.get_state()
    for arguments in (
        (t_ns,),
        (),
        (t_ns, x, x),
        (t_ns[:-1].copy(), x),
        (t_ns, x[:, :1].copy()),
        (None, None),
        (x, x[:9]),
    ):
        with pytest.raises((TypeError, ValueError)):
            made.push(*arguments)
    with pytest.raises(TypeError):
        made.push(t_ns, x=x)
    assert all(np.array_equal(value, before[name]) for name, value in made.get_state().items())
    np.testing.assert_array_equal(made.push(t_ns=t_ns, values=x)[1], feature().push(t_ns, x)[1])


def test_no_reference_is_lost_or_left() -> None:
    t_ns, x = samples()
    made, count = feature(), 1000
    wrong: Any = (None, x)
    watched = (t_ns, x, x.dtype, t_ns.dtype, None, np.ndarray)
    made.push(t_ns, x)
    before = [sys.getrefcount(each) for each in watched]
    for _ in range(count):
        made.push(t_ns, x)
        with pytest.raises(TypeError):
            made.push(*wrong)
    after = [sys.getrefcount(each) for each in watched]
    assert all(abs(a - b) < count // 2 for a, b in zip(before, after, strict=True))
    pair = made.push(t_ns, x)
    assert sys.getrefcount(pair) == 2
    for each in pair:
        assert sys.getrefcount(each) == 3
        assert each.flags.owndata
        assert each.flags.writeable


def test_others_run_while_much_is_computed() -> None:
    t_ns = np.arange(20 * RATE_HZ, dtype=np.int64)
    x = np.random.default_rng(0).normal(size=(len(t_ns), 2)).astype(np.float32)
    made, seen, done = feature(), [0], threading.Event()

    def push() -> None:
        for _ in range(300):
            made.push(t_ns, x)
            if seen[0] > 3:
                break
        done.set()

    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e6)  # nobody is made to hand the interpreter over
    try:
        worker = threading.Thread(target=push)
        worker.start()
        while not done.wait(1e-5):
            seen[0] += 1
        worker.join()
    finally:
        sys.setswitchinterval(kept)
    assert seen[0] > 3


def test_a_push_that_does_not_fit_is_refused() -> None:
    t_ns, x = samples()
    for values in (x[:-1], x[:, :1], x[:, 0]):
        with pytest.raises(ValueError, match=r"1000 times and samples of shape \(.*2 or more channels"):
            feature().push(t_ns, values)


def test_a_feature_at_work_is_refused_to_other_threads(push: Push) -> None:
    made, (t_ns, x) = feature(), samples()
    state = made.get_state()
    made._board[_spectra.BUSY] = 1
    for call in (lambda: push(made, t_ns, x), made.reset, lambda: made.set_state(state)):
        with pytest.raises(RuntimeError, match="another thread is at work with this feature"):
            call()
    made._board[_spectra.BUSY] = 0
    np.testing.assert_array_equal(push(made, t_ns, x)[1], push(feature(), t_ns, x)[1])


def test_threads_that_share_a_feature_get_an_error_or_whole_pushes(push: Push) -> None:
    made, x = feature(), np.tile(samples()[1], (20, 1))
    t_ns = np.arange(len(x), dtype=np.int64)
    sizes: list[int] = []

    def work(_: int) -> None:
        for _ in range(20):
            try:
                sizes.append(len(push(made, t_ns, x)[0]))
            except RuntimeError:
                sizes.append(0)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    pushes = sum(size > 0 for size in sizes)
    assert len(sizes) == 80
    # Windows of 400 samples, each 160 behind the last: as many as one stream of all the pushes has.
    assert sum(sizes) == (pushes * len(x) - 400) // 160 + 1


@pytest.mark.parametrize("waiting", [-1, 0, 401, 2**40])
def test_a_state_that_waits_for_what_no_window_takes_is_refused(waiting: int) -> None:
    made = feature()
    with pytest.raises(StateError, match="is no state: it takes 1 to 400"):
        made.set_state(made.get_state() | {"waiting": np.array(waiting)})
