"""Text as a source, character by character: a file, or what is piped in."""

from __future__ import annotations

import codecs
import os
import select
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources._pace import Pace, PaceKey
from edgeseq.sources._replay import Replay
from edgeseq.sources._table import Column
from edgeseq.sources._times import Grid, start_ns
from edgeseq.types import Channel, Chunk, Plain, StreamSpec

BLOCK = 1 << 16
"""Bytes read at once."""
LOOK_S = 0.1
"""While nothing is piped in, it is looked this often whether the source was closed."""
_BAD, _REPLACEMENT = 0xDC00, 0xFFFD
"""Python decodes a byte b that is not UTF-8 as the code point _BAD + b, which no text can have."""


class Text:
    """The characters of a text as Unicode code points, in one channel; line ends as they are.

    path: the file, UTF-8, a byte-order mark left out; default: standard input, which ends when its writer does.
    rate_hz: characters a second, nominal: character i has the time start + i / rate_hz; default in a configuration: the
    bundle's. channels: the channel's name; default there the bundle's, otherwise "text". start: time of the first
    character, ISO 8601 or "now"; default: the Unix epoch. pace: "fast" (default), "real-time", or how many times faster
    than real time.

    Bytes that are not UTF-8 come out as U+FFFD, one each, and are counted in `dropped`.
    """

    def __init__(
        self,
        *,
        path: Path | None = None,
        rate_hz: float,
        channels: list[str | Column] | None = None,
        start: str = "1970-01-01",
        pace: PaceKey = "fast",
    ) -> None:
        names = [each if isinstance(each, str) else each.name for each in channels or ["text"]]
        if len(names) != 1:
            raise ConfigError(f"a text is one channel; {len(names)} are named ({', '.join(names)}).", "channels")
        self._path = path
        self._pace = Pace(pace)
        self._replay = Replay(path, start_ns(start), self._pace)
        self._grid = Grid(rate_hz, self._replay.start_ns)
        self.spec = StreamSpec((Channel(names[0]),), rate_hz)
        self.dropped: Counter[str] = Counter()
        self.replays = path is not None

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a short file, written to the temporary folder."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.txt"
        path.write_text("Grüße, 世界 \U0001f600\n" * 40, "utf-8", newline="\n")
        return {"path": path, "rate_hz": 1000.0}

    def check(self) -> str:
        """See that the file is there; it is not read."""
        if self._path is not None and not self._path.is_file():
            raise ConfigError(f"{self._path}: there is no such file.")
        where = "standard input" if self._path is None else f"{self._path.stat().st_size:,} bytes from {self._path}"
        return f"reads text, {where}, a character each {1 / self.spec.rate_hz:g} s, {self._pace.words()}"

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._pace.close()

    def set_state(self, state: Plain) -> None:
        """Go on behind the chunk that had this state. Raises StateError where the file is another by now."""
        self._replay.set_state(state)
        self._grid = Grid(self.spec.rate_hz, self._replay.start_ns)

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; the last one is marked."""
        return self._replay.marked(self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        """Yield all chunks."""
        most = self._pace.most_rows(self.spec.rate_hz, BLOCK)
        done = 0
        for points, last in self._points():
            for begin in range(0, max(1, len(points)), most):
                part = points[begin : begin + most]
                t_ns = self._grid.times(np.arange(done, done + len(part), dtype=np.int64))
                done += len(part)
                if self._pace.closed or (len(part) and not self._pace.wait("", int(t_ns[-1]))):
                    return
                ends = last and begin + most >= len(points)
                if len(part) or (ends and done):
                    yield Chunk(t_ns, part[:, None].astype(np.float32), last=ends)

    def _points(self) -> Iterator[tuple[np.ndarray[Any, np.dtype[np.uint32]], bool]]:
        """Yield code points, and whether they are the last."""
        decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        for raw in self._raw():
            text = decoder.decode(raw, final=not raw)
            points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4").copy()
            bad = points & 0xFFFFFF00 == _BAD
            if bad.any():
                self.dropped["not_utf8"] += int(bad.sum())
                points[bad] = _REPLACEMENT
            yield points, not raw

    def _raw(self) -> Iterator[bytes]:
        """Yield bytes as they come, then b"" at the end. Raises ConfigError or SourceError."""
        with ExitStack() as stack:
            try:
                file = sys.stdin.buffer.fileno() if self._path is None else os.open(self._path, os.O_RDONLY)
                if self._path is not None:
                    stack.callback(os.close, file)
                while not self._pace.closed:
                    # A file is always ready; a pipe may keep us waiting, and close() must still be heard.
                    if not select.select([file], [], [], LOOK_S)[0]:
                        continue
                    raw = os.read(file, BLOCK)
                    yield raw
                    if not raw:
                        return
            except FileNotFoundError as cause:
                raise ConfigError(f"{self._path}: there is no such file.") from cause
            except OSError as cause:
                where = "standard input" if self._path is None else self._path
                raise SourceError(f"{where}: cannot be read: {cause.strerror or cause}.") from cause
