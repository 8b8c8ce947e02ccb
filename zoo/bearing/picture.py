"""Draws lives.svg from numbers.json: what was estimated of each bearing by a model that had not seen it.

Run it from a checkout: python -m zoo.bearing.picture
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from zoo.bearing.evaluate import DECIDER, FACTORS
from zoo.bearing.fit import CAP_S

HERE: Final = Path(__file__).parent
WIDTH, HEIGHT, GAP, TOP = 300, 130, 24, 60
ACROSS: Final = 3
INK, TRUTH, MODEL, RULE = "#444", "#999", "#1f6feb", "#d1690e"


def draw(bearings: dict[str, Any]) -> str:
    """Give the picture as SVG."""
    rows = -(-len(bearings) // ACROSS)
    width, height = ACROSS * (WIDTH + GAP) + GAP, TOP + rows * (HEIGHT + 2 * GAP)
    style = f'font-family="sans-serif" font-size="11" fill="{INK}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {style}>',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        _legend(),
    ]
    for place, (name, found) in enumerate(bearings.items()):
        x, y = GAP + place % ACROSS * (WIDTH + GAP), TOP + place // ACROSS * (HEIGHT + 2 * GAP)
        parts.append(f'<g transform="translate({x},{y})">{_life(name, found)}</g>')
    return "\n".join([*parts, "</svg>\n"])


def _legend() -> str:
    return (
        f'<text x="{GAP}" y="20" font-size="13">Remaining life, up to {CAP_S} s: true '
        f'<tspan fill="{TRUTH}">(grey)</tspan> and as estimated by a model that learned from the other bearings '
        f'<tspan fill="{MODEL}">(blue)</tspan>.</text>'
        f'<text x="{GAP}" y="37">Its alert <tspan fill="{MODEL}">▼</tspan> and that of RMS at {FACTORS[0]:g} times the '
        f'healthy level <tspan fill="{RULE}">▲</tspan>; to the right of each life its length.</text>'
    )


def _life(name: str, found: dict[str, Any]) -> str:
    life, times = found["life_s"], found["t_s"]
    truth = [min(life - t, CAP_S) for t in times]
    limit = _y(DECIDER["warning"])
    alert, rule = next(iter(found["seeds"].values()))["lead_s"], found["rules"][f"{FACTORS[0]:g}"]["lead_s"]
    marks = [
        f'<text x="{WIDTH * (1 - lead / life):.1f}" y="{y}" text-anchor="middle" fill="{colour}">{mark}</text>'
        for lead, y, colour, mark in ((alert, -1, MODEL, "▼"), (rule, HEIGHT + 11, RULE, "▲"))
        if lead is not None
    ]
    return (
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#ccc"/>'
        f'<path d="M0 {limit:.1f}H{WIDTH}" stroke="#ccc" stroke-dasharray="4 3"/>'
        f"{_line(times, truth, life, TRUTH)}{_line(times, found['estimates_s'], life, MODEL)}{''.join(marks)}"
        f'<text x="4" y="{HEIGHT - 6}">{name}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + 24}" text-anchor="end">{life:,} s</text>'
    )


def _line(times: Sequence[int], values: Sequence[float], life: int, colour: str) -> str:
    points = " ".join(f"{WIDTH * t / life:.1f},{_y(value):.1f}" for t, value in zip(times, values, strict=True))
    return f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _y(seconds: float) -> float:
    """Give the height at which a remaining life is drawn; a fifth of the cap is free above it."""
    return HEIGHT * (1 - min(max(seconds / (1.2 * CAP_S), 0), 1))


if __name__ == "__main__":
    numbers = json.loads((HERE / "numbers.json").read_text("utf-8"))
    (HERE / "lives.svg").write_text(draw(numbers["bearings"]), "utf-8")
