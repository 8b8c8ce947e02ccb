"""What is sent is what the published schema says, whatever the numbers and names are."""

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError
from payload_schema import SCHEMA, validated

from edgeseq import clock
from edgeseq.sinks import _payload
from edgeseq.types import About, Event, Output

ABOUT = About("press-4", "wear", "rul", "1.2.0", ("rul", "wear"), "cycles")
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.floats(width=32)
TIMES = st.integers(-(2**63), 2**63 - 1)


def test_the_schema_is_one_and_is_printed() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    done = subprocess.run([sys.executable, "-m", "edgeseq", "schema"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == SCHEMA


@given(
    kind=st.sampled_from(["raised", "updated", "cleared"]),
    names=st.tuples(NAMES, NAMES, NAMES),
    numbers=st.tuples(NUMBERS, NUMBERS),
    t_ns=TIMES,
    sequence=st.none() | st.integers(1),
)
def test_any_event(
    kind: Any, names: tuple[str, str, str], numbers: tuple[float, float], t_ns: int, sequence: int | None
) -> None:
    alert, stream, level = names
    event = Event(kind, alert, 3, stream, level, 1, numbers[0], t_ns, {"at": numbers[1], "why": alert})
    payload = _payload.encode(_payload.event(ABOUT, event, sequence))
    validated("event", json.loads(payload))
    assert _payload.event_id(payload) == event.event_id


@given(NAMES, st.lists(NUMBERS, min_size=1, max_size=3), TIMES, st.booleans())
def test_any_state(stream: str, values: list[float], t_ns: int, warming: bool) -> None:  # noqa: FBT001
    output = Output(t_ns, stream, np.array(values, np.float32), warming=warming)
    validated("state", json.loads(_payload.encode(_payload.state(ABOUT, output, "ok"))))


def test_a_status_with_and_without_its_time() -> None:
    for now_ns in (None, 1):
        validated("status", json.loads(_payload.encode(_payload.status(ABOUT, "offline", now_ns))))


def test_what_the_schema_refuses() -> None:
    event = _payload.event(ABOUT, Event("raised", "a", 0, "7", "warning", 1, 1.0, 5))
    for wrong in ({"kind": "gone"}, {"schema": 2}, {"score": "high"}, {"time": "yesterday"}, {"stream_sequence": 0}):
        with pytest.raises(ValidationError):
            validated("event", {**event, **wrong})
    with pytest.raises(ValidationError):
        validated("event", {key: value for key, value in event.items() if key != "event_id"})
    with pytest.raises(AssertionError, match="extra"):
        validated("event", {**event, "extra": 1})


def test_the_clock_is_asked_and_where_it_says_nothing_timesyncd_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert clock.synced() in (True, False, None)
    mark = tmp_path_factory.mktemp("timesync") / "synchronized"
    monkeypatch.setattr(clock, "TIMESYNCD", mark)
    for answer, there, wanted in ((0, False, True), (5, True, False), (-1, False, None), (-1, True, True)):
        libc = type("Libc", (), {"adjtimex": lambda _self, _buffer, answer=answer: answer})
        monkeypatch.setattr(clock, "_libc", libc())
        mark.unlink(missing_ok=True)
        if there:
            mark.touch()
        assert clock.synced() is wanted
