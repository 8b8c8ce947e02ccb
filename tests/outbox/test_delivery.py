"""Events from the hot loop to a real broker, through the outbox: stopped, half-open, away for long, and restarts."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import Broker
from payload_schema import validated

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.delivery import Delivery, courier, journal
from edgeseq.errors import SinkError
from edgeseq.outbox import New, Outbox
from edgeseq.sinks import mqtt
from edgeseq.sinks.mqtt import Mqtt
from edgeseq.types import About, Event, Output, Pending

ABOUT = About("press-4", "wear", "rul", "1", ("rul",), "cycles")
EVENTS = "edgeseq/press-4/wear/+/event"


@pytest.fixture(autouse=True)
def quick_to_connect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "RECONNECT_S", (1, 1))


def event(number: int, stream: str = "7") -> Event:
    state = {"decider": {"number": number}, "last_ns": number}
    return Event("raised", f"{stream}@{number}", 0, stream, "warning", 1, 40.5, number, {}, state)


def delivery(folder: Path, broker: Broker, drain_s: float = 10, keepalive_s: int = 5) -> Delivery:
    sink = Mqtt(host="127.0.0.1", port=broker.port, drain_s=drain_s, keepalive_s=keepalive_s)
    return Delivery(partial(Outbox, folder), {"mqtt": sink}, drain_s=drain_s)


@contextmanager
def running(made: Delivery) -> Iterator[Delivery]:
    made.open(ABOUT)
    try:
        yield made
    finally:
        made.close()


def until(condition: Callable[[], bool]) -> None:
    for _ in range(1200):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("not within 60 s")


def payloads(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(line.split(" ", 3)[3]) for line in lines]


def times(lines: Sequence[str]) -> list[int]:
    return [payload["t_ns"] for payload in payloads(lines)]


def counts(made: Delivery) -> dict[str, int]:
    return {reason: count for reason, count in made.dropped.items() if count}


def test_events_are_numbered_by_stream_across_restarts_and_come_once(mosquitto: Broker, folder: Path) -> None:
    lines = mosquitto.watch(EVENTS)
    for first in (0, 3):
        with running(delivery(folder, mosquitto)) as made:
            for number in range(first, first + 3):
                made.event(event(number))
                made.event(event(number, "8"))
                made.event(event(number, "8"))
            made.event(event(first))
    assert counts(made) == {}
    seen = [validated("event", payload) for payload in payloads(lines(lambda seen: len(seen) >= 12))]
    assert [(p["t_ns"], p["stream_sequence"]) for p in seen if p["stream"] == "7"] == [(n, n + 1) for n in range(6)]
    assert [(p["t_ns"], p["stream_sequence"]) for p in seen if p["stream"] == "8"] == [(n, n + 1) for n in range(6)]
    outbox = Outbox(folder)
    assert outbox.stats()["events"] == 0
    outbox.close()


def test_what_a_stream_stood_at_is_told_to_the_next_process_until_it_ends(mosquitto: Broker, folder: Path) -> None:
    with running(delivery(folder, mosquitto)) as made:
        assert made.told() == {}
        made.event(event(1))
        made.event(Event("raised", "8/silent@2", 0, "8", "silent", 1, 1.0, 2, {}, {"silent_ns": 2}))
    with running(delivery(folder, mosquitto)) as made:
        told = made.told()
        assert told["7"].decider == {"number": 1}
        assert (told["7"].last_ns, told["7"].silent_ns) == (1, None)
        assert (told["8"].decider, told["8"].silent_ns) == (None, 2)
        made.event(event(5))
        made.end("7")
        made.event(event(1))
    with running(delivery(folder, mosquitto)) as made:
        assert made.told()["7"].decider == {"number": 1}, "a stream that ended and came again may say the same again"


def test_a_broker_that_is_stopped_gets_everything_when_it_is_back(mosquitto: Broker, folder: Path) -> None:
    with running(delivery(folder, mosquitto, drain_s=0.1)) as made:
        made.event(event(0))
        made.flush()
        until(lambda: made._outbox is not None and made._outbox.stats()["events"] == 0)
        mosquitto.stop()
        for number in range(1, 300):
            made.event(event(number))
            time.sleep(0.001)
    assert counts(made) == {}
    mosquitto.start()
    lines = mosquitto.watch(EVENTS)
    with running(delivery(folder, mosquitto)) as made:
        until(lambda: made._outbox is not None and made._outbox.stats()["events"] == 0)
        mosquitto.stop()
        made.event(event(300))
        mosquitto.start()
        again = mosquitto.watch(EVENTS)
        until(lambda: made._outbox is not None and made._outbox.stats()["events"] == 0)
    assert counts(made) == {}
    assert sorted(times(lines(lambda seen: len(seen) >= 299))) == list(range(1, 300))
    assert 300 in times(again(lambda seen: len(seen) >= 1)) or 300 in times(lines(lambda _: True))


@pytest.mark.parametrize("noticed", [False, True])
def test_a_broker_that_hangs_keeps_nobody_waiting(
    mosquitto: Broker, folder: Path, caplog: pytest.LogCaptureFixture, *, noticed: bool
) -> None:
    """Half-open: the connection stands and nothing comes of it, until keepalive says that it is none."""
    lines = mosquitto.watch(EVENTS)
    with running(delivery(folder, mosquitto, keepalive_s=1)) as made:
        made.event(event(0))
        lines(lambda seen: len(seen) == 1)
        assert mosquitto.process is not None
        mosquitto.process.send_signal(signal.SIGSTOP)
        try:
            for number in range(1, 500):
                made.event(event(number))
            made.flush()
            assert made._outbox is not None
            assert made._outbox.stats()["events"] >= 499, "durable, though nobody takes them"
            until(lambda: not noticed or "lost the MQTT broker" in caplog.text)
        finally:
            mosquitto.process.send_signal(signal.SIGCONT)
        until(lambda: made._outbox is not None and made._outbox.stats()["events"] == 0)
    assert counts(made) == {}
    assert set(times(lines(lambda seen: len({*times(seen)}) >= 500))) == set(range(500))


def test_a_new_event_does_not_wait_behind_the_backlog(mosquitto: Broker, folder: Path) -> None:
    outbox = Outbox(folder)
    backlog = [json.dumps({"event_id": str(number), "t_ns": number}).encode() for number in range(5000)]
    outbox.put_all([New(payload, "7", 1, str(number)) for number, payload in enumerate(backlog)])
    outbox.close()
    lines = mosquitto.watch(EVENTS)
    assert mosquitto.process is not None
    mosquitto.process.send_signal(signal.SIGSTOP)
    with running(delivery(folder, mosquitto)) as made:
        made.event(event(10**6))
        made.flush()
        mosquitto.process.send_signal(signal.SIGCONT)
        seen = times(lines(lambda seen: len(seen) >= 5001))
    assert sorted(seen) == [*range(5000), 10**6]
    assert [number for number in seen if number < 10**6] == list(range(5000)), "the backlog comes in order"
    assert seen.index(10**6) <= courier.BACKLOG_IN_FLIGHT, "it overtook all that was not yet under way"


class Slow:
    """A sink that takes nothing until told, then all, and never says when its receiver has it until asked to."""

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.ready = False
        self.seen: list[Pending] = []

    def open(self, about: About) -> None: ...
    def output(self, output: Output, level: str) -> None: ...
    def event(self, event: Event) -> None: ...
    def end(self, stream: str) -> None: ...
    def close(self) -> None: ...
    def room(self) -> int:
        return 100 if self.ready else 0

    def deliver(self, events: Sequence[Pending], done: Callable[[Sequence[int]], None]) -> None:
        self.seen += events
        done([number for number, _, _ in events])


def test_the_newest_of_what_waited_go_first(folder: Path) -> None:
    sink = Slow()
    with running(Delivery(partial(Outbox, folder), {"slow": sink})) as made:
        for number in range(400):
            made.event(event(number))
        made.flush()
        sink.ready = True
        until(lambda: len(sink.seen) == 400)
    order = [json.loads(payload)["t_ns"] for _, _, payload in sink.seen]
    assert sorted(order) == list(range(400))
    assert set(order[: courier.LIVE]) == set(range(400 - courier.LIVE, 400))


def test_events_faster_than_the_disk_are_counted_and_leave_a_gap_in_the_numbers(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "MAX_QUEUED", 10)
    sync, release = os.fdatasync, threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda file: (release.wait(30), sync(file)))
    sink = Slow()
    sink.ready = True
    made = Delivery(partial(Outbox, folder), {"slow": sink})
    made.open(ABOUT)
    made.event(event(0))
    until(lambda: made._journal is not None and made._journal.waiting == 0)
    for number in range(1, 31):
        made.event(event(number))
    release.set()
    made.flush()
    made.event(event(31))
    made.close()
    assert counts(made) == {"outbox.queue_full": 20}
    numbers = [json.loads(payload)["stream_sequence"] for _, _, payload in sink.seen]
    assert numbers[0] == 1
    assert numbers[-1] == 32, "what was lost has its number"
    assert len(numbers) == 12


def test_a_name_that_is_no_text_costs_its_event_alone(folder: Path) -> None:
    sink = Slow()
    sink.ready = True
    with running(Delivery(partial(Outbox, folder), {"slow": sink})) as made:
        made.event(event(1, "\ud800"))
        made.event(event(2))
    assert counts(made) == {"outbox.not_text": 1}
    assert len(sink.seen) == 1


def test_a_thread_that_ends_ends_the_pipeline(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Slow):
        def room(self) -> int:
            raise RuntimeError("a bug")

    made = Delivery(partial(Outbox, folder), {"broken": Broken()})
    made.open(ABOUT)
    made._couriers[0].join(30)
    with pytest.raises(SinkError, match="thread 'broken' that delivers events has ended"):
        made.output(Output(5, "7", np.array([2.0], np.float32)), "ok")
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "the thread 'broken' ends by a bug"
    assert "a bug" in (caplog.text.partition("RuntimeError")[2])
    made.close()


def test_what_was_not_written_is_never_called_safe(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, release = threading.Event(), threading.Event()

    def broken(*_: object) -> None:
        begun.set()
        release.wait(30)
        raise RuntimeError("a bug")

    monkeypatch.setattr(journal.Journal, "_events", broken)
    made = Delivery(partial(Outbox, folder), {"slow": Slow()}, drain_s=0)
    made.open(ABOUT)
    made.event(event(1))
    assert begun.wait(30)
    threading.Timer(0.1, release.set).start()
    with pytest.raises(SinkError, match="writes events to the outbox has ended"):
        made.flush()
    for ask in (made.flush, partial(made.event, event(2))):
        with pytest.raises(SinkError, match="thread 'journal' that delivers events has ended"):
            ask()
    made.close()


def test_a_process_that_was_killed_does_not_raise_an_alert_twice(folder: Path) -> None:
    """A decider that goes on from its last event's state clears the alert under the name it was raised by."""
    sink = Slow()
    with running(Delivery(partial(Outbox, folder), {"slow": sink}, drain_s=0)) as made:
        decider = Hysteresis(direction="above", warning=1.0)
        (raised,) = decider.update(Output(5, "7", np.array([2.0], np.float32)))
        made.event(Event(**{**fields(raised), "state": {"decider": decider.get_state(), "last_ns": 5}}))
    with running(Delivery(partial(Outbox, folder), {"slow": sink}, drain_s=0)) as made:
        other = Hysteresis(direction="above", warning=1.0)
        decided = made.told()["7"].decider
        assert decided is not None
        other.set_state(decided)
        assert other.update(Output(6, "7", np.array([2.0], np.float32))) == []
        (cleared,) = other.update(Output(7, "7", np.array([0.0], np.float32)))
    assert (cleared.alert, cleared.sequence) == (raised.alert, 1)


def fields(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}


FULL = """
import sys
from collections import Counter
from functools import partial
import numpy as np
sys.path[:0] = {paths!r}
from plain_step import PlainStep
from test_pipeline import ABOUT, Given, chunk
from test_delivery import Slow
from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.delivery import Delivery
from edgeseq.errors import SinkError
from edgeseq.outbox import Outbox
from edgeseq.pipeline import Pipeline
values = np.tile(np.array([[9, 9], [-9, -9]], np.float32), (1000, 1))
sink = Slow()
made = Delivery(partial(Outbox, {folder!r}), {{"slow": sink}}, drain_s=0)
paced = (chunk(values[i : i + 1], i) for i in range(2000) if made._journal is None or not made.flush())
pipeline = Pipeline(
    source=Given(paced), model=PlainStep(2), sinks=[made], about=ABOUT,
    decider=lambda: Hysteresis(direction="above", warning=1.0),
)
summary = pipeline.run()
events = sum(summary.events.values())
outbox = Outbox({folder!r}, ["slow"])
print(summary.outputs, events, outbox.stats()["events"], summary.dropped)
assert summary.outputs == 2000
assert events > 1000
assert summary.dropped["outbox.refused"] > 100
assert outbox.stats()["events"] > 100
assert outbox.stats()["events"] + sum(summary.dropped.values()) == events
"""


def test_a_full_disk_keeps_nothing_from_going_on_and_every_event_is_kept_or_counted(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    folder.mkdir()
    tests = Path(__file__).parents[1]
    program = FULL.format(paths=[str(tests), str(tests / "outbox"), str(tests.parent)], folder=str(folder / "outbox"))
    # A disk of its own, 200 KB, in a namespace of mounts that ends with the process.
    command = f'mount -t tmpfs -o size=200k none {folder} && exec "$0" -c "$1"'
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *rights, "--mount", "sh", "-c", command, sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr or "mount: " in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
