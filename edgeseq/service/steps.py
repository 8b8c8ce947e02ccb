"""What an installation does, one step after the other: each knows whether it is done already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["already", "done", "would"]


@dataclass(frozen=True, slots=True)
class Step:
    """says: what it does, as an order. done: whether it is; None where it is done every time."""

    says: str
    do: Callable[[], object]
    done: Callable[[], bool] | None = None


def carried_out(steps: Sequence[Step], *, dry: bool) -> Iterator[tuple[str, Outcome]]:
    """Do what is not done yet, in order, and yield each step with what became of it. dry: do nothing."""
    for step in steps:
        if step.done is not None and step.done():
            yield step.says, "already"
        elif dry:
            yield step.says, "would"
        else:
            step.do()
            yield step.says, "done"
