"""The least time that a step can take on one core: until its bytes are read, and its products are added up.

Both rates are measured where and when the steps are, the reading over as many bytes as a step reads: weights that stay
in a core's own cache come several times as fast as others. The rate of products is that of float32; products of
integers have none here, since how many go into one instruction differs from core to core, and since even the quickest
are not done before their weights are read. So for them reading alone is the ceiling.
"""

from __future__ import annotations

import msgspec

from edgeseq import libraries
from edgeseq.bench.work import Work
from edgeseq.errors import ConfigError

LEAST_BYTES = 4 << 10
MOST_BYTES = 64 << 20
"""What is larger is read as if it were this large: from memory, like this on all but the largest servers."""


class Ceiling(msgspec.Struct, frozen=True):
    """bound_us: the least; bound_by: which of the two it is; distance: how many times that the median step takes.

    None where it is not known how much there is to read or to multiply.
    """

    bandwidth_gb_s: float
    gmac_s: float
    bound_us: float | None = None
    bound_by: str | None = None
    distance: float | None = None


def measure(work: Work, p50_us: float | None) -> Ceiling:
    """Measure what this core can do and hold a step's median against it."""
    try:
        libraries.numba()
        from edgeseq.bench import peak_numba as peak  # noqa: PLC0415 - Numba takes long to load, and may be missing
    except ConfigError:
        from edgeseq.bench import peak_numpy as peak  # type: ignore[no-redef] # noqa: PLC0415
    size = min(max(work.bytes_per_step or 0, LEAST_BYTES), MOST_BYTES)
    return held_against(peak.bandwidth_gb_s(size), peak.gmac_s(), work, p50_us)


def held_against(bandwidth_gb_s: float, gmac_s: float, work: Work, p50_us: float | None) -> Ceiling:
    """Return the ceiling at these rates, in 10⁹ bytes and 10⁹ multiply-accumulates a second."""
    bounds = {}
    if work.bytes_per_step is not None:
        bounds["bandwidth"] = work.bytes_per_step / bandwidth_gb_s / 1000
    if work.float_macs:
        bounds["fma"] = work.float_macs / gmac_s / 1000
    if not bounds:
        return Ceiling(bandwidth_gb_s, gmac_s)
    by = max(bounds, key=bounds.__getitem__)
    distance = None if p50_us is None else p50_us / bounds[by]
    return Ceiling(bandwidth_gb_s, gmac_s, bounds[by], by, distance)
