"""How far an export is: which stage it has come to and, inside the long ones, how much of it is done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Tick = Callable[[int], None]
"""Is told how much more of a stage is done, in the stage's own units: frames, mostly."""


class Progress(Protocol):
    """Is told the stage; of a long one again and again, with how much is done and how much there is in all."""

    def __call__(self, stage: str, done: int = 0, total: int = 0, /) -> None:
        """Take it in. total is 0 where it is not known."""


def silent(stage: str, done: int = 0, total: int = 0, /) -> None:
    """Show nothing."""


def still(_: int) -> None:
    """Count nothing."""


def counted(progress: Progress, stage: str, total: int) -> Tick:
    """Begin a stage of known length; return what it tells its parts to."""
    progress(stage, 0, total)
    done = 0

    def tick(more: int) -> None:
        nonlocal done
        done += more
        progress(stage, done, total)

    return tick
