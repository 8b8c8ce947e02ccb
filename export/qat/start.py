"""Where training starts: weights rounded as an export rounds them, so that it begins from what calibration reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import Tensor

from export.qat.points import LEVELS, Point
from export.quantize.rounding import round_weights

ROWS = 2048
"""Rows of a product's inputs that its weights are rounded for, at most."""


@dataclass
class Product:
    """A product as it was seen: its weight and bias, and what it read, in the rows that its weight is applied to."""

    weight: Tensor
    bias: Tensor | None
    point: Point
    rows: list[Tensor] = field(default_factory=list)

    def start(self, axis: int) -> None:
        """Round the weight, its outputs along the axis; what the mean output loses goes to the bias."""
        turned = self.weight.detach().movedim(axis, 0)
        flat = turned.reshape(len(turned), -1)
        rows = torch.cat(self.rows)
        rows = rows[:: -(-len(rows) // ROWS)]
        # What rounding takes off the inputs' mean is made up for elsewhere; the weight's own share is left.
        held = self.point.stored(rows)
        scale = (flat.abs().amax(dim=1) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny).float()
        parts = (np.asarray(part.cpu().numpy(), np.float64) for part in (flat, scale, rows, held))
        integers, _ = round_weights(*parts)
        # A row's greatest stays 127: rounded again, it would else take another scale and leave its grid.
        row, greatest = np.arange(len(flat)), flat.abs().argmax(dim=1).cpu().numpy()
        integers[row, greatest] = LEVELS * np.sign(flat[row, greatest].cpu().numpy())
        rounded = torch.from_numpy(integers).to(flat) * scale.to(flat)[:, None]
        with torch.no_grad():
            if self.bias is not None:
                self.bias += (rows @ (flat - rounded).T).mean(dim=0)
            self.weight.copy_(rounded.reshape(turned.shape).movedim(0, axis))


def windows(kernel: Tensor, stride: Any, padding: Any, dilation: Any) -> Callable[[Tensor], Tensor]:
    """Return what cuts a convolution's input into the rows [places, channels * kernel] that its weight meets."""
    axes = kernel.ndim - 2
    size = tuple(kernel.shape[2:])

    def pair(value: Any, single: int) -> tuple[int, ...]:
        """Return a number for each of two axes; a convolution along one gets another, of size 1, before it."""
        own = tuple(value) if isinstance(value, tuple | list) else (value,) * axes
        return (*[single] * (2 - axes), *own)

    def cut(x: Tensor) -> Tensor:
        whole = x if x.ndim > axes + 1 else x[None]  # a batch
        image = whole.reshape(*whole.shape[:2], *[1] * (2 - axes), *whole.shape[2:])
        columns = F.unfold(image, pair(size, 1), pair(dilation, 1), pair(padding, 0), pair(stride, 1))
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])

    return cut
