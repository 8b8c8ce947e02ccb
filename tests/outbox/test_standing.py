"""What a stream stood at with its last event holds after a crash, whatever an older checkpoint says."""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plain_step import PlainStep
from test_delivery import Slow
from test_pipeline import ABOUT, Given, chunk

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.delivery import Delivery
from edgeseq.outbox import Outbox
from edgeseq.pipeline import Pipeline
from edgeseq.pipeline.snapshot import Keeper, Snapshot
from edgeseq.types import Chunk

# The plain model sums up what comes: this leaves it where it was, brings it above the threshold, and far below.
OK, HIGH, LOW = (np.full((2, 2), value, np.float32) for value in (0, 50, -500))


class Kept:
    """A keeper that has one snapshot, and keeps the first that it is given."""

    def __init__(self, snapshot: Snapshot | None = None) -> None:
        self.snapshot = snapshot
        self.dropped: dict[str, int] = {}

    def last(self) -> Snapshot | None:
        return self.snapshot

    def due(self) -> bool:
        return self.snapshot is None

    def keep(self, snapshot: Snapshot, before: Any) -> None:
        before()
        self.snapshot = self.snapshot or snapshot

    def done(self) -> None: ...
    def close(self) -> None: ...


def run(
    folder: Path, chunks: Sequence[Chunk], keeper: Keeper, *, told: bool = True, silent_after_s: float | None = None
) -> list[dict[str, Any]]:
    """Run a live source's chunks of two, and crash: the folder is left as it was then. Return what was sent."""
    sink = Slow()
    sink.ready = True
    made = Delivery(partial(Outbox, folder), {"slow": sink})
    crashed = folder.with_name(f"{folder.name}-crashed")

    def source() -> Iterator[Chunk]:
        for count, each in enumerate(chunks, start=1):
            yield each
            # What is read ahead would be taken together.
            while pipeline.summary().samples < 2 * count:
                time.sleep(0.001)
        made.flush()
        shutil.copytree(folder, crashed)
        pipeline.stop()

    pipeline = Pipeline(
        source=Given(source()),
        model=PlainStep(2),
        sinks=[made],
        about=ABOUT,
        decider=lambda: Hysteresis(direction="above", warning=1.0),
        silent_after_s=silent_after_s,
    )
    pipeline.memory.keeper = keeper
    if told:
        pipeline.memory.told = made.told
    pipeline.run()
    shutil.rmtree(folder)
    crashed.rename(folder)
    return [json.loads(payload) for _, _, payload in sink.seen]


@pytest.mark.parametrize("checkpoint", [False, True], ids=["without a checkpoint", "with an older one"])
@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_an_alert_that_stands_is_not_raised_again_and_is_cleared_by_its_name(
    folder: Path, *, checkpoint: bool, told: bool
) -> None:
    outbox, keeper = folder / "outbox", Kept()
    first = run(outbox, [chunk(OK, 0), chunk(HIGH, 2)], keeper)
    assert [event["kind"] for event in first] == ["raised"]
    kept = keeper.snapshot
    assert kept is not None
    assert kept.lanes[""].counts["last_ns"] == 1, "the snapshot is older than the event"
    second = run(outbox, [chunk(HIGH, 10), chunk(LOW, 12)], Kept(kept if checkpoint else Snapshot()), told=told)
    new = [event for event in second if event["event_id"] != first[0]["event_id"]]
    if told:
        assert [(event["kind"], event["alert"]) for event in new] == [("cleared", first[0]["alert"])]
        assert new[0]["stream_sequence"] == 2
    else:
        assert [event["kind"] for event in new] == ["raised", "cleared"], "what it is for"


@pytest.mark.parametrize(("last_ns", "kinds"), [(1, ["cleared"]), (5, [])])
def test_what_was_told_overrides_an_older_checkpoint_and_no_newer_one(
    folder: Path, last_ns: int, kinds: list[str]
) -> None:
    outbox, keeper = folder / "outbox", Kept()
    run(outbox, [chunk(OK, 0), chunk(HIGH, 2), chunk(HIGH, 4)], Kept(Snapshot()))
    run(outbox, [chunk(HIGH, 2), chunk(HIGH, 4)], keeper)
    kept = keeper.snapshot
    assert kept is not None
    assert kept.lanes[""].counts["last_ns"] == 3
    # The snapshot, of time 3, says that an alert stands; what was told, of another time, that none does.
    log = Outbox(outbox, ["slow"])
    decider = Hysteresis(direction="above", warning=1.0).get_state()
    log.end({"": json.dumps({"number": 1, "decider": decider, "last_ns": last_ns}).encode()})
    log.close()
    # An event of before may come once more: the crash was quicker than its acknowledgement.
    events = run(outbox, [chunk(LOW, 10)], Kept(kept))
    assert [event["kind"] for event in events if event["t_ns"] >= 10] == kinds


def test_a_silence_that_stands_is_cleared_by_its_name(folder: Path) -> None:
    outbox = folder / "outbox"
    log = Outbox(outbox, ["slow"])
    state = json.dumps({"number": 1, "silent_ns": 5}).encode()
    log.put(b'{"event_id": "stream/silent@5-0"}', key="", event_id="stream/silent@5-0", state=state)
    log.close()
    events = run(outbox, [chunk(OK, 2 * 10**9)], Kept(Snapshot()), silent_after_s=1.0)
    (cleared,) = [event for event in events if event.get("kind") == "cleared"]
    assert (cleared["alert"], cleared["sequence"]) == ("stream/silent@5", 1)
    assert cleared["stream_sequence"] == 2
