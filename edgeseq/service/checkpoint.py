"""Snapshots of a pipeline on disk: one file, written aside and renamed, so that it is the old one or the new one whole.

A file is a line that says what it is, the SHA-256 of all that follows, and MessagePack. The one before is kept beside
it, for the day on which the newest is found damaged.
"""

from __future__ import annotations

import hashlib
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from edgeseq.errors import StateError
from edgeseq.pipeline.snapshot import LaneState, Snapshot

MAGIC = b"edgeseq checkpoint 1\n"
NUMBERS = "biuf"
"""Kinds of numpy types that a state has; what an array of another would mean is not asked."""

log = logging.getLogger(__name__)


class _Array(msgspec.Struct, array_like=True):
    """An array: its type as numpy writes it, its shape, and its numbers in C order."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


class _Lane(msgspec.Struct):
    """A LaneState."""

    arrays: dict[str, _Array]
    counts: dict[str, Any]
    decider: dict[str, Any] | None


class _File(msgspec.Struct):
    """A Snapshot, and what it was made of."""

    identity: dict[str, str]
    source: dict[str, Any] | None
    lanes: dict[str, _Lane]
    silent: dict[str, int]


def encoded(snapshot: Snapshot, identity: Mapping[str, str]) -> bytes:
    """Return a snapshot as a file."""
    lanes = {
        stream: _Lane(
            {name: _Array(value.dtype.str, value.shape, value.tobytes()) for name, value in lane.arrays.items()},
            dict(lane.counts),
            None if lane.decider is None else dict(lane.decider),
        )
        for stream, lane in snapshot.lanes.items()
    }
    source = None if snapshot.source is None else dict(snapshot.source)
    body = msgspec.msgpack.encode(_File(dict(identity), source, lanes, dict(snapshot.silent)))
    return MAGIC + hashlib.sha256(body).digest() + body


def decoded(raw: bytes) -> tuple[Snapshot, Mapping[str, str]]:
    """Return a file's snapshot and identity. Raises StateError for anything that is not a whole file."""
    start = len(MAGIC) + hashlib.sha256().digest_size
    if not raw.startswith(MAGIC):
        raise StateError("it is no checkpoint of this version of edgeseq, or its beginning is damaged")
    if hashlib.sha256(raw[start:]).digest() != raw[len(MAGIC) : start]:
        raise StateError(f"its sum does not agree with its {len(raw) - start:,} bytes: it is damaged or cut off")
    try:
        file = msgspec.msgpack.decode(raw[start:], type=_File)
        lanes = {
            stream: LaneState({name: _array(each) for name, each in lane.arrays.items()}, lane.counts, lane.decider)
            for stream, lane in file.lanes.items()
        }
    except (msgspec.DecodeError, ValueError, TypeError) as cause:
        raise StateError(f"its content is no snapshot: {cause}") from cause
    return Snapshot(file.source, lanes, file.silent), file.identity


class Checkpoint:
    """Keeps snapshots in a file, at most every `interval_s` seconds; what `Keeper` says holds.

    identity: what a snapshot is of, by names that a person knows; one of anything else is not taken up. What cannot be
    written, as on a full disk, is counted in `dropped["not_written"]` and told once: the pipeline goes on.
    """

    def __init__(self, path: Path, identity: Mapping[str, str], interval_s: float) -> None:
        self.path = path
        self.before = path.with_name(path.name + ".before")
        self.dropped: Counter[str] = Counter()
        self._identity, self._interval_s = identity, interval_s
        self._due = time.monotonic() + interval_s
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="edgeseq-checkpoint")
        self._writing: Future[None] | None = None
        self._failing = False

    def last(self) -> Snapshot | None:
        """Return the newest snapshot that is whole, if it is of this pipeline; say why where there is none such."""
        for path in (self.path, self.before):
            try:
                snapshot, identity = decoded(path.read_bytes())
            except FileNotFoundError:
                continue
            except (OSError, StateError) as cause:
                why = cause.strerror or cause if isinstance(cause, OSError) else cause
                log.warning("%s: %s. It is passed over.", path, why)
                continue
            if other := sorted(
                name for name in {*identity, *self._identity} if identity.get(name) != self._identity.get(name)
            ):
                log.warning(
                    "%s is not taken up: it is of another %s. Everything starts afresh.", path, ", ".join(other)
                )
                return None
            log.info("%s is taken up: %d streams go on where they were", path, len(snapshot.lanes))
            return snapshot
        log.info("%s: there is no checkpoint; everything starts afresh", self.path)
        return None

    def due(self) -> bool:
        """Whether the interval is over and nothing is being written."""
        return time.monotonic() >= self._due and (self._writing is None or self._writing.done())

    def keep(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
        """Write a snapshot in a thread of its own, after `before`."""
        if self._writing is not None:
            self._writing.result()
        self._due = time.monotonic() + self._interval_s
        self._writing = self._writer.submit(self._write, snapshot, before)

    def done(self) -> None:
        """Remove both files: the next start is one from the beginning."""
        self.close()
        for path in (self.path, self.before):
            path.unlink(missing_ok=True)
        _sync(self.path.parent)

    def close(self) -> None:
        """Wait for what is being written."""
        self._writer.shutdown(wait=True)
        if self._writing is not None:
            self._writing.result()

    def _write(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
        before()
        try:
            write(self.path, self.before, encoded(snapshot, self._identity))
        except OSError as cause:
            self.dropped["not_written"] += 1
            if not self._failing:
                log.warning("%s: cannot be written: %s. It is tried again.", self.path, cause.strerror or cause)
            self._failing = True
            return
        if self._failing:
            log.warning("%s: can be written again", self.path)
        self._failing = False


def write(path: Path, before: Path, content: bytes) -> None:
    """Make content a file's, and the file's former content that of `before`; at no time is neither of them whole."""
    aside = path.with_name(path.name + ".new")
    with aside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if path.exists():
        path.replace(before)
    aside.replace(path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Make a folder's names survive a loss of power."""
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def _array(array: _Array) -> Any:
    """Return an array of numbers. Raises ValueError where it is none."""
    dtype = np.dtype(array.dtype)
    if dtype.kind not in NUMBERS:
        raise ValueError(f"{array.dtype} is no type of numbers")
    return np.frombuffer(array.data, dtype).reshape(array.shape).copy()
