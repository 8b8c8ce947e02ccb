"""What holds for every sink that takes events out of the outbox, ours and registered ones: each is found by itself."""

import inspect
import json
import threading
from collections.abc import Sequence

import pytest

from edgeseq import plugins
from edgeseq.sinks import _payload
from edgeseq.types import About, Delivering, Event

ABOUT = About("device", "pipeline", "model", "1", ("y",), "g")


@pytest.mark.parametrize("name", plugins.known("sinks"))
def test_a_sink_says_what_its_receiver_has(name: str, request: pytest.FixtureRequest) -> None:
    cls = plugins.find("sinks", name)
    broker = "port" in inspect.signature(cls).parameters
    more = {"port": request.getfixturevalue("mosquitto").port} if broker else {}
    sink = cls(**{**cls.example(), **more})
    if not isinstance(sink, Delivering):
        pytest.skip(f"{name} is told of events by the hot loop alone")
    done: list[int] = []
    told = threading.Event()

    def note(numbers: Sequence[int]) -> None:
        done.extend(numbers)
        if len(done) >= 10:
            told.set()

    sink.open(ABOUT)
    for _ in range(600):
        if sink.room() >= 10:
            break
        threading.Event().wait(0.05)
    events = [Event("raised", f"x@{number}", 0, "a/b", "warning", 1, float("nan"), 5) for number in range(1, 11)]
    payloads = [_payload.encode(_payload.event(ABOUT, event, number)) for number, event in enumerate(events, start=1)]
    sink.deliver([(json.loads(payload)["stream_sequence"], "a/b", payload) for payload in payloads], note)
    assert told.wait(30)
    sink.close()
    assert sorted(done) == list(range(1, 11))
    assert {reason: count for reason, count in sink.dropped.items() if count} == {}
