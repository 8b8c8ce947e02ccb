"""Single characters as numbers, by a table of code points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numba.core import types
from numpy.typing import NDArray

from edgeseq.features._per_sample import COLUMN
from edgeseq.features._text import HALVES, LAST, REPLACEMENT
from edgeseq.jit import entry

_F = types.float32
SKIPPED = -1.0
"""What stands for a token that is none."""


def table(numbers: Mapping[str, float], other: float) -> NDArray[np.float32]:
    """Return float32[points + 1]: the number of each code point up to the highest that has one; the last: of others."""
    found = np.full(max(map(ord, numbers)) + 2, other, np.float32)
    for character, number in numbers.items():
        found[ord(character)] = number
    return found


@entry(types.void(COLUMN, _F[::1], _F[::1]))
def looked_up(x: Any, table: Any, y: Any) -> None:
    """Write y[sample], the number of the character x[sample]; NaN of NaN. What is no code point counts as U+FFFD."""
    for i in range(len(x)):
        point = REPLACEMENT
        if 0 <= x[i] <= LAST:
            whole: Any = np.int64(x[i])
            if whole == x[i] and not HALVES[0] <= whole <= HALVES[1]:
                point = whole
        y[i] = np.nan if np.isnan(x[i]) else table[min(point, len(table) - 1)]
