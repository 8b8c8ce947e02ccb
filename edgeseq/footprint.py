"""What a model file takes on a device: bytes on disk, and bytes of state in memory."""

from __future__ import annotations

import math

import numpy as np

from edgeseq.bundle import Bundle, ModelFile


def on_disk(bundle: Bundle, file: ModelFile) -> int:
    """Return the file's own size."""
    return (bundle.path / file.path).stat().st_size


def of_states(bundle: Bundle, file: ModelFile) -> int:
    """Return how many bytes its states take, in the types in which it stores them."""
    numbers = {state.name: math.prod(state.shape) for state in bundle.graph(file.graph).states}
    return sum(numbers[state.name] * np.dtype(state.dtype).itemsize for state in file.states)
