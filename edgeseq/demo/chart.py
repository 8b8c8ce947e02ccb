"""A curve in characters: an area of block characters, eight steps of height in each row."""

from __future__ import annotations

from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
STEPS = 8


def area(values: Sequence[float], span: int, columns: int, rows: int, high: float) -> list[str]:
    """Draw `values`, of which `span` are expected in all, from 0 at the bottom to `high` at the top.

    Returns `rows` strings of `columns` characters, the top row first; what is not there yet is blank. Values outside
    are clipped. The topmost step stays empty, so that areas drawn below one another keep apart.
    """
    heights = [0] * columns
    for column in range(columns):
        first = column * span // columns
        last = max((column + 1) * span // columns, first + 1)
        part = [value for value in values[first:last] if value == value]  # noqa: PLR0124 - NaN is not yet a value
        if part and last <= len(values):
            share = min(max(sum(part) / len(part) / high, 0.0), 1.0)
            heights[column] = max(round(share * (rows * STEPS - 1)), 1)
    return [
        "".join(BLOCKS[min(max(height - base * STEPS, 0), STEPS)] for height in heights)
        for base in reversed(range(rows))
    ]
