"""Products with a matrix in blocks of one size: a step's last bits do not depend on how many steps there are.

A recurrent layer behind one thus sees that a longer sequence begins as the one before it.
"""

from __future__ import annotations

import numpy as np

from export.frontends.keras_reference_activations import Floats

BLOCK = 64


def product(x: Floats, kernel: Floats) -> Floats:
    """Return x @ kernel for [1, time, .., features] or [1, .., features]."""
    rows = x.reshape(-1, x.shape[-1])
    blocks = np.pad(rows, ((0, -len(rows) % BLOCK), (0, 0))).reshape(-1, BLOCK, x.shape[-1])
    return np.asarray((blocks @ kernel).reshape(-1, kernel.shape[1])[: len(rows)].reshape(*x.shape[:-1], -1))
