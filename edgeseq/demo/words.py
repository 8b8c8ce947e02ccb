"""How the demo says things: one wording for the live view, the plain lines and the report."""

from __future__ import annotations

from collections.abc import Mapping

PERCENTILES = (50, 90, 95, 99)


def microseconds(value: float | None) -> str:
    """Return a duration for people: '8.4 µs', '132 µs', '2.1 ms', or a dash."""
    if value is None:
        return "–"
    if value >= 1000:  # noqa: PLR2004 - a millisecond
        return f"{value / 1000:.1f} ms"
    return f"{value:.1f} µs" if value < 100 else f"{value:.0f} µs"  # noqa: PLR2004 - three digits are enough


def step(step_us: Mapping[str, float | None]) -> str:
    """Return what a step takes: its median, and the highest percentile that rests on enough steps."""
    return ", ".join(filter(None, [microseconds(step_us["p50"]), tail(step_us)]))


def tail(step_us: Mapping[str, float | None]) -> str:
    """Return the highest percentile above the median that rests on enough steps: 'p90 31.2 µs', or nothing."""
    known = [percent for percent in PERCENTILES[1:] if step_us.get(f"p{percent}") is not None]
    return f"p{known[-1]} {microseconds(step_us[f'p{known[-1]}'])}" if known else ""
