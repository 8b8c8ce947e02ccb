"""Keras models over time and features: 2-D convolutions, and layers on each step's own axis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_checks import close, equals_keras, predicted, streams_as_keras
from keras_models import keras, layers, randomized, saved
from numpy.typing import NDArray

import edgeseq
import export

HIGH = 10


def images(steps: int = 120, channels: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(4).normal(size=(steps, HIGH, channels)).astype(np.float32)


def over_images(*parts: Any, channels: int = 1, window: int | None = None) -> Any:
    return randomized(keras.Sequential([keras.Input((window, HIGH, channels)), *parts]), scale=0.3)


def flat(size: int) -> Any:
    return layers.Reshape((-1, size))


PARTS: dict[str, Callable[[], list[Any]]] = {
    "valid": lambda: [layers.Conv2D(3, (3, 4), strides=(1, 2), activation="relu"), flat(12)],
    "same": lambda: [layers.Conv2D(3, (3, 3), padding="same", use_bias=False), flat(30)],
    "strides": lambda: [layers.Conv2D(2, (4, 3), strides=(2, 3)), flat(6)],
    "same over features": lambda: [layers.Conv2D(2, (1, 4), strides=(1, 3), padding="same"), flat(8)],
    "dilated": lambda: [layers.Conv2D(4, 3, dilation_rate=(2, 3)), flat(16)],
    "grouped": lambda: [layers.Conv2D(4, 1), layers.Conv2D(6, (2, 3), groups=2), flat(48)],
    "depthwise": lambda: [layers.DepthwiseConv2D(3, depth_multiplier=2, padding="same", activation="tanh"), flat(20)],
    "separable": lambda: [layers.SeparableConv2D(4, (3, 5), depth_multiplier=2, padding="same"), flat(40)],
    "max": lambda: [layers.MaxPooling2D((2, 3)), flat(3)],
    "max same": lambda: [layers.MaxPooling2D((3, 3), strides=(1, 3), padding="same"), flat(4)],
    "average": lambda: [layers.AveragePooling2D((1, 2)), flat(5)],
    "padded": lambda: [layers.ZeroPadding2D(((3, 0), (1, 2))), layers.Conv2D(2, (4, 3)),
                       layers.Cropping2D(((0, 0), (2, 1))), flat(16)],
    "norms": lambda: [layers.BatchNormalization(), layers.SpatialDropout2D(0.2), layers.LayerNormalization(), flat(10)],
    "steps": lambda: [layers.TimeDistributed(layers.Conv1D(3, 3, activation="relu")),
                      layers.TimeDistributed(layers.MaxPooling1D(2)), layers.TimeDistributed(layers.Flatten()),
                      layers.LSTM(4, return_sequences=True)],
    "more steps": lambda: [layers.TimeDistributed(layers.SeparableConv1D(3, 2, strides=2, padding="same")),
                           layers.TimeDistributed(layers.AveragePooling1D(2, strides=1)),
                           layers.TimeDistributed(layers.Reshape((3, -1))),
                           layers.TimeDistributed(layers.DepthwiseConv1D(2)), flat(8), layers.Dense(2)],
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_layers_over_images_equal_keras_and_stream(name: str, tmp_path: Path) -> None:
    equals_keras(over_images(*PARTS[name]()), tmp_path, images())
    streams_as_keras(over_images(*PARTS[name]()), tmp_path, images())


def crnn(window: int | None) -> list[Any]:
    """Convolutions over time and frequency, then a recurrent layer: time kept by its number or left open."""
    return [
        layers.Conv2D(4, (3, 3), padding="same", activation="relu"),
        layers.MaxPooling2D((1, 2)),
        layers.Conv2D(6, (3, 3), padding="same", activation="relu"),
        layers.MaxPooling2D((1, 2)),
        layers.Reshape((-1 if window is None else window, 12 if window is None else -1)),
        layers.GRU(5, return_sequences=True),
        layers.Dense(3, activation="softmax"),
    ]


@pytest.mark.parametrize("window", [None, 120])
def test_a_crnn_streams(window: int | None, tmp_path: Path) -> None:
    graph = streams_as_keras(over_images(*crnn(window), channels=2, window=window), tmp_path, images(channels=2))
    assert graph.widths == [2 * HIGH]


def test_a_ds_cnn_runs_over_windows(tmp_path: Path) -> None:
    """Depthwise separable blocks and a mean over the whole window, as keyword spotters have it."""
    blocks = [
        layers.Conv2D(4, (4, 3), strides=(1, 2), activation="relu"),
        layers.DepthwiseConv2D(3, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Conv2D(5, 1, activation="relu"),
    ]
    model = over_images(*blocks, layers.GlobalAveragePooling2D(), layers.Dense(3), window=30)
    equals_keras(model, tmp_path, images(30))
    step = edgeseq.load(export.export(saved(model, tmp_path), tmp_path / "b", variants=["float32"], window=30))
    x = images(60)
    given = step.run(x.reshape(60, HIGH))
    for end in (30, 41, 60):
        close(given[end - 1], predicted(model, x[end - 30 : end])[0])


def refused(model: Any, folder: Path, message: str) -> None:
    path = saved(model, folder)
    with pytest.raises(export.ExportError, match=message):
        export.export(path, folder / "b", variants=["float32"])
    assert not (folder / "b").exists()


def test_what_reshapes_time_is_refused(tmp_path: Path) -> None:
    for target in ((60, -1), (15, -1), (300,)):
        model = over_images(layers.Reshape(target, name="r"), window=30)
        refused(model, tmp_path, r"'r' \(Reshape\).*time and features")
    model = over_images(layers.MaxPooling2D((2, 1)), layers.Reshape((30, -1), name="r"), window=60)
    streams_as_keras(model, tmp_path, images(60))
    (tmp_path / "c").mkdir()
    model = over_images(layers.MaxPooling2D((2, 1)), layers.Reshape((60, -1), name="r"), window=60)
    refused(model, tmp_path / "c", r"'r' \(Reshape\).*time and features")


def test_what_is_no_image_over_time_is_refused(tmp_path: Path) -> None:
    refused(over_images(layers.Conv2D(2, 3, strides=2, padding="same", name="c")), tmp_path, r"'c' \(Conv2D\).*same")
    causal = layers.TimeDistributed(layers.Conv1D(2, 3, padding="causal"), name="c")
    refused(over_images(causal), tmp_path, r"'c' \(Conv1D\).*causal")
