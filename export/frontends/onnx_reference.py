"""ONNX's own reference, for the original in float64, with what it lacks or has for float32 alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Array = NDArray[np.floating]


class LRN(OpRun):
    """Local response normalization over the channels, ONNX operator LRN-13."""

    op_domain = ""

    def _run(self, x: Array, alpha: float, beta: float, bias: float, size: int) -> tuple[Array]:
        """Divide by the squares of `size` channels around each."""
        channels = x.shape[1]
        square = np.zeros_like(x)
        for c in range(channels):
            around = slice(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1))
            square[:, c] = np.sum(x[:, around] ** 2, axis=1)
        return (x / (bias + alpha / size * square) ** beta,)


class MeanVarianceNormalization(OpRun):
    """ONNX operator MeanVarianceNormalization-13, whose definition holds a float32."""

    op_domain = ""

    def _run(self, x: Array, axes: Any = None) -> tuple[Array]:
        """Return (x - mean) / (deviation + 1e-9)."""
        over = tuple(axes) if axes is not None else (0, 2, 3)
        mean = x.mean(axis=over, keepdims=True)
        deviation = np.sqrt((x**2).mean(axis=over, keepdims=True) - mean**2)
        return ((x - mean) / (deviation + 1e-9),)


class GlobalMaxPool(OpRun):
    """ONNX operator GlobalMaxPool-1; the reference takes the channels' maximum, too, where there is one axis behind."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        """Return the maximum over all axes behind the channels."""
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class DequantizeLinear(OpRun):
    """ONNX operator DequantizeLinear-13; the reference has later ones alone."""

    op_domain = ""

    def _run(self, x: Any, scale: Array, zero: Any = None, axis: int = 1, **_later: object) -> tuple[Array]:
        """Return (x - zero) * scale."""
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[axis] = scale.size
        real = x.astype(scale.dtype) - (0 if zero is None else zero.astype(scale.dtype).reshape(shape))
        return (real * scale.reshape(shape),)


DEQUANTIZE = 19
"""The first opset whose DequantizeLinear the reference has."""


def lacking(model: onnx.ModelProto) -> list[type[OpRun]]:
    """Return the ops to be given for a model."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    own: list[type[OpRun]] = [LRN, MeanVarianceNormalization, GlobalMaxPool]
    return [*own, DequantizeLinear] if opset < DEQUANTIZE else own
