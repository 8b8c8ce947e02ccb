"""Outputs and events into a file: JSON lines, CSV, Parquet, sound. It appears whole, under its name, or not at all."""

from __future__ import annotations

import contextlib
import csv
import os
from collections import Counter
from pathlib import Path
from typing import IO, Any, Protocol

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SinkError
from edgeseq.recordings import wav
from edgeseq.sinks import _payload
from edgeseq.tables import suggest
from edgeseq.types import About, Event, Output

HEAD = ("t_ns", "stream", "level", "warming")
"""The columns of CSV and Parquet before the outputs' own, which are named as the bundle names them."""
PARQUET_ROWS = 8192


class _Format(Protocol):
    """Writes into one open file."""

    def output(self, output: Output, level: str) -> None: ...

    def event(self, event: Event) -> None: ...

    def close(self) -> None: ...


class Record:
    """A sink that writes a file, its format told by the ending.

    .jsonl: one JSON document a line, in the order things happened: outputs ("type": "output") and events ("type":
    "event"), the payloads of edgeseq/sinks/_payload.py. .csv and .parquet: the outputs alone, one a row: t_ns, stream,
    level, warming, then each output by its name; CSV numbers read back as the same float32. .wav: the signal of a model
    that gives one, 32-bit float, in line with the data: what it lags is made up for.

    The file is written beside its place and renamed at `keep`; without that, `close` removes it.
    """

    def __init__(self, path: Path) -> None:
        if path.suffix not in FORMATS:
            raise ConfigError(f"{path}: the ending tells the format. {suggest(path.suffix, FORMATS)}")
        if path.suffix == ".parquet":
            libraries.pyarrow()
        if path.suffix == ".wav":
            libraries.soundfile()
        self.dropped: Counter[str] = Counter()
        self.path = path
        self._aside = path.with_name(f".{path.name}.partial")
        self._file: IO[bytes] | None = None
        self._format: _Format | None = None

    def open(self, about: About) -> None:
        """Open the file beside its place. Raises SinkError, or ConfigError for a signal's format without a signal."""
        if self.path.suffix == ".wav" and about.signal_hz is None:
            raise ConfigError(f"{self.path}: this pipeline gives no signal to write as sound; try .jsonl or .csv.")
        try:
            self._file = self._aside.open("wb")
        except OSError as cause:
            raise SinkError(f"{self.path}: cannot be written: {cause.strerror or cause}.") from cause
        self._format = FORMATS[self.path.suffix](self._file, about)
        if isinstance(self._format, wav.Wav):
            self.dropped = self._format.dropped

    def output(self, output: Output, level: str) -> None:
        """Write an output."""
        if self._format:
            self._try(self._format.output, output, level)

    def event(self, event: Event) -> None:
        """Write an event, where the format has events."""
        if self._format:
            self._try(self._format.event, event)

    def end(self, stream: str) -> None:
        """Nothing waits here."""

    def close(self) -> None:
        """Finish the file, still beside its place."""
        if self._format and self._file:
            self._try(self._format.close)
            self._try(self._file.flush)
            self._try(os.fsync, self._file.fileno())
            self._file.close()
            self._format = None

    def keep(self) -> None:
        """Put the finished file in its place. Raises SinkError."""
        self._try(self._aside.replace, self.path)

    def discard(self) -> None:
        """Remove what was written beside the place, if anything still is there."""
        if self._file:
            # On a full disk close fails too, for what it still holds; it is thrown away here anyhow.
            with contextlib.suppress(OSError):
                self._file.close()
        self._aside.unlink(missing_ok=True)

    def _try(self, act: Any, *arguments: Any) -> None:
        """Do it; a full disk becomes one sentence, and the last one: nothing more is written to a broken file."""
        try:
            act(*arguments)
        except OSError as cause:
            self._format = None
            raise SinkError(f"{self.path}: cannot be written: {cause.strerror or cause}.") from cause


class _JsonLines:
    """Outputs and events, one JSON document a line."""

    def __init__(self, file: IO[bytes], about: About) -> None:
        self._file, self._about = file, about

    def output(self, output: Output, level: str) -> None:
        self._file.write(_payload.encode({"type": "output", **_payload.state(self._about, output, level)}) + b"\n")

    def event(self, event: Event) -> None:
        self._file.write(_payload.encode({"type": "event", **_payload.event(self._about, event)}) + b"\n")

    def close(self) -> None:
        """Nothing is held back."""


class _Csv:
    """Outputs as rows of text."""

    def __init__(self, file: IO[bytes], about: About) -> None:
        self._file = file
        self._rows = csv.writer(self, lineterminator="\n")
        self._rows.writerow([*HEAD, *_columns(about)])

    def write(self, text: str) -> None:
        """Take a line from csv.writer."""
        self._file.write(text.encode())

    def output(self, output: Output, level: str) -> None:
        # str of a float32 is the shortest text that reads back as the same float32.
        values = [str(value) for value in output.values]
        self._rows.writerow([output.t_ns, output.stream, level, int(output.warming), *values])

    def event(self, event: Event) -> None:
        """Do nothing: a table of outputs has no place for events; the column `level` shows their effect."""

    def close(self) -> None:
        """Nothing is held back."""


class _Parquet:
    """Outputs as columns, written some thousands at a time."""

    def __init__(self, file: IO[bytes], about: About) -> None:
        self._pa = pa = libraries.pyarrow()
        head = [("t_ns", pa.int64()), ("stream", pa.string()), ("level", pa.string()), ("warming", pa.bool_())]
        self._schema = pa.schema([*head, *((name, pa.float32()) for name in _columns(about))])
        self._writer = pa.parquet.ParquetWriter(file, self._schema)
        self._head: list[tuple[int, str, str, bool]] = []
        self._values: list[Any] = []

    def output(self, output: Output, level: str) -> None:
        self._head.append((output.t_ns, output.stream, level, output.warming))
        self._values.append(output.values)
        if len(self._head) == PARQUET_ROWS:
            self._write()

    def event(self, event: Event) -> None:
        """Do nothing: a table of outputs has no place for events; the column `level` shows their effect."""

    def close(self) -> None:
        if self._head:
            self._write()
        self._or_give_up(self._writer.close)

    def _write(self) -> None:
        columns = [*zip(*self._head, strict=True), *np.stack(self._values).T]
        arrays = [self._pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._or_give_up(self._writer.write_batch, self._pa.record_batch(arrays, schema=self._schema))
        self._head, self._values = [], []

    def _or_give_up(self, act: Any, *arguments: Any) -> None:
        """Do it; a writer that failed would try again when it is freed, on a file that is closed by then."""
        try:
            act(*arguments)
        except OSError:
            self._writer.is_open = False
            raise


def _columns(about: About) -> list[str]:
    """Return the outputs' columns; one called like a column of HEAD is told apart from it."""
    return [f"{name}_output" if name in HEAD else name for name in about.names]


FORMATS: dict[str, type[Any]] = {".jsonl": _JsonLines, ".csv": _Csv, ".parquet": _Parquet, ".wav": wav.Wav}
