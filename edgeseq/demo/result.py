"""What a demo came to: the numbers of the summary, the same for people, for programs and for the report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgeseq.demo.story import Score
from edgeseq.demo.words import microseconds, step


@dataclass(frozen=True)
class Result:
    """A finished demo. sent: events that went to the broker; delivered: those that a subscriber there received.

    step_us: p50 to p99, mean and max of a model step in microseconds. score: how it went against the truth; None
    where that is unknown.
    """

    demo: str
    model: str
    model_version: str
    variant: str
    backend: str
    streams: int
    frames: int
    seconds: float
    alerts: int
    sent: int
    delivered: int
    dropped: Mapping[str, int]
    step_us: Mapping[str, float | None]
    score: Score | None
    report: str | None

    def table(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return {**asdict(self), "score": dict(self.score.numbers) if self.score else None}

    def rows(self) -> list[tuple[str, str]]:
        """Return it as pairs of words, for people."""
        rows = [
            ("streams", f"{self.streams}"),
            ("frames", f"{self.frames:,} in {self.seconds:.1f} s"),
            ("model", f"{self.model} {self.model_version}, {self.variant} on {self.backend}"),
            ("step", f"{step(self.step_us)}, mean {microseconds(self.step_us['mean'])}"),
            ("alerts", f"{self.alerts} raised; {self.delivered} of {self.sent} messages arrived over MQTT"),
        ]
        if self.score is not None:
            rows.append(("truth", " ".join(self.score.tile)))
        # Outputs of the warm-up decide nothing; that is as it should be, and no loss.
        lost = {reason: count for reason, count in self.dropped.items() if reason != "decider.warming"}
        rows.extend(("dropped", f"{count} × {reason}") for reason, count in lost.items())
        if self.report:
            rows.append(("report", self.report))
        return rows
