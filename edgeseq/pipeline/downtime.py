"""The time in which no process was there to take what a live source gave."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from edgeseq.types import Chunk

log = logging.getLogger(__name__)


class Downtime:
    """Marks the first samples of each stream behind a downtime as behind a gap, and says what is missing.

    rate_hz: samples a second, of which the missing ones are counted.
    """

    def __init__(self, rate_hz: float) -> None:
        self._rate_hz = rate_hz
        self._last_ns: dict[str, int] = {}

    def begin(self, last_ns: Mapping[str, int]) -> None:
        """Expect streams whose last sample before it had such a time, in ns."""
        self._last_ns = dict(last_ns)

    def marked(self, chunk: Chunk) -> Chunk:
        """Return a chunk, marked where a downtime ends with it."""
        if chunk.stream not in self._last_ns or not len(chunk.t_ns):
            return chunk
        last_ns, next_ns = self._last_ns.pop(chunk.stream), int(chunk.t_ns[0])
        seconds = (next_ns - last_ns) / 1e9
        log.warning(
            "%s: nothing was taken between %s and %s, %.3f s or about %d samples: the service was down. It is a gap.",
            f"stream '{chunk.stream}'" if chunk.stream else "the stream",
            _iso(last_ns),
            _iso(next_ns),
            seconds,
            max(0, round(seconds * self._rate_hz) - 1),
            extra={"stream": chunk.stream, "last_t_ns": last_ns, "next_t_ns": next_ns},
        )
        return replace(chunk, gap=True)


def _iso(t_ns: int) -> str:
    """Return a time as ISO 8601, to the microsecond."""
    return datetime.fromtimestamp(t_ns // 10**9, UTC).replace(microsecond=t_ns % 10**9 // 1000).isoformat()
