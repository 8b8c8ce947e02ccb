"""Remembers which variants have passed their goldens on this machine, one small JSON file each.

It only ever saves time: what is missing, damaged, out of date or cannot be read or written means replaying again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import logging
import os
import tempfile
from pathlib import Path

import msgspec

from edgeseq import cache

MAX_BYTES = 4096
log = logging.getLogger(__name__)


class Subject(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a verdict is on. bundle: its digest. library, edgeseq: with their versions. machine: see machine.py."""

    bundle: str
    variant: str
    backend: str
    library: str
    edgeseq: str
    machine: str


class _Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file's content."""

    subject: Subject
    passed: bool


def passed(subject: Subject) -> bool:
    """Return whether exactly this is known to have passed; a failure is no reason not to try again."""
    folder = place()
    if folder is None:
        return False
    path = folder / _name(subject)
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            kept = msgspec.json.decode(file.read(MAX_BYTES), type=_Kept)
    except (OSError, ValueError, msgspec.MsgspecError) as cause:
        log.warning("%s holds no verdict that can be read (%s): the goldens are replayed.", path, cause)
        return False
    return kept.passed and kept.subject == subject


def keep(subject: Subject, *, passed: bool) -> None:
    """Write a verdict aside and rename it into place."""
    folder = place()
    if folder is None:
        _warn("there is no folder to keep verdicts in: goldens are replayed at every load. Set EDGESEQ_CACHE.")
        return
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, aside = tempfile.mkstemp(dir=folder)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(msgspec.json.encode(_Kept(subject=subject, passed=passed)))
            Path(aside).replace(folder / _name(subject))
        except OSError:
            with contextlib.suppress(OSError):
                Path(aside).unlink()
            raise
    except OSError as cause:
        reason = cause.strerror or cause
        _warn(
            f"{folder}: the verdict on the goldens cannot be kept there ({reason}), so they are replayed at every "
            "load. EDGESEQ_CACHE names another folder."
        )


@functools.cache
def _warn(message: str) -> None:
    """Say once in a process what is so for every variant."""
    log.warning("%s", message)


def place() -> Path | None:
    """Return the folder of verdicts."""
    return cache.folder("verdicts")


def _name(subject: Subject) -> str:
    """Return a file's name: a newer library's verdict takes the place of the older one's."""
    told = msgspec.json.encode((subject.bundle, subject.variant, subject.backend, subject.machine))
    return f"{hashlib.sha256(told).hexdigest()[:32]}.json"
