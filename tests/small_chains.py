"""Configurations of stages without a bundle, on small models and a short sound file, and signals for them."""

from pathlib import Path
from typing import Any

import numpy as np
import small_models
import soundfile

from edgeseq import config as configs
from edgeseq.models.chain import Chain

HEAD = '[source]\ntype = "audio"\npath = "in.wav"\nrate_hz = 16000\n'
ECHO = """
[[model]]
type = "onnx"
file = "echo.onnx"
hop = 4
overlap = { x = 2 }
constants = { gain = 3 }
"""
SPECTRAL = """
[[model]]
type = "stft"
block = 32
hop = 8
window = "hann"
[[model]]
name = "gain"
type = "tflite"
file = "sum.tflite"
inputs = { x = "stft.magnitude" }
states = [{ input = "h", output = "h_next" }]
[[model]]
type = "mask"
inputs = { mask = "gain", of = "stft.spectrum" }
[[model]]
type = "istft"
window = "hann"
[[model]]
type = "overlap_add"
gain = 0.6666666
"""


def build(folder: Path, text: str, head: str = HEAD) -> Any:
    """Return the checked configuration of these stages, with the small models beside it."""
    small_models.echo(folder / "echo.onnx")
    small_models.tflite_sum(folder / "sum.tflite", (1, 1, 17))
    small_models.two_states(folder / "two.onnx")
    soundfile.write(folder / "in.wav", np.zeros(16), 16000, subtype="FLOAT")
    path = folder / "pipeline.toml"
    path.write_text(f'name = "test"\n{head}{text}')
    return configs.load(path)


def chain(folder: Path, text: str, head: str = HEAD) -> Chain:
    found = build(folder, text, head).trained.chain
    assert isinstance(found, Chain)
    return found


def signal(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 1)).astype(np.float32)
