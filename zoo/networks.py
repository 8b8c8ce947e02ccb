"""PyTorch networks as the recipes keep and run them: weights as plain arrays, one stream at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Floats = NDArray[np.float32]
PREFIX = "weights."


def arrays(module: nn.Module) -> dict[str, NDArray[Any]]:
    """Return a network's weights as arrays named `weights.NAME`."""
    return {PREFIX + name: value.numpy() for name, value in module.state_dict().items()}


def weights(found: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Return the weights among arrays, by the names that `arrays` was given them by."""
    return {name.removeprefix(PREFIX): torch.from_numpy(found[name]) for name in found if name.startswith(PREFIX)}


def runner(module: nn.Module, dtype: torch.dtype = torch.float32) -> Callable[[Floats], Floats]:
    """Return what runs a network over a whole stream from zero state: float32[T, features] -> float32[T, outputs].

    dtype: what the network computes in; the weights are copied where that is not what they are.
    """
    module = copy.deepcopy(module).to(dtype) if dtype != torch.float32 else module

    def run(frames: Floats) -> Floats:
        module.eval()
        with torch.no_grad():
            outputs = module(torch.from_numpy(np.ascontiguousarray(frames)).to(dtype)[None])[0].numpy()
        return np.asarray(outputs, np.float32)

    return run
