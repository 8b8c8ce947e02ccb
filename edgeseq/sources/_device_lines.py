"""A device that writes lines of text, as chunks; a sample's time is when its line arrived."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from edgeseq.errors import ConfigError
from edgeseq.sources._arrivals import Arrivals
from edgeseq.sources._clock import now_ns
from edgeseq.tables import suggest
from edgeseq.types import Chunk, StreamSpec
from firmware_bridge import lines
from firmware_bridge.port import Port

LOOK_S = 0.1
"""The longest wait: whether the source was closed is looked at this often."""


class Lines:
    """Reads lines over one connection after another. A line that is no row is counted, and a gap."""

    def __init__(self, spec: StreamSpec, reader: lines.Reader, words: str) -> None:
        self.words = f"from lines of text ({words}), dated as they arrive"
        self._spec = spec
        self._reader = reader
        self._decoder = lines.LineDecoder(reader)
        self._before: Counter[str] = Counter()
        self._gap = self._given = False
        self._arrivals = Arrivals(spec.rate_hz)

    @property
    def dropped(self) -> Counter[str]:
        """Lines, by reason, over all connections."""
        return self._before.copy() + Counter({f"{why}_lines": n for why, n in self._decoder.dropped.copy().items()})

    def interrupted(self) -> None:
        """Note that samples are lost here."""
        self._gap = self._given

    def end(self) -> Iterator[Chunk]:
        """Mark the end, if there was anything."""
        if self._given:
            yield Chunk(np.empty(0, np.int64), np.empty((0, len(self._spec.channels)), np.float32), last=True)

    def read(self, port: Port, closed: threading.Event) -> Iterator[Chunk]:
        """Yield chunks until closed. Raises PortError where the device goes."""
        self._before, self._decoder = self.dropped, lines.LineDecoder(self._reader)
        while not closed.is_set():
            data = port.read(LOOK_S)
            rows: list[lines.Row] = []
            now = now_ns()
            for row in self._decoder.feed(data):
                if row is None:
                    yield from self._chunk(rows, now)
                    rows, self._gap = [], self._given
                else:
                    rows.append(row)
            yield from self._chunk(rows, now)

    def _chunk(self, rows: Sequence[lines.Row], now: int) -> Iterator[Chunk]:
        """Yield rows that have arrived together."""
        if not rows:
            return
        t_ns, gap = self._arrivals.dated(len(rows), now, lost=self._gap)
        self._gap, self._given = False, True
        yield Chunk(t_ns, np.array(rows, np.float32), gap=gap)


def reader(
    columns: Sequence[str], protocol: str, header: Sequence[str] | None, delimiter: str, pattern: str | None
) -> lines.Reader:
    """Return what makes a row of a line. Raises ConfigError."""
    if protocol == "json":
        return lines.json_lines(columns)
    if protocol == "csv":
        if len(delimiter) != 1:
            raise ConfigError(f"delimiter is one character, not {delimiter!r}.", "delimiter")
        cells = list(columns) if header is None else list(header)
        for column in columns:
            if column not in cells:
                raise ConfigError(f"header has no cell '{column}'. {suggest(column, cells)}", "header")
        return lines.csv(cells, columns, delimiter)
    if pattern is None:
        raise ConfigError(
            "protocol = 'regex' needs pattern, an expression with a group (?P<name>...) for each channel."
        )
    try:
        return lines.pattern(columns, pattern)
    except ValueError as cause:
        raise ConfigError(str(cause), "pattern") from cause
