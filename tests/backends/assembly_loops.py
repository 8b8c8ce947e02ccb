"""The innermost loops of a function in AArch64 assembly, found by its jumps."""

from __future__ import annotations

import re

_LABEL = re.compile(r"^([.\w$]+):")
_JUMP = re.compile(r"^(b|b\.\w+|cbn?z|tbn?z)\s(?:.*,\s*)?([.\w$]+)$")
_ENDS = re.compile(r"^(b|br|ret)\b(?!\.)")
_VECTOR = re.compile(r"^(\w+)\s+v\d+\.(\w+)")


def innermost(text: str) -> list[list[str]]:
    """Return the instructions of each loop that has no other inside."""
    blocks, following = _blocks(text)
    before: list[set[int]] = [set() for _ in blocks]
    for place, ways in enumerate(following):
        for to in ways:
            before[to].add(place)
    over = _dominators(before)
    loops: dict[int, set[int]] = {}
    for place, ways in enumerate(following):
        for head in ways & over[place]:  # a jump back to what every way here has passed
            loops.setdefault(head, set()).update(_body(head, place, before))
    inner = [body for body in loops.values() if not any(other < body for other in loops.values())]
    return [[line for place in sorted(body) for line in blocks[place]] for body in inner]


def vectors(loop: list[str]) -> set[str]:
    """Return what a loop does with vectors: "fmla.4s" for `fmla v0.4s, v1.4s, v2.4s`."""
    return {f"{found[1]}.{found[2]}" for found in map(_VECTOR.match, loop) if found}


def _blocks(text: str) -> tuple[list[list[str]], list[set[int]]]:
    """Return runs of instructions without a jump or a label inside, and which may follow each."""
    blocks: list[list[str]] = [[]]
    labels: dict[str, int] = {}
    for line in (line.partition("//")[0].strip() for line in text.splitlines()):
        label = _LABEL.match(line)
        if label:
            if blocks[-1]:
                blocks.append([])
            labels[label[1]] = len(blocks) - 1
        elif line and not line.startswith("."):
            blocks[-1].append(" ".join(line.split()))
            if _JUMP.match(blocks[-1][-1]) or _ENDS.match(blocks[-1][-1]):
                blocks.append([])
    following: list[set[int]] = []
    for place, block in enumerate(blocks):
        last = block[-1] if block else ""
        jump, ways = _JUMP.match(last), set()
        if jump and jump[2] in labels:
            ways.add(labels[jump[2]])
        if not _ENDS.match(last) and place + 1 < len(blocks):
            ways.add(place + 1)
        following.append(ways)
    return blocks, following


def _dominators(before: list[set[int]]) -> list[set[int]]:
    """Return, for each block, those that every way to it passes. What nothing leads to is a start."""
    everything = set(range(len(before)))
    over = [{place} if not ways else everything for place, ways in enumerate(before)]
    changed = True
    while changed:
        changed = False
        for place, ways in enumerate(before):
            if ways:
                now = {place} | set.intersection(*(over[way] for way in ways))
                changed |= now != over[place]
                over[place] = now
    return over


def _body(head: int, last: int, before: list[set[int]]) -> set[int]:
    """Return the blocks from which the jump back is reached without passing the head."""
    body, left = {head, last}, [last]
    while left:
        place = left.pop()
        if place != head:
            left.extend(before[place] - body)
            body |= before[place]
    return body
