"""A stream that brings more frames than its model takes from a reset."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from plain_pipeline import ABOUT, Given, Seen, chunk, run, samples
from plain_step import PlainStep

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.errors import ModelError, SpentError
from edgeseq.pipeline import Pipeline
from edgeseq.pipeline.memory import Memory
from edgeseq.pipeline.snapshot import Snapshot
from edgeseq.types import Frames

MOST = 11


class Ending(PlainStep):
    """Takes MOST frames from a reset, as an exported model does."""

    def reset(self) -> None:
        super().reset()
        self.taken = 0

    def run(self, x: Frames) -> Frames:
        self.taken += len(x)
        if self.taken - self.taken % self.frames_per_step > MOST:
            raise ModelError("the model is made for 11 frames from a reset; reset it.")
        return super().run(x)

    def get_state(self) -> Any:
        return {**super().get_state(), "taken": np.array(self.taken)}

    def set_state(self, state: Any) -> None:
        super().set_state(state)
        self.taken = int(state["taken"])


@pytest.mark.parametrize(("per_step", "delay"), [(1, 0), (1, 2), (2, 0), (2, 1), (3, 1)])
def test_its_model_begins_anew_as_behind_a_gap_however_its_samples_come(
    per_step: int, delay: int, caplog: pytest.LogCaptureFixture
) -> None:
    def model() -> Ending:
        return Ending(2, frames_per_step=per_step, delay=delay, warm_up=2)

    values, room = samples(40), MOST - MOST % per_step
    seen, summary = run([chunk(values)], model(), gap_states=None, max_frames=MOST)
    expected = []
    for first in range(0, 40, room):
        part, alone = values[first : first + room], model()
        expected.append(np.concatenate([alone.run(part), alone.flush()])[delay:])
    np.testing.assert_array_equal(seen.values(), np.concatenate(expected))
    assert summary.dropped == {"model.max_steps": -(-40 // room) - 1}
    warming = [output.warming for output, _ in seen.outputs]
    assert warming == [place + delay < 2 for part in expected for place in range(len(part))]
    (told,) = (record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert told.startswith(f"stream '': its model began anew behind the {room} frames that it is made for")
    for size in (1, 3, 7):
        chunks = [chunk(values[at : at + size], at) for at in range(0, 40, size)]
        other, _ = run(chunks, model(), gap_states=None, max_frames=MOST)
        assert other.times() == seen.times()
        np.testing.assert_array_equal(other.values(), seen.values())


def test_a_gap_that_resets_makes_room() -> None:
    values = samples(20)
    chunks = [chunk(values[:10]), chunk(values[10:], 10, gap=True)]
    assert run(chunks, Ending(2), gap_states=None, max_frames=MOST)[1].dropped == {}


def test_the_decider_counts_its_rows_anew() -> None:
    def decider() -> Hysteresis:
        return Hysteresis(direction="above", warning=1.0, min_steps=8)

    high = chunk(np.ones((13, 2), np.float32))
    assert len(run([high], PlainStep(2), gap_states=None, decider=decider)[0].events) == 1
    assert not run([high], PlainStep(2), gap_states=None, decider=decider, max_frames=6)[0].events


@pytest.mark.parametrize("gap_states", [(), ("h",)])
def test_where_a_gap_does_not_reset_all_it_is_an_error_that_says_what_to_do(gap_states: Any) -> None:
    chunks = [chunk(samples(MOST, seed), MOST * seed, stream="pump") for seed in range(2)]
    assert len(run(chunks[:1], Ending(2), gap_states=gap_states, max_frames=MOST)[0].outputs) == MOST
    says = r"stream 'pump': the model is made for 11 frames from a reset.*--max-steps.*gap_limit_s in about\.toml"
    with pytest.raises(SpentError, match=says):
        run(chunks, Ending(2), gap_states=gap_states, max_frames=MOST)


class Kept:
    """A keeper without a disk, that keeps at every turn."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.dropped: dict[str, int] = {}

    def last(self) -> Snapshot | None:
        return self.snapshot

    def due(self) -> bool:
        return True

    def keep(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
        before()
        self.snapshot = snapshot

    def done(self) -> None:
        self.snapshot = None

    def close(self) -> None: ...


def service(kept: Kept, frames: int) -> Pipeline:
    """Return a service that measures so many frames, one by one: what has a gap before it is not read together."""
    chunks = [chunk(samples(1, at), at, gap=True) for at in range(frames)]
    made = Pipeline(source=Given(chunks), model=Ending(2), sinks=[Seen()], about=ABOUT, gap_states=(), max_frames=MOST)
    made.memory.keeper = kept
    return made


def test_a_service_that_failed_there_does_not_come_back_to_the_same_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    with pytest.raises(SpentError):
        service(kept, MOST + 1).run()
    assert kept.snapshot is None
    assert service(kept, MOST).run().outputs == MOST

    # As long as the checkpoint stayed, each start ended at its first frame.
    with monkeypatch.context() as patch:
        patch.setattr(Memory, "forget", lambda _: None)
        for frames in (MOST + 1, 1, 1):
            with pytest.raises(SpentError):
                service(kept, frames).run()
