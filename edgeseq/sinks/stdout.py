"""Events, and outputs if asked for, as lines on standard output."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any, Literal

from edgeseq.errors import ConfigError
from edgeseq.sinks import _payload
from edgeseq.types import About, Event, Output


class Stdout:
    """Writes one line an event, and one an output where `outputs` is set.

    format: "text" for people; "json" for JSON lines with the very payloads that the MQTT sink sends, each with a key
    "type": "event" or "output". outputs: whether every output is written too.
    """

    def __init__(self, *, format: Literal["text", "json"] = "text", outputs: bool = False) -> None:  # noqa: A002
        if format not in ("text", "json"):
            raise ConfigError(f"format must be 'text' or 'json', not {format!r}.")
        self.dropped: Counter[str] = Counter()
        self._json = format == "json"
        self._outputs = outputs
        self._about = About("", "")

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters that work."""
        return {"format": "json", "outputs": True}

    def open(self, about: About) -> None:
        """Remember who speaks."""
        self._about = about

    def output(self, output: Output, level: str) -> None:
        """Write an output, if outputs are wanted."""
        if not self._outputs:
            return
        if self._json:
            self._write(_payload.encode({"type": "output", **_payload.state(self._about, output, level)}).decode())
            return
        names = self._about.names or tuple(str(index) for index in range(len(output.values)))
        values = "  ".join(
            f"{name}={value:.6g}{' ' + self._about.unit if self._about.unit else ''}"
            for name, value in zip(names, output.values.tolist(), strict=False)
        )
        warming = "  (warming)" if output.warming else ""
        self._write(f"{_payload.iso_utc(output.t_ns)}  {output.stream or '-'}  {level:<8}  {values}{warming}")

    def event(self, event: Event) -> None:
        """Write an event."""
        if self._json:
            self._write(_payload.encode({"type": "event", **_payload.event(self._about, event)}).decode())
            return
        unit = f" {self._about.unit}" if self._about.unit else ""
        self._write(
            f"{_payload.iso_utc(event.t_ns)}  {event.stream or '-'}  {event.level:<8}  "
            f"alert {event.kind} at {event.score:.6g}{unit}  ({event.event_id})"
        )

    def end(self, stream: str) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Write what Python still holds."""
        sys.stdout.flush()

    def _write(self, line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
