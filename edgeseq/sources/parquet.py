"""A Parquet file as a source, read batch by batch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _table, _times
from edgeseq.sources._pace import PaceKey
from edgeseq.sources._table import Batch, Column, Missing, TableSource, Wanted
from edgeseq.sources._times import TimeFormat
from edgeseq.types import Frames, TimesNs


class Parquet(TableSource):
    """Columns of numbers in a Parquet file; one machine, or many told apart by a key column.

    The parameters are those of the csv source, without delimiter and header. A null is a missing value. A time column
    of a timestamp type is taken as it is, whatever time_format says; without a zone it is UTC. Raises ConfigError
    where the library is missing: it comes with the extra 'parquet'.
    """

    def __init__(
        self,
        *,
        path: Path,
        channels: list[str | Column],
        rate_hz: float,
        stream_column: str | None = None,
        streams: list[str | int] | None = None,
        time_column: str | None = None,
        time_format: TimeFormat = "s",
        start: str = "1970-01-01",
        pace: PaceKey = "fast",
        missing: Missing = "error",
        interleave: bool = False,
    ) -> None:
        super().__init__(
            _ParquetReader(path),
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
        pa = libraries.pyarrow()
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.parquet"
        pa.parquet.write_table(
            pa.table({"unit": [1, 2, 1, 2, 1], "a": [0.5, 1.5, 2.5, 3.5, 4.5], "b": [1, 2, 3, 4, 5]}), path
        )
        return {"path": path, "channels": ["a", "b"], "rate_hz": 1.0, "stream_column": "unit"}


class _ParquetReader:
    """Reads the file's columns, some rows at a time."""

    row_word = "row"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._pa = libraries.pyarrow()

    def columns(self) -> list[str]:
        """Return the columns' names and see that there are rows."""
        with self._opened() as file:
            if file.metadata.num_rows == 0:
                raise SourceError(f"{self.path} has columns but no rows.")
            names: list[str] = file.schema_arrow.names
        twice = [name for name in names if names.count(name) > 1]
        if twice:
            raise SourceError(f"{self.path}: has the column '{twice[0]}' twice; one of them must go.")
        return names

    def keys(self, column: str) -> Iterator[Sequence[str]]:
        """Yield the column's cells as text."""
        row = 1
        for batch in self._read([column]):
            yield self._keys(batch.column(0), column, row)
            row += batch.num_rows

    def batches(self, wanted: Wanted) -> Iterator[Batch]:
        """Yield the rows."""
        extra = [column for column in (wanted.stream_column, wanted.time_column) if column is not None]
        row = 1
        for batch in self._read([*wanted.columns, *extra]):
            values = [self._numbers(batch.column(column), column, row) for column in wanted.columns]
            key, time = wanted.stream_column, wanted.time_column
            yield Batch(
                rows=np.arange(row, row + batch.num_rows),
                keys=None if key is None else self._keys(batch.column(key), key, row),
                t_ns=None if time is None else self._times(batch.column(time), row, wanted),
                values=np.stack(values, axis=1),
            )
            row += batch.num_rows

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """Open the file; whatever is wrong with it becomes one sentence."""
        pa = self._pa
        try:
            # Files that carry checksums are read by them; a value altered in others cannot be told.
            with pa.parquet.ParquetFile(self.path, page_checksum_verification=True) as file:
                yield file
        except FileNotFoundError as cause:
            raise ConfigError(f"{self.path}: there is no such file.") from cause
        except (pa.ArrowException, OSError) as cause:
            what = str(cause).splitlines()[0].rstrip(".")
            raise SourceError(
                f"{self.path}: not a whole Parquet file: {what}. Copy it again; a file that is still being written "
                "cannot be read."
            ) from cause

    def _read(self, columns: list[str]) -> Iterator[Any]:
        """Yield record batches of these columns."""
        with self._opened() as file:
            for batch in file.iter_batches(batch_size=_table.BATCH_ROWS, columns=list(dict.fromkeys(columns))):
                if batch.num_rows:
                    yield batch

    def _keys(self, column: Any, name: str, row: int) -> list[str]:
        """Return a key column as text."""
        keys = column.to_pylist()
        for place, key in enumerate(keys):
            if key is None or str(key).strip() == "":
                raise SourceError(f"{self.path}, row {row + place}, column '{name}': a row that belongs to no stream.")
        return [str(key).strip() for key in keys]

    def _numbers(self, column: Any, name: str, row: int) -> Frames:
        """Return float32[n]; NaN where the column is null."""
        types = self._pa.types
        kind = column.type
        if not (types.is_integer(kind) or types.is_floating(kind) or types.is_decimal(kind) or types.is_boolean(kind)):
            raise SourceError(f"{self.path}, column '{name}': holds {kind}, not numbers.")
        wide = column.cast(self._pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        with np.errstate(over="ignore"):
            narrow: Frames = wide.astype(np.float32)
        beyond = np.flatnonzero(np.isfinite(wide) & ~np.isfinite(narrow))
        if len(beyond):
            raise SourceError(
                f"{self.path}, row {row + int(beyond[0])}, column '{name}': {wide[beyond[0]]:g} is beyond what float32 "
                "holds."
            )
        return narrow

    def _times(self, column: Any, row: int, wanted: Wanted) -> TimesNs:
        """Return int64[n] nanoseconds."""
        pa = self._pa
        where = f"column '{wanted.time_column}'"
        if column.null_count:
            first = row + int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
            raise SourceError(f"{self.path}, row {first}, {where}: there is no time.")
        if pa.types.is_timestamp(column.type):
            try:
                times: TimesNs = column.cast(pa.timestamp("ns", tz=column.type.tz)).cast(pa.int64()).to_numpy()
            except pa.ArrowInvalid as cause:
                raise SourceError(
                    f"{self.path}, rows {row} to {row + len(column) - 1}, {where}: a time lies beyond the years 1678 "
                    "to 2262, which 64 bits of nanoseconds hold."
                ) from cause
            return times
        cells = column.to_pylist()
        try:
            if wanted.time_format == "iso":
                return np.array([_times.iso_ns(cell) for cell in cells], np.int64)
            # repr gives a float's shortest exact text: 0.1 s is then 100,000,000 ns.
            numbers = [_times.number_ns(str(cell), wanted.time_format, wanted.start) for cell in cells]
            return np.array(numbers, np.int64)
        except (TypeError, ValueError) as cause:
            raise SourceError(
                f"{self.path}, rows {row} to {row + len(cells) - 1}, {where}: not a time in the format "
                f"'{wanted.time_format}' (time_format): {cause}."
            ) from cause
