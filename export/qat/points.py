"""Where integers will stand: weights and tensors rounded as quantization will round them, gradients passing through.

The scheme is that of export/quantize/integers.py, whose numbers these are:
1. Weights are 8 bits, symmetric, one scale an output: its greatest weight / 127.
2. What a product reads and writes is 8 bits with a zero point, its range chosen by least squared error; for w8a16,
   16 bits, symmetric, over HEADROOM times the range seen.
8. A product that gives the module's output has a range of its own for each output.
10. A table that is looked up has one scale a column.
Elementwise steps, 16 bits in both variants, are left in float: they are far finer than the 8 bits that train here.

A rounded value's gradient is that of the value where it lies within its range, and 0 beyond.
Source: Bengio et al., "Estimating or propagating gradients through stochastic neurons", arXiv 1308.3432 (2013), section
4; for quantization, Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference", CVPR 2018, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from export.errors import ExportError
from export.quantize.calibrate import Seen
from export.quantize.types import HEADROOM

LEVELS = 127
TABLE_LEAST = 64
"""Numbers from which on a table is stored in 8 bits."""
ROWS = 512
"""Rows of each tensor that its range is chosen on: few, since it is chosen anew again and again."""
LIMITS = {8: (-128, 127), 16: (-32768, 32767)}


def rounded_weight(weight: Tensor, axis: int = 0) -> Tensor:
    """Round a weight to the 8 bits it will be stored in, one scale for each place along the axis (1, 10).

    Returns the weight's shape and float type. What lies on the grid stays there.
    """
    axis %= weight.ndim
    others = [other for other in range(weight.ndim) if other != axis]
    greatest = weight.detach().abs().amax(dim=others)
    scale = (greatest / LEVELS).clamp_min(torch.finfo(torch.float32).tiny).float()
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, axis, -LEVELS, LEVELS)


def best_range(
    lows: NDArray[np.floating], highs: NDArray[np.floating], sample: NDArray[np.floating]
) -> tuple[float, float]:
    """Return the range of 8 bits that quantization chooses for extremes [features] and a sample [rows, features]."""
    low, high = Seen(*(np.asarray(array, np.float32) for array in (lows, highs, sample))).best_range[:2]
    return low, high


@dataclass
class Point:
    """One tensor that will be stored as integers: first it is seen, then rounded.

    bits: 8 or 16. axis: that of the features, counted from the last. entering: whether a product reads it; its biases
    then make up for what the mean loses by rounding, as quantization's do. apart: each feature has its own range.
    """

    name: str
    bits: int
    axis: int = -1
    entering: bool = False
    apart: bool = False
    rows: list[Tensor] = field(default_factory=list)
    scale: float = 0.0
    share: float = 1.0
    """Of the scale, by which it is another in each pass of training."""
    zero: int = 0
    offset: Any = 0.0
    factor: Any = 1.0
    lost: Any = 0.0

    def see(self, values: Tensor) -> None:
        """Take in values, of any shape that has the features along the axis."""
        last = values.detach().movedim(self.axis, -1)
        self.rows.append(last.reshape(-1, last.shape[-1]))

    def settle(self) -> None:
        """Choose the range for what was seen since it was last chosen. Raises ExportError for NaN and infinity."""
        self.share = 1.0
        if not self.rows:
            return
        seen = torch.cat(self.rows)
        self.rows.clear()
        lows, highs = seen.amin(dim=0), seen.amax(dim=0)
        if not bool(torch.isfinite(lows + highs).all()):
            raise ExportError(f"{self.name}: reaches NaN or infinity on the frames given.")
        sample = seen[:: -(-len(seen) // ROWS)]
        least, greatest = LIMITS[self.bits]
        if self.apart:  # 8
            self.offset = self._along((lows + highs) / 2)
            half = self._along(highs - lows) / 2 * HEADROOM[f"int{self.bits}"].outputs
            self.factor = torch.maximum(half, 1e-6 * self.offset.abs().clamp_min(1.0))
            self.scale = 1 / greatest
        elif self.bits == 8:  # noqa: PLR2004 - 2
            low, high = best_range(*(array.cpu().numpy() for array in (lows, highs, sample)))
            self.scale = (high - low) / (greatest - least)
            self.zero = int(np.clip(round(least - low / self.scale), least, greatest))
        else:  # 2
            self.scale = max(float(torch.maximum(highs, -lows).max()), 1e-9) * HEADROOM["int16"].tensors / greatest
        if self.entering:
            self.lost = self._along((sample - self.stored(sample)).mean(dim=0))

    def rounded(self, values: Tensor) -> Tensor:
        """Return the values as they are after storing them; of their shape."""
        if self.apart:
            return torch.add(self.stored((values - self.offset) / self.factor) * self.factor, self.offset)
        return torch.add(self.stored(values), self.lost)

    def stored(self, values: Tensor) -> Tensor:
        """Return the values as they are after storing them, by scale and zero point alone."""
        return torch.fake_quantize_per_tensor_affine(values, self.scale * self.share, self.zero, *LIMITS[self.bits])

    def _along(self, features: Tensor) -> Tensor:
        """Shape one number a feature so that it spreads along the tensor's own axis."""
        return features.reshape(-1, *[1] * (-self.axis - 1))
