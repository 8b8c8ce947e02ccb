"""Keras' attention layers in NumPy, a block of queries at a time: scores over all keys, softmax, weighted values.

Source: keras.layers' documentation (Keras 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from export.frontends.keras_reference_activations import Floats, softmax

Config = Mapping[str, Any]
Weights = list[Floats]
Scores = Callable[[Floats, Floats], Floats]
BLOCK = 64


def _attend(options: Config, window: int | None, scores: Scores, query: Floats, key: Floats, value: Floats) -> Floats:  # noqa: PLR0917
    """Return what queries [.., time, size] see of values. window: how far, if not everywhere, in both directions."""
    count, blocks = key.shape[-2], []
    for start in range(0, query.shape[-2], BLOCK):
        given = scores(query[..., start : start + BLOCK, :], key)
        ages = start + np.arange(given.shape[-2])[:, None] - np.arange(count)
        seen = np.ones(ages.shape, bool) if window is None else np.abs(ages) < window
        if options.get("use_causal_mask"):
            seen &= ages >= 0
        blocks.append(softmax(np.where(seen, given, given.dtype.type(-1e9))) @ value)
    return np.concatenate(blocks, axis=-2)


def _multi_head(
    config: Config, weights: Weights, query: Floats, value: Floats, *given: Floats, **options: Any
) -> Floats:
    key, left = given[0] if given else value, list(weights)

    def projected(x: Floats) -> Floats:
        """[1, time, features] to [1, heads, time, size]."""
        y = np.einsum("btf,fhs->bths", x, left.pop(0))
        return np.asarray((y + left.pop(0) if config["use_bias"] else y).swapaxes(1, 2))

    q, k, v = projected(query), projected(key), projected(value)
    repeats = q.shape[1] // k.shape[1]
    k, v = (np.repeat(x, repeats, axis=1) for x in (k, v))
    scale = q.dtype.type(1 / math.sqrt(q.shape[-1]))
    window = config.get("sliding_window")
    y = _attend(options, window, lambda a, b: (a * scale) @ b.swapaxes(-1, -2), q, k, v)
    y = np.einsum("bhts,hsf->btf", y, left.pop(0))
    return np.asarray(y + left.pop(0) if config["use_bias"] else y)


def _attention(
    config: Config, weights: Weights, query: Floats, value: Floats, *given: Floats, **options: Any
) -> Floats:
    key, left = given[0] if given else value, list(weights)
    scale = left.pop(0) if config["use_scale"] else query.dtype.type(1)
    if config.get("score_mode", "dot") == "dot":
        return _attend(options, None, lambda a, b: a @ b.swapaxes(-1, -2) * scale, query, key, value)
    weight = left.pop(0)

    def scores(a: Floats, b: Floats) -> Floats:
        return np.asarray(weight * np.tanh(scale * (a[:, :, None] + b[:, None])).sum(axis=-1))

    return _attend(options, None, scores, query, key, value)


def _additive(config: Config, weights: Weights, query: Floats, value: Floats, *given: Floats, **options: Any) -> Floats:
    scale = weights[0] if config["use_scale"] else query.dtype.type(1)

    def scores(a: Floats, b: Floats) -> Floats:
        return np.asarray((scale * np.tanh(a[:, :, None] + b[:, None])).sum(axis=-1))

    return _attend(options, None, scores, query, given[0] if given else value, value)


ATTENTION: dict[str, Callable[..., Floats]] = {
    "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _multi_head,
    "Attention": _attention,
    "AdditiveAttention": _additive,
}
