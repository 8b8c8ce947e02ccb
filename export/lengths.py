"""At which lengths a model runs: a table of positions ends somewhere, an unpadded convolution begins somewhere."""

from __future__ import annotations

from collections.abc import Callable

from export.errors import ExportError

GROUP = 16
"""Frames that a model may take side by side at most."""
LONGEST = 1 << 12
"""Beyond it a model counts as taking any length."""


def accepted(run: Callable[[int], object], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Return the wanted lengths if the model runs at them, else as many that it runs at, spread in the same way.

    Where the wanted ones are odd and even, so are these if the model takes that.

    run: runs the model at a length, or raises ExportError; so does this where no length is accepted.
    """
    try:
        for length in wanted:
            run(length)
    except ExportError as cause:
        reason = cause
    else:
        return wanted
    count = multiple(run, wanted)
    if count is not None:
        return _multiples(wanted, count)
    known = next((2**power for power in range(LONGEST.bit_length()) if runs(run, 2**power)), None)
    if known is None:
        raise reason
    least = _edge(run, known // 2, known)
    most = most_of(run, known)
    spread = wanted[-1] if most is None else min(wanted[-1], most - least)
    found = tuple(least + spread * length // wanted[-1] for length in wanted)
    if len({length % 2 for length in wanted}) > len({length % 2 for length in found}):
        beside = found[0] + (1 if found[0] + 1 < found[1] else -1)
        found = (beside, *found[1:]) if beside >= least and runs(run, beside) else found
    if len(set(found)) < len(wanted) or not all(runs(run, length) for length in found):
        raise reason
    return found


def multiple(run: Callable[[int], object], wanted: tuple[int, ...]) -> int | None:
    """Return the number of frames of whose multiples alone a model takes as many; None for any other model.

    It lays so many frames side by side, and does not run where some are left over.
    """
    for count in () if all(runs(run, length) for length in wanted) else range(2, GROUP + 1):
        lengths = _multiples(wanted, count)
        if all(runs(run, length) and not runs(run, length + 1) for length in lengths):
            return count
    return None


def _multiples(lengths: tuple[int, ...], count: int) -> tuple[int, ...]:
    return tuple(-(-length // count) * count for length in lengths)


def most_of(run: Callable[[int], object], known: int, longest: int = LONGEST) -> int | None:
    """Return the greatest length that runs, going up from one that does; None where there is no end in sight."""
    beyond = known
    while runs(run, beyond):
        known, beyond = beyond, 2 * beyond
        if beyond > longest:
            return None
    return _edge(run, beyond, known)


def runs(run: Callable[[int], object], length: int) -> bool:
    """Return whether the model runs at a length."""
    try:
        run(length)
    except ExportError:
        return False
    return True


def _edge(run: Callable[[int], object], fails: int, good: int) -> int:
    """Return the last length that runs between one that does and one that does not."""
    while abs(good - fails) > 1:
        middle = (good + fails) // 2
        fails, good = (fails, middle) if runs(run, middle) else (middle, good)
    return good
