"""Contenders measured in turn: a block of each a round, in an order drawn anew, so that a slow minute is everybody's.

A block is a few bursts of calls; it counts as its quickest burst, per step: a neighbour on the machine or a cold cache
slows a burst down, and nothing speeds one up. The clock is read twice a burst, not twice a call: what the loop itself
costs is in every number, and `overhead` says how much that is.
"""

from __future__ import annotations

import gc
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice, starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

Clock = Callable[[], int]
BURST_NS = 1_000_000
BURSTS = 5
"""A block's. The first one refills the caches that another contender took."""
WARM_NS = 50_000_000
TRIAL_BLOCKS = 9


@dataclass(frozen=True)
class Contender:
    """What is measured: a call, and the arguments of one call after another, in the form that suits it best.

    steps: how many steps of the model one call makes. reset: forgets all calls before. settings: which of several ways
    to run it this is.
    """

    name: str
    call: Callable[..., NDArray[Any]]
    arguments: Sequence[tuple[Any, ...]]
    reset: Callable[[], None]
    steps: int = 1
    settings: str = ""

    def outputs(self) -> NDArray[np.float64]:
        """Return what a pass over all arguments gives from a reset, one number after another."""
        self.reset()
        return np.concatenate([np.array(self.call(*given), np.float64).ravel() for given in self.arguments])


@dataclass(frozen=True)
class Measured:
    """A contender's blocks: nanoseconds a step, one value a round. taken: share of the time the core did other work."""

    contender: Contender
    blocks_ns: list[float]
    taken: float

    @property
    def median_ns(self) -> float:
        """Their median."""
        return float(np.median(self.blocks_ns))


Error = Callable[[NDArray[np.float64]], float]


def largest(errors: NDArray[np.float64]) -> float:
    """Return the greatest error: what floats are held to."""
    return float(np.abs(errors).max())


def rms(errors: NDArray[np.float64]) -> float:
    """Return the root mean square: what quantized variants are held to."""
    return float(np.sqrt(np.square(errors).mean()))


class DisagreementError(Exception):
    """Two contenders do not compute the same."""


def agree(contenders: Sequence[Contender], tolerance: float = 1e-4, error: Error = largest) -> None:
    """Hold every contender's outputs against the first one's. Raises DisagreementError."""
    expected = contenders[0].outputs()
    for contender in contenders[1:]:
        found = contender.outputs()
        off = error(found - expected) if found.shape == expected.shape else np.inf
        if not off <= tolerance:
            raise DisagreementError(
                f"'{contender.name}' and '{contenders[0].name}' are {off:.2g} apart, more than {tolerance:g}: "
                "they do not compute the same, so their times say nothing."
            )


def interleave(
    contenders: Sequence[Contender], blocks: int, seed: int = 0, *, cpu_time: bool = False
) -> dict[str, Measured]:
    """Measure a block of each contender in every one of `blocks` rounds; return what was measured by name.

    cpu_time: count what the core spent on it, not what passed; they differ where others have the core in between.
    """
    clock = time.thread_time_ns if cpu_time else time.perf_counter_ns
    bursts = [_burst(contender) for contender in contenders]
    found: list[list[float]] = [[] for _ in contenders]
    wall, busy = [0] * len(contenders), [0] * len(contenders)
    draw = random.Random(seed)  # noqa: S311 - an order, not a secret
    with quiet():
        for _ in range(blocks):
            for place in draw.sample(range(len(contenders)), len(contenders)):
                call, arguments = contenders[place].call, bursts[place]
                began, worked = time.perf_counter_ns(), time.thread_time_ns()
                took = [_time(call, arguments, clock) for _ in range(BURSTS)]
                busy[place] += time.thread_time_ns() - worked
                wall[place] += time.perf_counter_ns() - began
                found[place].append(min(took) / len(arguments) / contenders[place].steps)
    return {
        each.name: Measured(each, found[place], max(0.0, 1 - busy[place] / wall[place]))
        for place, each in enumerate(contenders)
    }


def fastest(candidates: Sequence[Contender], seed: int = 0) -> Contender:
    """Return the fastest of several settings of one contender, by a short measurement of its own, in CPU time."""
    numbered = [Contender(str(place), c.call, c.arguments, c.reset, c.steps) for place, c in enumerate(candidates)]
    measured = interleave(numbered, TRIAL_BLOCKS, seed, cpu_time=True) if len(candidates) > 1 else {}
    return candidates[min(range(len(candidates)), key=lambda place: measured[str(place)].median_ns if measured else 0)]


def overhead() -> tuple[float, float]:
    """Return what is no contender's: nanoseconds to read the clock, and those of an empty call in the loop."""
    now = time.perf_counter_ns
    readings = [now() for _ in range(10_001)]
    empty = [(None,)] * 10_000
    with quiet():
        loop = float(np.median([_time(lambda _: None, empty, now) for _ in range(101)])) / len(empty)
    return float(np.median(np.diff(readings))), loop


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Python's garbage collector from running in somebody's block."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def _time(call: Callable[..., Any], arguments: Sequence[tuple[Any, ...]], clock: Clock) -> int:
    """Return what a call of each takes altogether, in nanoseconds. The loop runs in C."""
    began = clock()
    deque(starmap(call, arguments), maxlen=0)
    return clock() - began


def _burst(contender: Contender) -> list[tuple[Any, ...]]:
    """Warm a contender up; return the arguments of as many calls as fill a burst."""
    contender.reset()
    calls, spent = 1, 0
    while True:
        arguments = list(islice(cycle(contender.arguments), calls))
        took = _time(contender.call, arguments, time.perf_counter_ns)
        spent += took
        if took >= BURST_NS and spent >= WARM_NS:
            return list(islice(cycle(contender.arguments), max(1, calls * BURST_NS // took)))
        if took < BURST_NS:
            calls *= 2
