"""Keeps a drawing readable: a block that is repeated is drawn once, and of too many boxes the middle is left out."""

from __future__ import annotations

from collections.abc import Callable

from export.diagram.boxes import Box, Drawing

LEAST = 3
"""Boxes that drawing a block once must save."""
MOST = 60
"""Boxes of one drawing."""


def fold(drawing: Drawing) -> tuple[Drawing, int]:
    """Return a drawing to be shown, and how many boxes were left out of it."""
    taken: list[tuple[int, int, int]] = []
    places: dict[int, int] = {key: key for key in drawing.boxes}
    while (found := _longest(drawing, taken)) is not None:
        taken.append(found)
        first, length, count = found
        places |= {key: first + (key - first) % length for key in range(first, first + length * count)}
    folded = _mapped(drawing, places.__getitem__)
    folded.blocks = sorted(taken)
    kept = list(folded.boxes)
    if len(kept) <= MOST:
        return folded, 0
    half = MOST // 2
    left_out = kept[half : len(kept) - half + 1]
    gap = left_out[0]
    cut = _mapped(folded, lambda key: gap if key in left_out else key)
    cut.boxes[gap] = Box(head=["…"], light=[f"{len(left_out)} boxes"])
    cut.blocks = [block for block in folded.blocks if not set(range(block[0], block[0] + block[1])) & set(left_out)]
    return cut, len(left_out)


def _mapped(drawing: Drawing, place: Callable[[int], int]) -> Drawing:
    """Return a drawing in which each box stands at its own place or in that of an earlier one.

    States at boxes that moved go, and so does an edge from the end of a block back to its beginning.
    """
    shown = Drawing(boxes={key: box for key, box in drawing.boxes.items() if place(key) == key}, blocks=drawing.blocks)
    gone = set()
    for key, source in drawing.sources.items():
        near = [box for edge in drawing.edges if key in edge for box in edge if isinstance(box, int)]
        if source.kind == "state" and near and all(place(box) != box for box in near):
            gone.add(key)
        else:
            shown.sources[key] = source
    for start, end in drawing.edges:
        a, b = (place(key) if isinstance(key, int) else key for key in (start, end))
        back = isinstance(a, int) and isinstance(b, int) and a >= b
        if not back and not {start, end} & gone:
            shown.link(a, b)
    return shown


def _longest(drawing: Drawing, taken: list[tuple[int, int, int]]) -> tuple[int, int, int] | None:
    """Return the repetition that saves the most boxes: its first box, how many it has, how often it comes."""
    busy = {key for first, length, count in taken for key in range(first, first + length * count)}
    marks = [_mark(drawing, key) if key not in busy else None for key in drawing.boxes]
    inner = [drawing.before(key) for key in drawing.boxes]
    best, saved = None, LEAST - 1
    for length in range(1, len(marks) // 2 + 1):
        run = 0
        for place in range(len(marks) - length - 1, -2, -1):
            same = place >= 0 and marks[place] is not None and marks[place] == marks[place + length]
            if same:
                run += 1
                continue
            first, count = place + 1, run // length + 1
            run = 0
            if (count - 1) * length > saved and _alike(inner, first, length, count):
                best, saved = (first, length, count), (count - 1) * length
    return best


def _alike(inner: list[set[int]], first: int, length: int, count: int) -> bool:
    """Return whether the edges within each block are those of the first one, and each block follows the one before."""

    def within(block: int) -> list[set[int]]:
        start = first + block * length
        return [
            {key - start for key in inner[start + place] if start <= key < start + length} for place in range(length)
        ]

    def follows(block: int) -> bool:
        start = first + block * length
        return any(start - length <= key < start for place in range(length) for key in inner[start + place])

    return all(within(block) == within(0) and follows(block) for block in range(1, count))


def _mark(drawing: Drawing, key: int) -> tuple[object, ...]:
    """Return all that is seen of a box: its words and its states' sizes."""
    states = [
        tuple(source.lines[1:])
        for name, source in drawing.sources.items()
        if source.kind in ("state", "held") and ((name, key) in drawing.edges or (key, name) in drawing.edges)
    ]
    box = drawing.boxes[key]
    return (*box.lines, box.over_time, *sorted(states))
