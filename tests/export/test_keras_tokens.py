"""Keras models of tokens: Embedding before anything that streams."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_checks import close, equals_keras, predicted, streams_as_keras
from keras_models import FEATURES, keras, layers, randomized, saved
from numpy.typing import NDArray

import edgeseq
import export
from export.frontends import keras as frontend

COUNT = 11


def tokens(steps: int = 120, least: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(5).integers(least, COUNT, steps)


def of_tokens(*parts: Any, dtype: str = "int32", window: int | None = None, padded: bool = False) -> Any:
    table = layers.Embedding(COUNT, 6, mask_zero=padded, name="table")
    return randomized(keras.Sequential([keras.Input((window,), dtype=dtype), table, *parts]))


BEHIND: dict[str, Callable[[], list[Any]]] = {
    "lstm": lambda: [layers.LSTM(5, return_sequences=True), layers.Dense(COUNT, activation="softmax")],
    "gru": lambda: [layers.GRU(5)],
    "convolution": lambda: [layers.Conv1D(5, 3, padding="same", activation="relu"), layers.LayerNormalization()],
    "separable": lambda: [layers.SeparableConv1D(5, 3, padding="same"), layers.SimpleRNN(4, return_sequences=True)],
    "dense": lambda: [layers.Dense(3)],
}


@pytest.mark.parametrize("name", BEHIND)
@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_tokens_stream(name: str, dtype: str, tmp_path: Path) -> None:
    model = of_tokens(*BEHIND[name](), dtype=dtype)
    equals_keras(model, tmp_path, tokens())
    graph = streams_as_keras(model, tmp_path, tokens())
    assert graph.tokens == {0: COUNT}


@pytest.mark.parametrize("built", ["sequential", "functional"])
def test_zero_is_padding_and_told(built: str, tmp_path: Path) -> None:
    """Without a 0 the mask does nothing: that a stream has no padding is what is noted."""
    parts = [layers.LSTM(5, return_sequences=True), layers.GRU(4), layers.Dense(2)]
    model = of_tokens(*parts, window=120, padded=True)
    if built == "functional":
        x = keras.Input((120,), dtype="int32")
        y = layers.Embedding(COUNT, 6, mask_zero=True, name="table")(x)
        y = layers.Concatenate()([layers.Add()([layers.LSTM(6, return_sequences=True)(y), y]), y])
        model = randomized(keras.Model(x, layers.GRU(4)(layers.Dropout(0.1)(y))))
    path = saved(model, tmp_path)
    sequence = frontend.load(path, input_name=None, time_axis=None)
    assert any("token 0 is padding to 'table'" in note for note in sequence.notes)
    x = tokens(least=1)
    close(sequence.double([x[None]])[0], predicted(model, x))
    step = edgeseq.load(export.export(path, tmp_path / "b", variants=["float32"], state="carry"))
    padded = np.concatenate([np.zeros(70, np.int64), x[:50]])
    close(step.run(x[:50, None])[-1], predicted(model, padded)[0])


def test_two_tables_and_the_least_of_them(tmp_path: Path) -> None:
    x = keras.Input((None,), dtype="int64")
    y = layers.Concatenate()([layers.Embedding(COUNT, 3)(x), layers.Embedding(COUNT + 5, 4)(x)])
    model = randomized(keras.Model(x, layers.GRU(4, return_sequences=True)(y * 2.0)))
    assert streams_as_keras(model, tmp_path, tokens()).tokens == {0: COUNT}


def test_what_is_no_token_is_refused(tmp_path: Path) -> None:
    def refused(model: Any, message: str) -> None:
        with pytest.raises(export.ExportError, match=message):
            export.export(saved(model, tmp_path), tmp_path / "b", variants=["float32"])

    x, numbers = keras.Input((None,), dtype="int32"), keras.Input((None, FEATURES))
    table = layers.Embedding(COUNT, 4, name="table")
    refused(keras.Model(x, layers.Rescaling(2.0, name="r")(x)), r"'r' \(Rescaling\) reads it; only Embedding")
    refused(keras.Model(numbers, table(numbers)), r"'table' \(Embedding\): it reads numbers, not tokens")
    refused(_of_bools(), "is bool; frames are")


def _of_bools() -> Any:
    x = keras.Input((None, FEATURES), dtype="bool")
    return keras.Model(x, layers.Dense(2)(x))
