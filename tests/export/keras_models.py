"""Small Keras models with weights that show every gate, seeded: what the tests of the Keras frontend are run on."""

from __future__ import annotations

import os

os.environ["KERAS_BACKEND"] = "torch"

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

keras = pytest.importorskip("keras", reason="keras is not installed: pip install 'edgeseq[dev]'")
layers = keras.layers

FEATURES = 5
STEPS = 200


def frames(steps: int = STEPS, features: int = FEATURES) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(steps, features)).astype(np.float32)


def randomized(model: Any, seed: int = 0, scale: float = 0.4) -> Any:
    """Give a model weights that show every gate and bias; variances are positive."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if "seed" in weight.path or "int" in str(weight.dtype):
            continue
        values = rng.normal(size=weight.shape) * scale
        weight.assign(np.abs(values) + 0.3 if "variance" in weight.path else values)
    return model


def saved(model: Any, folder: Path) -> Path:
    path = folder / "model.keras"
    model.save(path)
    return path


def sequential(*parts: Any, seed: int = 0, window: int | None = None, scale: float = 0.4) -> Any:
    return randomized(keras.Sequential([keras.Input((window, FEATURES)), *parts]), seed, scale)
