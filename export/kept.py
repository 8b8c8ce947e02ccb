"""Which weights stay float32 where a variant of STORAGE misses its bound: those whose rounding costs the outputs most.

1. Each weight is rounded alone, all others as they are; its error is that of the outputs over frames of the
   calibration, as a share of how much each output varies, as of the parts of integer variants (see
   quantize/sensitivity.py).
2. Errors of different weights are as good as independent, so their squares add up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from export import storage
from export.graph import StreamGraph
from export.lowering import lower
from export.progress import Tick, still
from export.quantize.sensitivity import Run


class Costs:
    """What each weight that a variant stores smaller costs; measured once, when it is made (1).

    names: those of all such weights.
    """

    def __init__(self, stream: StreamGraph, variant: str, names: Sequence[str], run: Run, tick: Tick = still) -> None:
        self._errors: dict[str, float] = {}
        for name in names:
            others = [other for other in names if other != name]
            self._errors[name] = run.error(lower(storage.rounded(stream, variant, others), scaling=False))
            tick(1)

    def kept(self, share: float) -> Mapping[str, str]:
        """Return the weights to keep in float32, with why: the rest costs that share of what all do together (2)."""
        together = sum(error**2 for error in self._errors.values())
        found: dict[str, str] = {}
        left = together
        for name, error in sorted(self._errors.items(), key=lambda item: -item[1]):
            if left <= share**2 * together:
                break
            found[name] = f"rounded alone it costs {error:.2g} of the output's spread"
            left -= error**2
        return found

    def all_in(self, kept: Mapping[str, str]) -> bool:
        """Return whether these are all there are."""
        return len(kept) == len(self._errors)
