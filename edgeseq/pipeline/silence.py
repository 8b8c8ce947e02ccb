"""A sensor that has fallen silent is an alert like any other, and no reason to wait."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from edgeseq.types import Event

LEVEL = "silent"


@dataclass(slots=True)
class _Heard:
    """When a stream was last heard: `at_s` on the monotonic clock, `t_ns` on the samples'."""

    at_s: float
    t_ns: int


class Silence:
    """Raises an alert for each stream of which nothing has come for `after_s` seconds, clears it when something does.

    Before the first stream is heard of, the source as a whole, "", is listened to. The alert's time lies on the
    samples' own clock, after_s behind the last one. after_s: None never raises anything.
    """

    def __init__(self, after_s: float | None) -> None:
        self._after_s = math.inf if after_s is None else after_s
        # The one heard longest ago comes first, and is all that has to be looked at.
        self._heard: OrderedDict[str, _Heard] = OrderedDict()
        self._silent: dict[str, _Heard] = {}

    @property
    def streams(self) -> dict[str, int]:
        """The streams that are silent now, with the times of their last samples, ns."""
        return {stream: heard.t_ns for stream, heard in self._silent.copy().items()}

    def resume(self, streams: Mapping[str, int], silent: Mapping[str, int], now_s: float) -> None:
        """Listen to streams that were heard up to such times by a process before this one, and to those silent then."""
        for stream, t_ns in streams.items():
            self.heard(stream, t_ns, now_s)
        for stream, t_ns in silent.items():
            self._heard.pop(stream, None)
            self._silent[stream] = _Heard(now_s, t_ns)

    def begin(self, now_s: float) -> None:
        """Listen from now on, for the first samples too."""
        self._heard[""] = _Heard(now_s, time.time_ns())

    def heard(self, stream: str, t_ns: int, now_s: float) -> list[Event]:
        """Take note of samples up to t_ns; return the end of a silence."""
        events = self._cleared(stream, t_ns)
        if stream and ("" in self._heard or "" in self._silent):
            events = [*self._cleared("", t_ns), *events]
            self._heard.pop("", None)
        self._heard[stream] = _Heard(now_s, t_ns)
        self._heard.move_to_end(stream)
        return events

    def ended(self, stream: str) -> None:
        """Forget a stream: nothing more is expected of it."""
        self._heard.pop(stream, None)
        self._silent.pop(stream, None)

    def check(self, now_s: float) -> list[Event]:
        """Return the alerts of streams that have become silent."""
        events = []
        while self._heard:
            stream, heard = next(iter(self._heard.items()))
            if now_s - heard.at_s < self._after_s:
                break
            self._silent[stream] = self._heard.pop(stream)
            events.append(
                Event(
                    kind="raised",
                    alert=_alert(stream, heard.t_ns),
                    sequence=0,
                    stream=stream,
                    level=LEVEL,
                    severity=1,
                    score=self._after_s,
                    t_ns=self._raised_ns(heard.t_ns),
                    evidence={"silent_after_s": self._after_s, "last_sample_t_ns": str(heard.t_ns)},
                    state={"silent_ns": heard.t_ns},
                )
            )
        return events

    def _raised_ns(self, last_ns: int) -> int:
        """Return when a silence was raised; a process before this one may have had another limit, or this one none."""
        return last_ns + (round(self._after_s * 1e9) if math.isfinite(self._after_s) else 0)

    def _cleared(self, stream: str, t_ns: int) -> list[Event]:
        silent = self._silent.pop(stream, None)
        if silent is None:
            return []
        return [
            Event(
                kind="cleared",
                alert=_alert(stream, silent.t_ns),
                sequence=1,
                stream=stream,
                level="ok",
                severity=0,
                score=(t_ns - silent.t_ns) / 1e9,
                t_ns=max(t_ns, self._raised_ns(silent.t_ns)),
                evidence={"silent_after_s": self._after_s, "last_sample_t_ns": str(silent.t_ns)},
                state={"silent_ns": None},
            )
        ]


def _alert(stream: str, last_ns: int) -> str:
    """Return an alert's name: the same for the same silence, whichever process tells of it."""
    return f"{stream or 'stream'}/{LEVEL}@{last_ns}"
