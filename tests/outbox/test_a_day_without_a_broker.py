"""A broker that is away for a day in which ten events a second come: 864,000 of them, and the process does not grow."""

import json
import os
import resource
import subprocess
import time
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from broker import Broker

from edgeseq.delivery import Delivery
from edgeseq.outbox import Outbox
from edgeseq.sinks import mqtt
from edgeseq.sinks.mqtt import Mqtt
from edgeseq.types import About, Event

EVENTS = int(os.environ.get("EDGESEQ_DAY", "864000"))
MAX_BYTES = 1 << 30
ABOUT = About("press-4", "wear", "rul", "1", ("rul",), "cycles")


def event(number: int) -> Event:
    t_ns = 1_767_225_600_000_000_000 + number * 100_000_000
    state = {"decider": {"level": 1, "alert": f"7@{t_ns}", "beyond": [0, 3, 0], "back": [0, 0, 0]}, "last_ns": t_ns}
    evidence: dict[str, float | str] = {"direction": "below", "threshold": 40.0, "before": "ok", "worst": 39.1}
    return Event("raised", f"7@{t_ns}", 0, "7", "warning", 1, 39.1, t_ns, evidence, state)


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def day(folder: Path, port: int, pipe: Connection) -> None:
    """Put a day's events with no broker there, tell what that took, and when told to, one more; deliver them all."""
    # What this takes is not to be seen beside what other tests left behind: hence a process of its own.
    mqtt.RECONNECT_S = (1, 1)
    sink = Mqtt(host="127.0.0.1", port=port, protocol="3.1.1", drain_s=60)
    made = Delivery(partial(Outbox, folder, max_bytes=MAX_BYTES), {"mqtt": sink})
    made.open(ABOUT)
    assert made._outbox is not None
    sizes = []
    for number in range(EVENTS):
        made.event(event(number))
        if number % 500 == 0:
            made.flush()
        if number % (EVENTS // 20) == 0:
            sizes.append(resident_mb())
    made.flush()
    sizes.append(resident_mb())
    pipe.send((sizes, made._outbox.stats()))
    pipe.recv()
    made.event(event(EVENTS))
    until(lambda: made._outbox is not None and made._outbox.stats()["events"] == 0)
    made.close()
    pipe.send({reason: count for reason, count in made.dropped.items() if count})


@pytest.mark.long
def test_a_day_without_a_broker(mosquitto: Broker, folder: Path) -> None:
    mosquitto.settings += "max_queued_messages 0\nmax_queued_bytes 0\n"
    mosquitto.stop()
    processes = get_context("spawn")
    pipe, end = processes.Pipe()
    process = processes.Process(target=day, args=(folder, mosquitto.port, end))
    process.start()
    end.close()
    sizes, stats = pipe.recv()
    assert stats["pending"] == {"mqtt": EVENTS}
    assert stats["bytes"] == sum(path.stat().st_size for path in folder.iterdir()) <= MAX_BYTES
    # What stays in memory of an event is where it stands: 10 bytes, and what the allocator makes of them.
    grown = sizes[-1] - sizes[1]
    assert grown * 1e6 < 16 * EVENTS + 2e6, sizes
    mosquitto.start()
    seen = folder.parent / f"{folder.name}.seen"
    with seen.open("wb") as out:
        witness = subprocess.Popen(
            ["mosquitto_sub", "-p", str(mosquitto.port), "-q", "1", "-t", "edgeseq/+/+/+/event"], stdout=out
        )
        try:
            until(lambda: seen.stat().st_size > 0)
            pipe.send("one more")
            until(lambda: seen.read_bytes().count(b"\n") >= EVENTS + 1)
            order = [json.loads(line)["stream_sequence"] for line in seen.open()]
        finally:
            witness.kill()
            witness.wait()
            seen.unlink()
    assert pipe.recv() == {}, "nothing was dropped"
    process.join(60)
    assert process.exitcode == 0
    assert set(order) == set(range(1, EVENTS + 2)), "all of them came"
    place = order.index(EVENTS + 1)
    assert place < EVENTS / 2, "the new one did not wait for them"
    backlog = np.array([number for number in order if number <= EVENTS - 200])
    assert (np.diff(backlog) > 0).all(), "those that waited came in order, each once"


def until(condition: object) -> None:
    assert callable(condition)
    for _ in range(6000):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("not within 10 minutes")
