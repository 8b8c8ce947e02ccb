"""PyTorch itself, one thread, a step at a time: the layer over a sequence of one, or its cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.measure import Contender, fastest
from edgeseq.types import Frames

NAME = "PyTorch"


class Layer:
    """nn.GRU over [1, 1, inputs]."""

    def __init__(self, gru: nn.GRU) -> None:
        self._gru, self._h = gru, torch.zeros(1, 1, gru.hidden_size)

    def reset(self) -> None:
        """Forget everything."""
        self._h = torch.zeros_like(self._h)

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step; must be called under inference_mode, which a loop enters once."""
        y: Tensor
        y, self._h = self._gru(torch.from_numpy(x), self._h)
        return y.numpy()


class Cell:
    """nn.GRUCell of the same weights over [1, inputs]."""

    def __init__(self, gru: nn.GRU) -> None:
        self._cell = nn.GRUCell(gru.input_size, gru.hidden_size)
        self._cell.load_state_dict({key.removesuffix("_l0"): value for key, value in gru.state_dict().items()})
        self._h = torch.zeros(1, gru.hidden_size)

    def reset(self) -> None:
        """Forget everything."""
        self._h = torch.zeros_like(self._h)

    def step(self, x: Frames) -> NDArray[Any]:
        """Make one step; must be called under inference_mode, which a loop enters once."""
        self._h = self._cell(torch.from_numpy(x), self._h)
        return self._h.numpy()


def stepping(gru: nn.GRU, frames: Sequence[Frames]) -> Contender:
    """Return the faster of both. frames: [1, inputs] each."""
    torch.set_num_threads(1)
    layer, cell = Layer(gru), Cell(gru)
    return fastest(
        [
            Contender(NAME, layer.step, [(x[None],) for x in frames], layer.reset, settings="nn.GRU"),
            Contender(NAME, cell.step, [(x,) for x in frames], cell.reset, settings="nn.GRUCell"),
        ]
    )
