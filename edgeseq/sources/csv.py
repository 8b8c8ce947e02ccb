"""A CSV file as a source, read in bounded memory."""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _table, _times
from edgeseq.sources._pace import PaceKey
from edgeseq.sources._table import Batch, Column, Missing, TableSource, Wanted
from edgeseq.sources._times import TimeFormat
from edgeseq.types import Frames

MAX_LINE = 1 << 20
"""Characters; a longer line is no row of sensor values, and is not read on."""
MISSING = frozenset({"", "nan", "na", "n/a", "null"})
"""Cells without a value, in any case."""
EXCERPT = 40


class Csv(TableSource):
    """Rows of numbers with a header line, UTF-8; one machine, or many told apart by a key column.

    path: the file. channels: the columns to read, by name, or tables { name, column, unit } where a column is called
    otherwise than the channel; default in a configuration: the bundle's channels. rate_hz: samples a second; default
    there: the bundle's.
    delimiter: one character; " " stands for any run of blanks. header: the columns' names, where the file has no
    header line.
    stream_column: the column whose value says which machine a row is of; each has its own state. streams: only these.
    time_column, time_format: when a sample was taken: numbers of "s" (default), "ms", "us", "ns" counted from `start`,
    or "iso", ISO 8601 text (UTC unless it says otherwise). Without it sample i is taken at start + i / rate_hz. A step
    longer than 1.5 periods is a gap; time that runs backwards is an error, as are first rows at another rate than
    rate_hz, by more than 5 %.
    start: ISO 8601 or "now"; default: the Unix epoch, so that every replay gives the same times.
    pace: "fast" (default), "real-time", or how many times faster than real time.
    missing: what an empty cell, NaN or infinity is: "error" (default); "hold", the last good value of that machine and
    channel (rows before the first good one are dropped); "drop", the row is dropped and a gap follows; both are
    counted in `dropped`; "keep", it is left to the features. Text where a number should be is always an error.
    interleave: let all machines run side by side, merged by time, one sample of each a tick; the table is held in
    memory for that, at most 512 MiB.
    """

    def __init__(
        self,
        *,
        path: Path,
        channels: list[str | Column],
        rate_hz: float,
        delimiter: str = ",",
        header: list[str] | None = None,
        stream_column: str | None = None,
        streams: list[str | int] | None = None,
        time_column: str | None = None,
        time_format: TimeFormat = "s",
        start: str = "1970-01-01",
        pace: PaceKey = "fast",
        missing: Missing = "error",
        interleave: bool = False,
    ) -> None:
        if len(delimiter) != 1 or delimiter in '\r\n"':
            raise ConfigError(f"delimiter must be one character, not {delimiter!r}.")
        super().__init__(
            _CsvReader(path, delimiter, header),
            channels=channels,
            rate_hz=rate_hz,
            stream_column=stream_column,
            streams=streams,
            time_column=time_column,
            time_format=time_format,
            start=start,
            pace=pace,
            missing=missing,
            interleave=interleave,
        )

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a small file of two machines, written to the temporary folder."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.csv"
        path.write_text("unit,a,b\n1,0.5,1\n2,1.5,2\n1,2.5,3\n2,3.5,4\n1,4.5,5\n", "utf-8")
        return {"path": path, "channels": ["a", "b"], "rate_hz": 1.0, "stream_column": "unit"}


class _CsvReader:
    """Reads the file line by line, with the line's number for every complaint."""

    row_word = "line"

    def __init__(self, path: Path, delimiter: str, header: list[str] | None) -> None:
        self.path = path
        self._delimiter = delimiter
        self._header = header

    def columns(self) -> list[str]:
        """Return the header and see that a row follows."""
        rows = self._rows()
        header = next(rows)[1]
        twice = [name for name in header if header.count(name) > 1]
        if twice:
            raise SourceError(f"{self.path}: its header has the column '{twice[0]}' twice; one of them must go.")
        if next(rows, None) is None:
            raise SourceError(f"{self.path} has a header but no rows.")
        return header

    def keys(self, column: str) -> Iterator[Sequence[str]]:
        """Yield the column's cells."""
        rows = self._rows()
        place = next(rows)[1].index(column)
        for numbered in _batched(rows):
            keys = [cells[place].strip() for _, cells in numbered]
            if "" in keys:
                line = numbered[keys.index("")][0]
                raise SourceError(f"{self.path}, line {line}, column '{column}': a row that belongs to no stream.")
            yield keys

    def batches(self, wanted: Wanted) -> Iterator[Batch]:
        """Yield the rows."""
        rows = self._rows()
        header = next(rows)[1]
        places = [header.index(column) for column in wanted.columns]
        key = None if wanted.stream_column is None else header.index(wanted.stream_column)
        time = None if wanted.time_column is None else header.index(wanted.time_column)
        for numbered in _batched(rows):
            yield Batch(
                rows=np.array([line for line, _ in numbered], np.int64),
                keys=None if key is None else [cells[key].strip() for _, cells in numbered],
                t_ns=None
                if time is None
                else np.array([self._time(n, c[time], wanted) for n, c in numbered], np.int64),
                values=self._values(numbered, places, wanted.columns),
            )

    def _rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, cells): first the header, then the rows, each as long; a blank line is none."""
        try:
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                rows = self._split(file)
                if self._header is None:
                    number, header = next((row for row in rows if any(cell.strip() for cell in row[1])), (0, []))
                    if not header:
                        raise SourceError(f"{self.path} is empty; a header line and rows are expected.")
                else:
                    number, header = 0, self._header
                header = [name.strip() for name in header]
                yield number, header
                for number, cells in _without_blank_lines(rows, len(header)):
                    if len(cells) != len(header):
                        raise SourceError(
                            f"{self.path}, line {number}: {len(cells)} cells where the header has {len(header)}. "
                            f"The file is damaged or cut off, or its delimiter is not {self._delimiter!r}."
                        )
                    yield number, cells
        except UnicodeDecodeError as cause:
            raise SourceError(
                f"{self.path}: not UTF-8 text ({cause.reason}). Is it a CSV file, saved as UTF-8?"
            ) from cause
        except FileNotFoundError as cause:
            raise ConfigError(f"{self.path}: there is no such file.") from cause
        except OSError as cause:
            raise SourceError(f"{self.path}: cannot be read: {cause.strerror or cause}.") from cause

    def _split(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """Yield (line number, cells) of every line; of a blank one, no cells or one empty one."""
        if self._delimiter == " ":
            for number, line in enumerate(_lines(file, self.path), start=1):
                yield number, line.split()
            return
        reader = csv.reader(_lines(file, self.path), delimiter=self._delimiter, strict=True)
        try:
            for cells in reader:
                yield reader.line_num, cells
        except csv.Error as cause:
            raise SourceError(f"{self.path}, line {reader.line_num}: not CSV: {cause}.") from cause

    def _values(
        self, numbered: Sequence[tuple[int, list[str]]], places: Sequence[int], columns: Sequence[str]
    ) -> Frames:
        """Return float32[n, channels]; NaN where there is no value. Raises SourceError for text."""
        cells = [[row[place] for place in places] for _, row in numbered]
        try:
            # The quick way reads whole batches; whatever it cannot read is looked at cell by cell.
            values = np.array(cells, dtype=np.float64)
            plain = not any("_" in cell for row in cells for cell in row)
        except ValueError:
            plain = False
        if not plain:
            values = np.array(
                [
                    [self._number(line, cell, column) for cell, column in zip(row, columns, strict=True)]
                    for (line, _), row in zip(numbered, cells, strict=True)
                ]
            )
        with np.errstate(over="ignore"):
            narrow: Frames = values.astype(np.float32)
        if (np.isfinite(values) & ~np.isfinite(narrow)).any():
            row, column = np.argwhere(np.isfinite(values) & ~np.isfinite(narrow))[0].tolist()
            raise SourceError(
                f"{self.path}, line {numbered[row][0]}, column '{columns[column]}': {values[row, column]:g} is beyond "
                "what float32 holds."
            )
        return narrow

    def _number(self, line: int, cell: str, column: str) -> float:
        """Return a cell's number, NaN where it is missing."""
        text = cell.strip()
        if text.lower() in MISSING:
            return float("nan")
        try:
            if "_" not in text:
                return float(text)
        except ValueError:
            pass
        hint = " Decimal commas are not read: write points." if "," in text else ""
        raise SourceError(f"{self.path}, line {line}, column '{column}': {_short(text)} is not a number.{hint}")

    def _time(self, line: int, cell: str, wanted: Wanted) -> int:
        """Return a cell's time in ns."""
        try:
            if wanted.time_format == "iso":
                return _times.iso_ns(cell.strip())
            return _times.number_ns(cell, wanted.time_format, wanted.start)
        except ValueError:
            raise SourceError(
                f"{self.path}, line {line}, column '{wanted.time_column}': {_short(cell)} is not a time in the format "
                f"'{wanted.time_format}' (time_format)."
            ) from None


def _without_blank_lines(rows: Iterator[tuple[int, list[str]]], columns: int) -> Iterator[tuple[int, list[str]]]:
    """Leave out blank lines; in a table of one column they are rows without a value, unless only blank ones follow."""
    blank: list[int] = []
    for number, cells in rows:
        if len(cells) <= 1 and not "".join(cells).strip():
            blank += [number] * (columns == 1)
            continue
        for line in blank:
            yield line, [""]
        blank.clear()
        yield number, cells


def _batched(rows: Iterator[tuple[int, list[str]]]) -> Iterator[list[tuple[int, list[str]]]]:
    """Yield lists of BATCH_ROWS rows."""
    batch = []
    for row in rows:
        batch.append(row)
        if len(batch) == _table.BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Yield lines of bounded length."""
    while line := file.readline(MAX_LINE):
        if len(line) == MAX_LINE:
            raise SourceError(f"{path}: a line of over {MAX_LINE} characters; is it a CSV file?")
        yield line


def _short(text: str) -> str:
    """Return text for a message, quoted and not too long."""
    return repr(text if len(text) <= EXCERPT else text[:EXCERPT] + "...")
