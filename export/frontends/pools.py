"""Pooling in float64: ONNX's own reference of MaxPool and AveragePool fails on strides together with padding.

Source: the operators' definition in the ONNX specification, opset 22.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from onnx.reference.op_run import OpRun

Floats = NDArray[np.floating]


def windows(  # noqa: PLR0917
    x: Floats, padding: float, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int], pads: Any
) -> Floats:
    """Return what each window sees, [batch, channels, *outputs, *kernel]; past the end there is padding, too."""
    spatial = len(kernel)
    padded = np.pad(x, [(0, 0), (0, 0), *pads], constant_values=padding)
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    seen = sliding_window_view(padded, spans, axis=tuple(range(2, 2 + spatial)))
    whole = (slice(None), slice(None))
    return seen[(*whole, *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations))]


class _Pool(OpRun):
    op_domain = ""

    def _windows(self, x: Floats, padding: float, attributes: dict[str, Any]) -> Floats:
        """Read the attributes as the specification has them."""
        kernel = attributes["kernel_shape"]
        strides = attributes.get("strides") or [1] * len(kernel)
        dilations = attributes.get("dilations") or [1] * len(kernel)
        pads, how = attributes.get("pads") or [0] * (2 * len(kernel)), attributes.get("auto_pad") or "NOTSET"
        each = []
        for place, (size, stride, dilation) in enumerate(zip(kernel, strides, dilations, strict=True)):
            span, length = (size - 1) * dilation + 1, x.shape[2 + place]
            before, after = pads[place], pads[place + len(kernel)]
            if how in ("SAME_UPPER", "SAME_LOWER"):
                missing = max((-(-length // stride) - 1) * stride + span - length, 0)
                before, after = missing // 2, missing - missing // 2
                before, after = (before, after) if how == "SAME_UPPER" else (after, before)
            elif attributes.get("ceil_mode"):
                rest = (length + before + after - span) % stride
                # A window that would begin in the padding behind the end is left out.
                more = stride - rest if rest else 0
                after += more if length + before + after + more - span < length + before else 0
            each.append((before, after))
        return windows(x, padding, kernel, strides, dilations, each)


class MaxPool(_Pool):
    """The greatest number in each window; padding is less than any."""

    def _run(self, x: Floats, **attributes: Any) -> tuple[Floats]:
        if len(self.onnx_node.output) > 1:
            raise NotImplementedError("indices of maxima")
        seen = self._windows(x, -np.inf, attributes)
        return (seen.max(axis=tuple(range(x.ndim, seen.ndim))),)


class AveragePool(_Pool):
    """The mean of each window; padding counts as zeros, or not at all."""

    def _run(self, x: Floats, **attributes: Any) -> tuple[Floats]:
        inside = np.ones_like(x[:1, :1])
        axes = tuple(range(x.ndim, 2 * x.ndim - 2))
        total = self._windows(x, 0.0, attributes).sum(axis=axes)
        if attributes.get("count_include_pad") and not attributes.get("ceil_mode"):
            return ((total / np.prod(attributes["kernel_shape"])).astype(x.dtype),)
        if attributes.get("count_include_pad"):
            raise NotImplementedError("a mean over padding with ceil_mode")
        return ((total / self._windows(inside, 0.0, attributes).sum(axis=axes)).astype(x.dtype),)


POOLS = (MaxPool, AveragePool)
