"""ONNX's own reference, for the original in float64, with what it lacks or has for float32 alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
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


class Pad(OpRun):
    """ONNX operator Pad-13 and later; the reference takes no negative pads, which cut off."""

    op_domain = ""

    def _run(self, x: Any, pads: Any, value: Any = None, axes: Any = None, mode: str = "constant") -> tuple[Any]:
        """Return x with so many entries more, or fewer, before and behind on each axis."""
        places = range(x.ndim) if axes is None else [int(axis) % x.ndim for axis in axes]
        bounds = np.zeros((x.ndim, 2), np.int64)
        bounds[list(places)] = np.reshape(pads, (2, -1)).T
        cut = np.maximum(-bounds, 0)
        kept = x[tuple(slice(first, size - last) for (first, last), size in zip(cut, x.shape, strict=True))]
        options = {"constant_values": 0 if value is None else np.asarray(value).item()} if mode == "constant" else {}
        return (np.pad(kept, np.maximum(bounds, 0), mode=mode, **options),)  # type: ignore[call-overload]


class ConvTranspose(OpRun):
    """ONNX operator ConvTranspose-11; the reference fails where there are groups."""

    op_domain = ""

    def _run(self, x: Array, weight: Array, bias: Any = None, **attributes: Any) -> tuple[Array]:
        """Add each entry, times the kernel, to where it reaches; cut the padding off."""
        space, groups = x.ndim - 2, attributes.get("group") or 1
        strides, dilations = ([*(attributes.get(key) or [1] * space)] for key in ("strides", "dilations"))
        more, kernel = [*(attributes.get("output_padding") or [0] * space)], weight.shape[2:]
        pads, how, shape = (attributes.get(key) for key in ("pads", "auto_pad", "output_shape"))
        sizes = zip(x.shape[2:], strides, kernel, dilations, strict=True)
        full = [s * (n - 1) + (k - 1) * d + 1 for n, s, k, d in sizes]
        if shape or str(how).startswith("SAME"):
            wanted = [*shape][-space:] if shape else [n * s for n, s in zip(x.shape[2:], strides, strict=True)]
            totals = [max(size + extra - want, 0) for size, extra, want in zip(full, more, wanted, strict=True)]
            pads = [total // 2 if how == "SAME_UPPER" else total - total // 2 for total in totals]
            pads += [total - first for total, first in zip(totals, pads, strict=True)]
        pads = [*(pads or [0] * (2 * space))]
        y = np.zeros((len(x), groups * weight.shape[1], *map(sum, zip(full, more, strict=True))), x.dtype)
        split = x.reshape(len(x), groups, -1, *x.shape[2:])
        by_group = weight.reshape(groups, -1, *weight.shape[1:])
        for tap in np.ndindex(*kernel):
            part = np.einsum("ngi...,gio->ngo...", split, by_group[(..., *tap)])
            ends = zip(tap, dilations, strides, x.shape[2:], strict=True)
            at = tuple(slice(t * d, t * d + s * (n - 1) + 1, s) for t, d, s, n in ends)
            y[(slice(None), slice(None), *at)] += part.reshape(len(x), -1, *x.shape[2:])
        cut = tuple(slice(pads[i], size - pads[i + space]) for i, size in enumerate(y.shape[2:]))
        y = y[(slice(None), slice(None), *cut)]
        return (y if bias is None else y + bias.reshape(-1, *[1] * space),)


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


EDGE = 2.0**-18
"""How near an edge between two integers a value may fall to either side, as a share of it, or of LEAST where that is
greater: it is a sum of greater ones. float32 errs by some units of 2**-24 of that: less, so that none of it escapes."""
LEAST = 255.0
_edgy: ContextVar[bool] = ContextVar("_edgy", default=False)


@contextmanager
def rounding_otherwise() -> Iterator[None]:
    """Let what lies near the edge between two integers fall to either side, seeded, as in another engine it might."""
    token = _edgy.set(True)
    try:
        yield
    finally:
        _edgy.reset(token)


def _noise(x: Array) -> Array | float:
    """Return what moves values across near edges, nothing but then."""
    if not _edgy.get():
        return 0.0
    size = EDGE * np.clip(np.abs(x), LEAST, 2.0**16)
    return np.asarray(np.random.default_rng(x.size).uniform(-1, 1, x.shape) * size)


class Round(OpRun):
    """ONNX operator Round-11."""

    op_domain = ""

    def _run(self, x: Array) -> tuple[Array]:
        """Round half to even."""
        return (np.rint(x + _noise(x)).astype(x.dtype),)


class QuantizeLinear(OpRun):
    """ONNX operator QuantizeLinear-13; the reference lets what lies beyond 32 bits, as a mask does, wrap round."""

    op_domain = ""

    def _run(self, x: Array, scale: Array, zero: Any = None, axis: int = 1, **_later: object) -> tuple[Any]:
        """Return x / scale + zero, rounded half to even, within the type."""
        shape = [1] * x.ndim
        if scale.size > 1:
            shape[axis] = scale.size
        kind = np.dtype(np.uint8) if zero is None else zero.dtype
        limits = np.iinfo(kind)
        ratio = x / scale.reshape(shape)
        whole = np.rint(ratio + _noise(ratio))
        if zero is not None:
            whole = whole + zero.astype(np.float64).reshape(shape if zero.size > 1 else [1] * x.ndim)
        return (np.clip(whole, limits.min, limits.max).astype(kind),)


DEQUANTIZE = 19
"""The first opset whose DequantizeLinear the reference has."""


def lacking(model: onnx.ModelProto) -> list[type[OpRun]]:
    """Return the ops to be given for a model."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    own: list[type[OpRun]] = [LRN, MeanVarianceNormalization, GlobalMaxPool, Pad, ConvTranspose, Round]
    if not any(_beyond(node) for node in model.graph.node):
        own.append(QuantizeLinear)
    return [*own, DequantizeLinear] if opset < DEQUANTIZE else own


def _beyond(node: onnx.NodeProto) -> bool:
    """Whether a node quantizes in a way of a later opset: in blocks, or to a type that is not its zero point's."""
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return node.op_type == "QuantizeLinear" and any(attributes.get(name) for name in ("block_size", "output_dtype"))
