"""What is sent: the JSON of an event and of a stream's state, the same for every sink.

Schema 1. Times twice: `time`, ISO 8601 in UTC with nanoseconds, for people; `t_ns`, nanoseconds since the Unix epoch,
for programs. A number that is not finite is null. Fields are only ever added under one schema number.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

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


def event(about: About, event: Event) -> dict[str, Any]:
    """Return an event."""
    evidence = {name: _number(value) if isinstance(value, float) else value for name, value in event.evidence.items()}
    return {
        **_head(about, event.stream, event.t_ns),
        "event_id": event.event_id,
        "alert": event.alert,
        "sequence": event.sequence,
        "kind": event.kind,
        "level": event.level,
        "severity": event.severity,
        "score": _number(event.score),
        "unit": about.unit,
        "evidence": evidence,
    }


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
        "model": about.model,
        "model_version": about.model_version,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
