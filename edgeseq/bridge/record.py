"""Writes down what a source gives, as a table that the sources csv and parquet read back: t_ns, then the channels."""

from __future__ import annotations

import contextlib
import csv
import io
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SinkError
from edgeseq.tables import suggest
from edgeseq.types import Chunk, Source, StreamSpec

ENDINGS = (".csv", ".parquet")


class Recording:
    """A table in the making. stream: a column of it, where there are several.

    CSV numbers read back as the same float32. What has been written of a CSV file stays, whatever happens then.
    """

    def __init__(self, path: Path, spec: StreamSpec, *, streams: bool) -> None:
        """Begin the file. Raises ConfigError for another ending or a file that is there, SinkError for a full disk."""
        if path.suffix not in ENDINGS:
            raise ConfigError(f"{path}: the ending tells the format. {suggest(path.suffix, ENDINGS)}")
        self._names = ["t_ns", *(["stream"] if streams else []), *spec.names]
        twice = {name for name in self._names if self._names.count(name) > 1}
        if twice:
            raise ConfigError(f"a channel is called {twice.pop()}, as a column of the recording is; rename it.")
        self._path, self._streams = path, streams
        self._pa = libraries.pyarrow() if path.suffix == ".parquet" else None
        try:
            self._file = path.open("xb")
        except FileExistsError as cause:
            raise ConfigError(f"{path} is there already; recordings are not written over.") from cause
        except OSError as cause:
            raise SinkError(f"{path}: cannot be written: {cause.strerror or cause}.") from cause
        self._writer: Any = None
        if self._pa:
            kinds = [
                self._pa.int64(),
                *([self._pa.string()] if streams else []),
                *[self._pa.float32()] * len(spec.names),
            ]
            self._schema = self._pa.schema(list(zip(self._names, kinds, strict=True)))
            self._writer = self._pa.parquet.ParquetWriter(self._file, self._schema)
        else:
            # The names are the device's: there may be commas in them.
            header = io.StringIO()
            csv.writer(header, lineterminator="\n").writerow(self._names)
            self._file.write(header.getvalue().encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._file:
            if self._writer:
                self._writer.close()

    def write(self, chunk: Chunk) -> None:
        """Write a chunk's samples. Raises SinkError where the disk is full."""
        try:
            if self._pa and len(chunk.t_ns):
                stream = [[chunk.stream] * len(chunk.t_ns)] if self._streams else []
                columns = [chunk.t_ns, *stream, *np.ascontiguousarray(chunk.values.T)]
                arrays = [self._pa.array(c, field.type) for c, field in zip(columns, self._schema, strict=True)]
                self._writer.write_batch(self._pa.record_batch(arrays, schema=self._schema))
            elif not self._pa:
                stream_cell = f",{chunk.stream}" if self._streams else ""
                rows = zip(chunk.t_ns.tolist(), chunk.values, strict=True)
                self._file.write(b"".join(f"{t}{stream_cell},{','.join(map(str, row))}\n".encode() for t, row in rows))
        except OSError as cause:
            raise SinkError(f"{self._path}: cannot be written: {cause.strerror or cause}.") from cause


class Recorder:
    """Takes a source's chunks until so many samples, so many seconds by the samples' own times, or `stop`."""

    def __init__(self, source: Source, *, samples: int | None, seconds: float | None) -> None:
        self.samples = self.gaps = 0
        self._source, self._most, self._seconds = source, samples, seconds
        self._timer: threading.Timer | None = None

    def stop(self) -> None:
        """End it soon, from any thread."""
        self._source.close()

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks that belong to the recording."""
        if self._seconds is not None:
            self._timer = threading.Timer(self._seconds, self.stop)
            self._timer.daemon = True
            self._timer.start()
        with contextlib.ExitStack() as stack:
            if self._timer:
                stack.callback(self._timer.cancel)
            stack.callback(self._source.close)
            for chunk in self._source:
                left = len(chunk.t_ns) if self._most is None else self._most - self.samples
                taken = Chunk(chunk.t_ns[:left], chunk.values[:left], chunk.gap, chunk.stream)
                self.samples += len(taken.t_ns)
                self.gaps += taken.gap
                yield taken
                if self.samples == self._most:
                    return
