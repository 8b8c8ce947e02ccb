"""Rows of a table -> chunks of streams. What is common to csv and parquet: keys, times, missing values, order, pace.

A reader gives batches of rows; here each row finds its stream, gets its time, and is repaired, dropped or refused.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq import tables
from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources._pace import Pace, PaceKey
from edgeseq.sources._rate import Rate
from edgeseq.sources._replay import Replay
from edgeseq.sources._times import GAP_PERIODS, Grid, TimeFormat, start_ns
from edgeseq.types import Channel, Chunk, Frames, Plain, StreamSpec, TimesNs

BATCH_ROWS = 1024
MAX_STREAMS = 100_000
"""Keys of one file that are counted; more are no machines but a wrong column."""
INTERLEAVE_MAX_BYTES = 512 << 20
"""What `interleave` may hold in memory: 4 bytes a value and 9 a row."""

UNCOUNTED = 1 << 62
"""More rows than any file has."""

Missing = Literal["error", "hold", "drop", "keep"]


class Column(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A channel and the column it is read from: `{ name = "T24", column = "sensor_2", unit = "degR" }`."""

    name: str
    column: str = ""
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """Rows as read. rows: int64[n], line or row numbers for messages. values: float32[n, channels], NaN: missing."""

    rows: NDArray[np.int64]
    keys: Sequence[str] | None
    t_ns: TimesNs | None
    values: Frames


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a reader is to read of each row. columns: names in the file. start: added to numeric times, in ns."""

    columns: Sequence[str]
    stream_column: str | None
    time_column: str | None
    time_format: TimeFormat
    start: int


class Reader(Protocol):
    """Reads one file, any number of times over. `row_word`: what its rows are called in messages."""

    path: Path
    row_word: str

    def columns(self) -> list[str]:
        """Return the columns' names. Raises ConfigError or SourceError where there is nothing to read."""
        ...

    def keys(self, column: str) -> Iterator[Sequence[str]]:
        """Yield the column's cells as text, batch by batch."""
        ...

    def batches(self, wanted: Wanted) -> Iterator[Batch]:
        """Yield the rows, at most BATCH_ROWS at a time."""
        ...


@dataclass(slots=True)
class _Stream:
    """What is remembered of one stream while its rows are read."""

    left: int
    index: int = 0
    previous_ns: int | None = None
    held: Frames | None = None
    gap: bool = False


@dataclass(slots=True)
class _Rows:
    """Rows of one stream, repaired. gaps: bool[n], whether something was lost before the row."""

    t_ns: TimesNs = field(default_factory=lambda: np.empty(0, np.int64))
    values: Frames = field(default_factory=lambda: np.empty((0, 0), np.float32))
    gaps: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))


class TableSource:
    """A file of rows as a source; the plug-ins add their reader. Its parameters are explained at `Csv`."""

    def __init__(
        self,
        reader: Reader,
        *,
        channels: Sequence[str | Column],
        rate_hz: float,
        stream_column: str | None,
        streams: Sequence[str | int] | None,
        time_column: str | None,
        time_format: TimeFormat,
        start: str,
        pace: PaceKey,
        missing: Missing,
        interleave: bool,
    ) -> None:
        named = [Column(name=channel) if isinstance(channel, str) else channel for channel in channels]
        twice = [name for name, count in Counter(channel.name for channel in named).items() if count > 1]
        if not named or twice:
            raise ConfigError(f"channels names '{twice[0]}' twice." if twice else "channels is empty.")
        if missing not in _POLICY:
            raise ConfigError(f"missing must be one of {', '.join(_POLICY)}, not {missing!r}.")
        for key, given in (("streams", streams is not None), ("interleave", interleave)):
            if given and stream_column is None:
                raise ConfigError(f"{key} needs stream_column, the column that tells one machine from another.")
        origin = start_ns(start)
        self.spec = StreamSpec(tuple(Channel(channel.name, channel.unit) for channel in named), rate_hz)
        self.dropped: Counter[str] = Counter()
        self.replays = True
        self._reader = reader
        self._wanted = Wanted([c.column or c.name for c in named], stream_column, time_column, time_format, origin)
        self._only = None if streams is None else [str(stream) for stream in streams]
        self._grid = Grid(rate_hz, origin)
        self._pace = Pace(pace)
        self._replay = Replay(reader.path, origin, self._pace)
        self._missing = missing
        self._interleave = interleave

    def check(self) -> str:
        """See that the file is there, with every column and key, and what its first rows say of its rate."""
        counts = self._prepare()
        words = f"reads {len(self.spec.channels)} channels at {self.spec.rate_hz:g} Hz from {self._reader.path}"
        if counts is not None:
            words += f", {sum(counts.values())} rows of {len(counts)} streams"
            words += " side by side" if self._interleave else " in the file's order"
        return f"{words}, {self._pace.words()}; a missing value is {_POLICY[self._missing]}"

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._pace.close()

    def set_state(self, state: Plain) -> None:
        """Go on behind the chunk that had this state. Raises StateError where the file is another by now."""
        self._replay.set_state(state)
        self._grid = Grid(self.spec.rate_hz, self._replay.start_ns)
        self._wanted = replace(self._wanted, start=self._replay.start_ns)

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; each stream's last one is marked and may be empty."""
        return self._replay.marked(self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        """Yield all chunks."""
        counts = self._prepare()
        if self._pace.closed:
            return
        yield from self._side_by_side(counts or {}) if self._interleave else self._in_order(counts)

    def _prepare(self) -> dict[str, int] | None:
        """Check columns and keys, and count the rows of each stream that is wanted; None for one stream."""
        wanted, there = self._wanted, self._reader.columns()
        for column in filter(None, [*wanted.columns, wanted.stream_column, wanted.time_column]):
            if column not in there:
                near = f"{tables.suggest(column, there)}{_other_delimiter(there)}"
                raise ConfigError(f"{self._reader.path} has no column '{column}'. {near}")
        self._check_rate()
        if wanted.stream_column is None:
            return None
        counts: Counter[str] = Counter()
        for keys in self._reader.keys(wanted.stream_column):
            counts.update(keys)
            if self._pace.closed:
                return {}
            if len(counts) > MAX_STREAMS:
                raise ConfigError(
                    f"{self._reader.path}: the column '{wanted.stream_column}' has over {MAX_STREAMS} different "
                    "values; it does not tell machines apart."
                )
        if self._only is None:
            return dict(counts)
        for stream in self._only:
            if stream not in counts:
                raise ConfigError(f"{self._reader.path} has no stream '{stream}'. {tables.suggest(stream, counts)}")
        return {stream: counts[stream] for stream in counts if stream in set(self._only)}

    def _check_rate(self) -> None:
        """See that the first rows come at the rate that is said, where they have times. Raises SourceError."""
        streams: dict[str, tuple[_Stream, Rate]] = {}
        rows = 0
        for batch in self._reader.batches(self._wanted) if self._wanted.time_column else ():
            for key, start, stop in _runs(batch):
                if batch.t_ns is None or (self._only is not None and key not in self._only):
                    continue
                stream, rate = streams.setdefault(key, (_Stream(UNCOUNTED), Rate(self.spec.rate_hz)))
                t_ns = batch.t_ns[start:stop]
                rate.take(t_ns, self._steps(stream, t_ns, batch.rows[start:stop]))
                stream.previous_ns = int(t_ns[-1])
            rows += len(batch.values)
            if rows >= BATCH_ROWS:
                break
        where = f"{self._reader.path}: by its column '{self._wanted.time_column}'"
        for _, rate in streams.values():
            rate.check(where, "rate_hz says")

    def _in_order(self, counts: Mapping[str, int] | None) -> Iterator[Chunk]:
        """Yield the rows as they stand in the file, in bounded memory."""
        most = self._pace.most_rows(self.spec.rate_hz, BATCH_ROWS)
        for stream, rows, last in self._repaired(counts):
            # A chunk ends where the pace or a gap wants it.
            for start, stop in _pieces(rows.gaps, most):
                if not self._pace.wait(stream, int(rows.t_ns[stop - 1])):
                    return
                yield Chunk(
                    rows.t_ns[start:stop],
                    rows.values[start:stop],
                    gap=bool(rows.gaps[start]),
                    stream=stream,
                    last=last and stop == len(rows.t_ns),
                )
            if last:
                self._pace.forget(stream)
                if len(rows.t_ns) == 0:
                    yield Chunk(rows.t_ns, rows.values, stream=stream, last=True)

    def _side_by_side(self, counts: Mapping[str, int]) -> Iterator[Chunk]:
        """Yield all rows merged by time, one sample a chunk; of equal times, in the order the streams first appear."""
        size = sum(counts.values()) * (4 * len(self.spec.channels) + 9)
        if size > INTERLEAVE_MAX_BYTES:
            raise SourceError(
                f"{self._reader.path}: interleave holds the whole table in memory, {size >> 20} MiB here, and takes at "
                f"most {INTERLEAVE_MAX_BYTES >> 20}. Choose fewer streams, or sort the file by time and do without."
            )
        parts: dict[str, list[_Rows]] = {stream: [] for stream in counts}
        for stream, rows, _ in self._repaired(counts):
            parts[stream].append(rows)
        if self._pace.closed:
            return
        streams = list(parts)
        lengths = [sum(len(rows.t_ns) for rows in parts[stream]) for stream in streams]
        t_ns = np.concatenate([rows.t_ns for stream in streams for rows in parts[stream]])
        values = np.concatenate([rows.values for stream in streams for rows in parts[stream]])
        gaps = np.concatenate([rows.gaps for stream in streams for rows in parts[stream]])
        del parts
        owner = np.repeat(np.arange(len(streams)), lengths)
        left = dict(zip(streams, lengths, strict=True))
        for stream in [stream for stream, count in left.items() if count == 0]:
            yield Chunk(t_ns[:0], values[:0], stream=stream, last=True)
        for row in np.argsort(t_ns, kind="stable").tolist():
            stream = streams[owner[row]]
            if not self._pace.wait("", int(t_ns[row])):
                return
            left[stream] -= 1
            one = slice(row, row + 1)
            yield Chunk(t_ns[one], values[one], gap=bool(gaps[row]), stream=stream, last=left[stream] == 0)

    def _repaired(self, counts: Mapping[str, int] | None) -> Iterator[tuple[str, _Rows, bool]]:
        """Yield (stream, consecutive rows of it, whether it ends here)."""
        # One stream is not counted beforehand: it ends when the file does.
        known = {stream: _Stream(left) for stream, left in ({"": UNCOUNTED} if counts is None else counts).items()}
        only = None if self._only is None else set(self._only)
        for batch in self._reader.batches(self._wanted):
            if self._pace.closed:
                return
            for key, start, stop in _runs(batch):
                if only is not None and key not in only:
                    continue
                stream = known.get(key)
                if stream is None or stream.left < stop - start:
                    raise self._changed()
                stream.left -= stop - start
                rows = self._repair(stream, batch, start, stop)
                if stream.left == 0:
                    known[key] = _Stream(0)
                if len(rows.t_ns) or stream.left == 0:
                    yield key, rows, stream.left == 0
        if counts is not None and any(stream.left for stream in known.values()):
            raise self._changed()
        if counts is None:
            empty = np.empty((0, len(self.spec.channels)), np.float32)
            yield "", _Rows(np.empty(0, np.int64), empty, np.empty(0, np.bool_)), True

    def _changed(self) -> SourceError:
        return SourceError(f"{self._reader.path} changed while it was read; read it when it is complete.")

    def _repair(self, stream: _Stream, batch: Batch, start: int, stop: int) -> _Rows:
        """Date the rows, find gaps in time, and apply the policy for missing values."""
        values, numbers = batch.values[start:stop], batch.rows[start:stop]
        if batch.t_ns is None:
            t_ns = self._grid.times(np.arange(stream.index, stream.index + len(values)))
        else:
            t_ns = batch.t_ns[start:stop]
        gaps = self._steps(stream, t_ns, numbers) if batch.t_ns is not None else np.zeros(len(values), np.bool_)
        stream.index += len(values)
        stream.previous_ns = int(t_ns[-1])
        keep = np.ones(len(values), np.bool_)
        missing = ~np.isfinite(values)
        if missing.any() and self._missing != "keep":
            values = values.copy()
            self._fill(stream, values, missing, keep, numbers)
        if len(values):
            # `hold` needs the last good values; of a dropped row there are none.
            kept = np.flatnonzero(keep)
            stream.held = values[kept[-1]].copy() if len(kept) else stream.held
        # A dropped row is a gap before the next row that is kept, be it in this batch or a later one.
        if self._missing == "drop" or stream.gap:
            for row in range(len(values)):
                if not keep[row]:
                    stream.gap = True
                elif stream.gap:
                    gaps[row], stream.gap = True, False
        return _Rows(t_ns[keep], values[keep], gaps[keep])

    def _fill(
        self,
        stream: _Stream,
        values: Frames,
        missing: NDArray[np.bool_],
        keep: NDArray[np.bool_],
        numbers: NDArray[np.int64],
    ) -> None:
        """Repair rows with missing values in place, or mark them as not kept."""
        for row in np.flatnonzero(missing.any(axis=1)).tolist():
            if self._missing == "error":
                column = self._wanted.columns[int(np.flatnonzero(missing[row])[0])]
                raise SourceError(
                    f"{self._reader.path}, {self._reader.row_word} {numbers[row]}, column '{column}': there is no "
                    "value. Repair the file, or choose what happens to missing values: missing = "
                    '"hold", "drop" or "keep".'
                )
            before = values[row - 1] if row and keep[row - 1] else stream.held
            if self._missing == "drop" or before is None:
                keep[row] = False
                self.dropped["missing_dropped" if self._missing == "drop" else "missing_at_start"] += 1
            else:
                values[row, missing[row]] = before[missing[row]]
                self.dropped["missing_held"] += int(missing[row].sum())

    def _steps(self, stream: _Stream, t_ns: TimesNs, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return bool[n]: whether time leaps before a row. Raises SourceError where it runs backwards."""
        first = t_ns[0] if stream.previous_ns is None else stream.previous_ns
        steps = np.diff(t_ns, prepend=np.int64(first))
        if (steps < 0).any():
            row = int(numbers[int(np.flatnonzero(steps < 0)[0])])
            raise SourceError(
                f"{self._reader.path}, {self._reader.row_word} {row}, column '{self._wanted.time_column}': time runs "
                "backwards. Sort the rows of each stream by time."
            )
        return np.asarray(steps > GAP_PERIODS * 1e9 / self.spec.rate_hz)


_POLICY = {
    "error": "an error",
    "hold": "replaced by the last good one, and counted",
    "drop": "reason to drop the row, which is counted",
    "keep": "left to the features",
}


def _runs(batch: Batch) -> Iterator[tuple[str, int, int]]:
    """Yield (stream, start, stop) of consecutive rows of one stream."""
    if batch.keys is None:
        yield "", 0, len(batch.values)
        return
    start = 0
    for row in range(1, len(batch.keys) + 1):
        if row == len(batch.keys) or batch.keys[row] != batch.keys[start]:
            yield batch.keys[start], start, row
            start = row


def _pieces(gaps: NDArray[np.bool_], most: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of at most `most` rows each; a gap starts a new piece."""
    cuts = sorted({0, *np.flatnonzero(gaps).tolist(), len(gaps)})
    for left, right in itertools.pairwise(cuts):
        for start in range(left, right, most):
            yield start, min(start + most, right)


def _other_delimiter(columns: Sequence[str]) -> str:
    """Return advice where a header looks as if it had not been taken apart."""
    mark = next((mark for mark in ";\t|," if len(columns) == 1 and mark in columns[0]), None)
    return f" Its cells may be divided by {mark!r}: delimiter." if mark else ""
