"""Windows of a block, periodic."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError

WindowKey = Literal["none", "hann", "sqrt_hann"]
"""The TOML key `window`."""


def samples(kind: WindowKey, size: int) -> NDArray[np.float64]:
    """Return float64[size]: hann is 0.5 - 0.5 cos(2 pi i / size), sqrt_hann its root, none is ones."""
    if kind not in ("none", "hann", "sqrt_hann"):
        raise ConfigError(f"must be 'none', 'hann' or 'sqrt_hann', not {kind!r}.", "window")
    if kind == "none":
        return np.ones(size)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)
    return np.asarray(hann if kind == "hann" else np.sqrt(hann))
