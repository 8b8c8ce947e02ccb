"""Where training starts: weights rounded as an export rounds them, so that it begins from what calibration reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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
        """Round the weight, a matrix or kernel with its outputs along the axis; what the mean loses goes to the bias."""
        turned = self.weight.detach().movedim(axis, 0)
        flat = turned.reshape(len(turned), -1)
        rows = torch.cat(self.rows)
        rows = rows[:: -(-len(rows) // ROWS)]
        # Quantization makes up for what the inputs' rounding takes off the mean, so does this: the weight's is left.
        held = self.point.rounded(rows)
        scale = (flat.abs().amax(dim=1) / LEVELS).clamp_min(torch.finfo(torch.float32).tiny).float()
        integers, _ = round_weights(*(np.asarray(part.cpu().numpy(), np.float64) for part in (flat, scale, rows, held)))
        # The greatest of a row stays 127, or the row would get another scale, and leave its grid, when it is rounded again.
        row, greatest = np.arange(len(flat)), flat.abs().argmax(dim=1).cpu().numpy()
        integers[row, greatest] = LEVELS * np.sign(flat[row, greatest].cpu().numpy())
        rounded = torch.from_numpy(integers).to(flat) * scale.to(flat)[:, None]
        with torch.no_grad():
            if self.bias is not None:
                self.bias += (rows @ (flat - rounded).T).mean(dim=0)
            self.weight.copy_(rounded.reshape(turned.shape).movedim(0, axis))


def windows(kernel: Tensor, stride: object, padding: object, dilation: object) -> Callable[[Tensor], Tensor]:
    """Return what cuts a convolution's input into the rows [places, channels * kernel] that its weight is applied to."""
    single = kernel.ndim == 3  # noqa: PLR2004 - outputs, channels, time
    size = tuple(kernel.shape[2:])

    def pair(value: object) -> tuple[int, int]:
        both = tuple(value) if isinstance(value, tuple | list) else (value,) * len(size)
        return (0 if single and value is padding else 1, *both)[-2:] if single else both  # type: ignore[return-value]

    def cut(x: Tensor) -> Tensor:
        image = x.unsqueeze(-2) if single else x
        whole = image if image.ndim == 4 else image[None]  # noqa: PLR2004 - a batch
        kernel_size = (1, *size) if single else size
        columns = F.unfold(whole, kernel_size, pair(dilation), pair(padding), pair(stride))
        return columns.transpose(1, 2).reshape(-1, columns.shape[1])

    return cut
