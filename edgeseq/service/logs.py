"""Logs for programs: a line of JSON for each, where nobody sits before a terminal.

A line has `time` (ISO 8601, UTC), `level`, `logger`, `message`, and beside them whatever `extra` a call gave, under its
own name; `exception` where there was one.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

import msgspec

from edgeseq.errors import EdgeseqError

Form = Literal["text", "json"]
FORMS: tuple[Form, ...] = ("text", "json")
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""What every record has."""


def default() -> Form:
    """Return the form where nobody asked for one: text for a person, JSON for a journal, a pipe or a file."""
    return "text" if sys.stderr.isatty() else "json"


def line(level: str, message: str, *, time_s: float | None = None, **fields: Any) -> str:
    """Return a line of JSON. time_s: since the Unix epoch; default: now. What JSON lacks is written as text."""
    when = datetime.now(UTC) if time_s is None else datetime.fromtimestamp(time_s, UTC)
    said = {"time": when.isoformat(), "level": level, **fields, "message": message}
    try:
        return msgspec.json.encode(said, enc_hook=str).decode()
    except UnicodeError:  # a path, say, that is no UTF-8: ASCII can write half a character
        return json.dumps(said, default=str)


class JsonLines(logging.Formatter):
    """Writes a record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return it."""
        fields = {name: value for name, value in record.__dict__.items() if name not in _OWN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        level, message = record.levelname.lower(), record.getMessage()
        return line(level, message, time_s=record.created, logger=record.name, **fields)


@contextmanager
def errors_in(form: Form) -> Iterator[None]:
    """Say the errors of a command in the form of its logs; whoever catches them then says no more."""
    try:
        yield
    except EdgeseqError as error:
        if form == "json":
            say("error", str(error), error=type(error).__name__)
            error.said = True
        raise


def say(level: str, message: str, **fields: Any) -> None:
    """Write a line of JSON to stderr, whatever is logged."""
    print(line(level, message, **fields), file=sys.stderr, flush=True)  # noqa: T201 - what this is for


def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Say in a line of JSON what nobody caught."""
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    text = logging.Formatter().formatException((kind, error, trace))
    say("critical", f"{kind.__name__}: {error}", exception=text)
