"""What is sent: the JSON of an event and of a stream's state, the same for every sink.

Schema 1, published as edgeseq/schema.json. Times twice: `time`, ISO 8601 in UTC with nanoseconds, for people; `t_ns`,
nanoseconds since the Unix epoch, for programs. A number that is not finite is null. Fields are only ever added under
one schema number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from edgeseq import clock
from edgeseq.types import About, Event, Output

SCHEMA = 1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def state(about: About, output: Output, level: str) -> dict[str, Any]:
    """Return a stream's state: its level and its latest output."""
    values = [_number(value) for value in output.values.tolist()]
    names = about.names if len(about.names) == len(values) else tuple(str(index) for index in range(len(values)))
    return {
        **_head(about, output.stream, output.t_ns),
        "level": level,
        "score": values[about.score] if about.score < len(values) else None,
        "values": dict(zip(names, values, strict=True)),
        "unit": about.unit,
        "warming": output.warming,
    }


def event(about: About, event: Event, stream_sequence: int | None = None) -> dict[str, Any]:
    """Return an event. stream_sequence: its number among those of its stream; None where nobody counts them."""
    evidence = {name: _number(value) if isinstance(value, float) else value for name, value in event.evidence.items()}
    return {
        **_head(about, event.stream, event.t_ns),
        "event_id": event.event_id,
        "alert": event.alert,
        "sequence": event.sequence,
        "stream_sequence": stream_sequence,
        "kind": event.kind,
        "level": event.level,
        "severity": event.severity,
        "score": _number(event.score),
        "unit": about.unit,
        "evidence": evidence,
    }


def health(about: About, now_ns: int, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a report on the pipeline, at a time in nanoseconds since the Unix epoch."""
    head = _head(about, "", now_ns)
    del head["stream"]
    return {**head, **report}


def status(about: About, word: str, now_ns: int | None) -> dict[str, Any]:
    """Return the device's status. The last will is written before its time is known, so it has none."""
    head = _head(about, "", now_ns or 0)
    timeless = ("stream", "time", "t_ns", "clock_synced") if now_ns is None else ("stream",)
    return {"status": word, **{key: value for key, value in head.items() if key not in timeless}}


class _Named(msgspec.Struct):
    event_id: str


def event_id(payload: bytes) -> str:
    """Return an encoded event's id."""
    return msgspec.json.decode(payload, type=_Named).event_id


def encode(payload: dict[str, Any]) -> bytes:
    """Return a payload as one line of UTF-8 JSON."""
    return msgspec.json.encode(payload)


def iso_utc(t_ns: int) -> str:
    """Return a time as 2026-11-24T03:05:03.000000000Z."""
    seconds, fraction = divmod(t_ns, 1_000_000_000)
    try:
        day = (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")
    except OverflowError:
        # Only a source's nonsense lies beyond the year 9999; t_ns still says it exactly.
        return ""
    return f"{day}.{fraction:09d}Z"


def _head(about: About, stream: str, t_ns: int) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "device": about.device,
        "pipeline": about.pipeline,
        "stream": stream,
        "time": iso_utc(t_ns),
        "t_ns": t_ns,
        "clock_synced": clock.synced(),
        "model": about.model,
        "model_version": about.model_version,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
