"""What run and replay share: logs to stderr, a stop on SIGTERM, the summary in words."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol

from edgeseq.service import logs
from edgeseq.text import number

if TYPE_CHECKING:
    from edgeseq.pipeline import Summary


class Stoppable(Protocol):
    """What may be asked from another thread to end soon, in good order."""

    def stop(self) -> None:
        """Ask it."""
        ...


def log_to_stderr(*, verbose: bool, form: logs.Form = "text") -> None:
    """Send logs to stderr, one line each; stdout is for results alone."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    if form == "json":
        handler.setFormatter(logs.JsonLines())
        sys.excepthook = logs.hook
    logging.basicConfig(handlers=[handler], level=logging.INFO if verbose else logging.WARNING)


@contextmanager
def stopped_by_signals(work: Stoppable) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the work in good order; a second one acts as it always did."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: FrameType | None) -> None:
        for each, handler in before.items():
            signal.signal(each, handler)
        logging.getLogger(__name__).info("%s: finishing what was read", signal.Signals(number).name)
        # The handler runs between two instructions of the main thread, which may hold the very lock that stop takes.
        threading.Thread(target=work.stop, daemon=True).start()

    for each in before:
        signal.signal(each, stop)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def words(summary: Summary) -> str:
    """Return the summary in words."""
    counts = {what: getattr(summary, what) for what in ("streams", "samples", "frames", "outputs", "gaps")}
    ended = "stopped" if summary.stopped else "done"
    lines = [
        f"{summary.pipeline} on {summary.device}: {ended} after {summary.seconds:,.1f} s",
        "  " + ", ".join(f"{count:,} {what[:-1] if count == 1 else what}" for what, count in counts.items()),
        "  events: " + (", ".join(f"{count:,} {kind}" for kind, count in sorted(summary.events.items())) or "none"),
        "  streams by level: " + (", ".join(f"{count:,} {name}" for name, count in summary.levels.items()) or "none"),
    ]
    if summary.steps:
        p50, p99 = number(summary.step_us["p50"]), number(summary.step_us["p99"])
        lines.append(f"  a step: median {p50} µs, 99th percentile {p99} µs, mean {number(summary.step_us['mean'])} µs")
    if summary.dropped:
        lines.append("  dropped: " + ", ".join(f"{count:,} {reason}" for reason, count in summary.dropped.items()))
    return "\n".join(lines)
