"""Keras' attention layers: causal ones stream, all equal Keras, the future is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_checks import close, equals_keras, predicted, streams_as_keras
from keras_models import FEATURES, frames, keras, layers, randomized, saved

import edgeseq
import export

WIDE = 6
Attend = Callable[[Any, Any], Any]
CAUSAL = {"use_causal_mask": True}

KINDS: dict[str, Callable[..., Attend]] = {
    "self": lambda **o: lambda x, _: layers.MultiHeadAttention(2, 4)(x, x, **o),
    "dropout": lambda **o: lambda x, _: layers.MultiHeadAttention(2, 4, dropout=0.3)(x, x, **o),
    "two": lambda **o: lambda x, y: layers.MultiHeadAttention(3, 4, value_dim=5)(x, y, **o),
    "three": lambda **o: lambda x, y: layers.MultiHeadAttention(1, 3, use_bias=False)(query=x, key=y, value=x, **o),
    "wider": lambda **o: lambda x, y: layers.MultiHeadAttention(2, 3, output_shape=9)(x, key=y, value=y, **o),
    "grouped": lambda **o: lambda x, y: layers.GroupQueryAttention(3, 4, 2)(x, y, **o),
    "one key": lambda **o: lambda x, y: layers.GroupQueryAttention(3, 2, 1, use_bias=False)(x, x, y, **o),
    "dot": lambda **o: lambda x, y: layers.Attention(use_scale=True)([x, y], **o),
    "plain dot": lambda **o: lambda x, y: layers.Attention()([x, y, x], **o),
    "concat": lambda **o: lambda x, y: layers.Attention(use_scale=True, score_mode="concat")([x, y], **o),
    "additive": lambda **o: lambda x, y: layers.AdditiveAttention()([x, y, y], **o),
    "bare additive": lambda **o: lambda x, _: layers.AdditiveAttention(use_scale=False)([x, x], **o),
}


def attending(attend: Attend, *, last: bool = False) -> Any:
    """Build an attention between two projections of the input, and a residual."""
    x = keras.Input((None, FEATURES))
    query, other = layers.Dense(WIDE)(x), layers.Dense(WIDE, activation="tanh")(x)
    y = layers.Concatenate()([attend(query, other), query])
    y = layers.LayerNormalization()(y)
    return randomized(keras.Model(x, layers.GRU(4)(y) if last else layers.Dense(3)(y)))


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("name", KINDS)
def test_attention_equals_keras(name: str, tmp_path: Path, *, masked: bool) -> None:
    equals_keras(attending(KINDS[name](**(CAUSAL if masked else {}))), tmp_path)


@pytest.mark.parametrize("name", KINDS)
def test_causal_attention_streams(name: str, tmp_path: Path) -> None:
    streams_as_keras(attending(KINDS[name](**CAUSAL)), tmp_path, frames(120), max_steps=128)


@pytest.mark.parametrize("name", ["self", "grouped", "additive"])
def test_attention_over_the_future_is_refused(name: str, tmp_path: Path) -> None:
    path = saved(attending(KINDS[name]()), tmp_path)
    with pytest.raises(export.ExportError, match=r"node '.*attention.*future"):
        export.export(path, tmp_path / "b", variants=["float32"])
    assert not (tmp_path / "b").exists()


def test_a_last_step_behind_attention_over_windows(tmp_path: Path) -> None:
    model = attending(KINDS["self"](), last=True)
    step = edgeseq.load(export.export(saved(model, tmp_path), tmp_path / "b", variants=["float32"], window=16))
    x = frames(60)
    given = step.run(x)
    for end in (16, 40, 60):
        close(given[end - 1], predicted(model, x[end - 16 : end])[0])


def test_a_sliding_window_streams_for_ever(tmp_path: Path) -> None:
    def banded(x: Any, _: Any) -> Any:
        return layers.MultiHeadAttention(2, 4, sliding_window=7)(x, x, use_causal_mask=True)

    graph = streams_as_keras(attending(banded), tmp_path)
    assert (graph.max_steps, graph.receptive_field) == (None, 7)


def block(x: Any) -> Any:
    """Make a pre-norm Transformer block."""
    y = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.Dropout(0.1)(layers.MultiHeadAttention(2, 3)(y, y, use_causal_mask=True))])
    y = layers.Dense(WIDE)(layers.Dense(12, activation="gelu")(layers.LayerNormalization()(x)))
    return layers.Add()([x, y])


@pytest.mark.parametrize("padded", [True, False])
def test_a_transformer_of_tokens_streams(tmp_path: Path, *, padded: bool) -> None:
    x = keras.Input((None,), dtype="int32")
    y = block(block(layers.Embedding(12, WIDE, mask_zero=padded)(x)))
    tokens = np.random.default_rng(2).integers(1, 12, 90)
    model = randomized(keras.Model(x, layers.Dense(12, activation="softmax")(y)))
    streams_as_keras(model, tmp_path, tokens, max_steps=96)


def test_what_attention_cannot_be_read_is_refused(tmp_path: Path) -> None:
    def refused(model: Any, message: str) -> None:
        with pytest.raises(export.ExportError, match=message):
            export.export(saved(model, tmp_path), tmp_path / "b", variants=["float32"])

    x = keras.Input((None, FEATURES))
    many = layers.MultiHeadAttention(2, 4, name="m")
    refused(keras.Model(x, many(x, x, return_attention_scores=True)[1]), "'m'.*scores")
    refused(keras.Model(x, many(x, x, attention_mask=layers.Dense(9)(x))), r"'m' .*'attention_mask' that is computed")
    gated = layers.MultiHeadAttention(2, 4, use_gate=True, name="m")
    refused(keras.Model(x, gated(x, x)), r"'m' \(MultiHeadAttention\): use_gate")
    refused(keras.Model(x, many(x, layers.GRU(4)(x)[:, None])), "GetItem")
