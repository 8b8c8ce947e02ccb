"""How the demo says things: one wording for the live view, the plain lines and the report."""

from __future__ import annotations

from collections.abc import Mapping

from edgeseq.demo.scene import Scene
from edgeseq.types import Event

PERCENTILES = (50, 90, 95, 99)


def sentence(scene: Scene, event: Event) -> str:
    """Return an event as a person says it: 'engine 24: critical, 18 cycles left'."""
    who = f"{scene.thing} {event.stream}".strip()
    left = f"{event.score:.0f} {scene.unit} left"
    if event.kind == "cleared":
        return f"{who}: {event.level} cleared, {left}"
    return f"{who}: {event.level}, {left}"


def microseconds(value: float | None) -> str:
    """Return a duration for people: '8.4 µs', '132 µs', '2.1 ms', or a dash."""
    if value is None:
        return "–"
    if value >= 1000:  # noqa: PLR2004 - a millisecond
        return f"{value / 1000:.1f} ms"
    return f"{value:.1f} µs" if value < 100 else f"{value:.0f} µs"  # noqa: PLR2004 - three digits are enough


def signed(value: float | None) -> str:
    """Return an error with its sign: '+3', '−12', or a dash."""
    if value is None:
        return "–"
    return f"{'−' if round(value) < 0 else '+'}{abs(round(value))}"


def step(step_us: Mapping[str, float | None]) -> str:
    """Return what a step takes: its median, and the highest percentile that rests on enough steps."""
    return ", ".join(filter(None, [microseconds(step_us["p50"]), tail(step_us)]))


def tail(step_us: Mapping[str, float | None]) -> str:
    """Return the highest percentile above the median that rests on enough steps: 'p90 31.2 µs', or nothing."""
    known = [percent for percent in PERCENTILES[1:] if step_us.get(f"p{percent}") is not None]
    return f"p{known[-1]} {microseconds(step_us[f'p{known[-1]}'])}" if known else ""
