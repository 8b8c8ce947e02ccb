"""Feature frames into a file: NumPy archive, CSV, Parquet. It appears whole, under its name, or not at all."""

from __future__ import annotations

import csv
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Protocol, Self

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SinkError
from edgeseq.recordings.framing import Part
from edgeseq.tables import suggest
from edgeseq.types import StreamSpec

HEAD = ("t_ns", "stream", "gap")
"""The columns of CSV and Parquet before the frames' own, which are named as the chain names them."""
PIECE = 1 << 20


class _Format(Protocol):
    """Writes into one open file."""

    def write(self, part: Part) -> None: ...

    def close(self) -> None: ...


class FramesFile:
    """A file of frames, its format told by the ending; used with `with`, kept where `keep` is called in it.

    .npz: t_ns int64[n]; frames float32[n, features]; gap bool[n], whether something was lost between a frame and the
    one before it; stream int32[n], its place in streams str[s]; names, units str[features]; rate_hz; chain, the
    FeatureTables' digest. .csv: a line `# {JSON}` with names, units, rate_hz and chain, a header, a frame a row;
    numbers read back as the same float32. .parquet: the same columns, the JSON as the schema's metadata `edgeseq`.

    Raises ConfigError for another ending, SinkError where nothing can be written.
    """

    def __init__(self, path: Path, spec: StreamSpec, chain: str) -> None:
        if path.suffix not in FORMATS:
            raise ConfigError(f"{path}: the ending tells the format. {suggest(path.suffix, FORMATS)}")
        if path.suffix == ".parquet":
            libraries.pyarrow()
        self.path = path
        self._aside = path.with_name(f".{path.name}.partial")
        about = {
            "names": list(spec.names),
            "units": [channel.unit for channel in spec.channels],
            "rate_hz": spec.rate_hz,
            "chain": chain,
        }
        self._try(path.parent.mkdir, parents=True, exist_ok=True)
        self._file: IO[bytes] = self._try(self._aside.open, "wb")
        self._format: _Format = self._try(FORMATS[path.suffix], self._file, about)

    def write(self, part: Part) -> None:
        """Add frames."""
        self._try(self._format.write, part)

    def keep(self) -> None:
        """Finish the file and put it in its place."""
        self._try(self._format.close)
        self._try(self._file.flush)
        self._try(os.fsync, self._file.fileno())
        self._file.close()
        self._try(self._aside.replace, self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # On a full disk close fails too, for what it still holds; what was not kept is thrown away anyhow.
        with suppress(OSError):
            self._file.close()
        self._aside.unlink(missing_ok=True)

    def _try(self, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Do it; a full disk becomes one sentence."""
        try:
            return act(*arguments, **options)
        except OSError as cause:
            raise SinkError(f"{self.path}: cannot be written: {cause.strerror or cause}.") from cause


class _Npz:
    """Arrays, gathered in unnamed files until their length is known."""

    def __init__(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        self._file, self._about = file, about
        folder = Path(file.name).parent
        self._types = {"t_ns": "<i8", "frames": "<f4", "gap": "|b1", "stream": "<i4"}
        self._spools = {name: tempfile.TemporaryFile(dir=folder) for name in self._types}  # noqa: SIM115 - closed below
        self._streams: dict[str, int] = {}
        self._count = 0

    def write(self, part: Part) -> None:
        place = self._streams.setdefault(part.stream, len(self._streams))
        arrays = {
            "t_ns": part.t_ns, "frames": part.frames, "gap": part.gaps, "stream": np.full(len(part.t_ns), place),
        }  # fmt: skip
        for name, array in arrays.items():
            self._spools[name].write(np.ascontiguousarray(array, self._types[name]).data)
        self._count += len(part.t_ns)

    def close(self) -> None:
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(self._types, (self._count,))
        shapes["frames"] = (self._count, len(self._about["names"]))
        known = {name: np.asarray(value) for name, value in self._about.items()}
        # An empty list has no type of its own; NumPy would call it one of numbers.
        known["streams"] = np.asarray(list(self._streams), np.str_)
        with zipfile.ZipFile(self._file, "w") as archive:
            # Members carry no time of writing, so the same frames give the same bytes.
            for name, spool in self._spools.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                    head = {"descr": self._types[name], "fortran_order": False, "shape": shapes[name]}
                    np.lib.format.write_array_header_1_0(member, head)
                    spool.seek(0)
                    shutil.copyfileobj(spool, member, PIECE)
                spool.close()
            for name, array in known.items():
                with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)


class _Csv:
    """Rows of text."""

    def __init__(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        self._file = file
        self._rows = csv.writer(self, lineterminator="\n")
        self._file.write(f"# {json.dumps(about)}\n".encode())
        self._rows.writerow([*HEAD, *_columns(about["names"])])

    def write(self, part: Part | str) -> None:
        if isinstance(part, str):  # a line from csv.writer
            self._file.write(part.encode())
            return
        for t_ns, gap, frame in zip(part.t_ns.tolist(), part.gaps.tolist(), part.frames, strict=True):
            # str of a float32 is the shortest text that reads back as the same float32.
            self._rows.writerow([t_ns, part.stream, int(gap), *(str(value) for value in frame)])

    def close(self) -> None:
        """Nothing is held back."""


class _Parquet:
    """Columns, written some thousands of rows at a time."""

    def __init__(self, file: IO[bytes], about: Mapping[str, Any]) -> None:
        self._pa = pa = libraries.pyarrow()
        head = [("t_ns", pa.int64()), ("stream", pa.string()), ("gap", pa.bool_())]
        frames = [
            pa.field(name, pa.float32(), metadata={"unit": unit})
            for name, unit in zip(_columns(about["names"]), about["units"], strict=True)
        ]
        self._schema = pa.schema([*head, *frames], metadata={"edgeseq": json.dumps(about)})
        self._writer = pa.parquet.ParquetWriter(file, self._schema)
        self._parts: list[Part] = []
        self._count = 0

    def write(self, part: Part) -> None:
        self._parts.append(part)
        self._count += len(part.t_ns)
        if self._count >= PIECE // len(self._schema):
            self._flush()

    def close(self) -> None:
        self._flush()
        self._or_give_up(self._writer.close)

    def _flush(self) -> None:
        if not self._count:
            return
        streams = np.repeat([part.stream for part in self._parts], [len(part.t_ns) for part in self._parts])
        t_ns, gaps, frames = (
            np.concatenate([getattr(part, name) for part in self._parts]) for name in ("t_ns", "gaps", "frames")
        )
        columns = [t_ns, streams, gaps, *frames.T]
        arrays = [self._pa.array(column, field.type) for column, field in zip(columns, self._schema, strict=True)]
        self._or_give_up(self._writer.write_batch, self._pa.record_batch(arrays, schema=self._schema))
        self._parts, self._count = [], 0

    def _or_give_up(self, act: Callable[..., Any], *arguments: Any) -> None:
        """Do it; a writer that failed would try again when it is freed, on a file that is closed by then."""
        try:
            act(*arguments)
        except OSError:
            self._writer.is_open = False
            raise


def _columns(names: list[str]) -> list[str]:
    """Return the frames' columns; one called like a column of HEAD is told apart from it."""
    return [f"{name}_frame" if name in HEAD else name for name in names]


FORMATS: dict[str, Callable[..., _Format]] = {".npz": _Npz, ".csv": _Csv, ".parquet": _Parquet}
