"""Models and data that are not ours to pass on: found through the environment, or the test skips and says so."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

RATE_HZ = 16000


def models(name: str) -> Path:
    """Return the folder of a model by others under EDGESEQ_MODELS."""
    return _folder("EDGESEQ_MODELS", name)


def data(name: str) -> Path:
    """Return a folder of data by others under EDGESEQ_DATA."""
    return _folder("EDGESEQ_DATA", name)


def silero() -> Path:
    """Return the folder of the ONNX files in the wheel silero-vad; nothing of it is imported."""
    found = importlib.util.find_spec("silero_vad")
    if found is None or not found.submodule_search_locations:
        pytest.skip("silero-vad is not installed: pip install --no-deps silero-vad")
    return Path(found.submodule_search_locations[0]) / "data"


def noisy_speech(seconds: int = 6) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Return words from the Speech Commands under EDGESEQ_DATA, one a second, in seeded noise, at 16 kHz."""
    folder = data("speech-commands")
    words = sorted(path for path in folder.glob("*/*.flac") if not path.parent.name.startswith("_"))
    if len(words) < seconds:
        pytest.skip(f"{folder} holds no words as FLAC")
    rng = np.random.default_rng(7)
    clips = [soundfile.read(words[index])[0] for index in rng.choice(len(words), seconds, replace=False)]
    return (np.concatenate(clips) + rng.normal(0, 0.02, sum(map(len, clips)))).astype(np.float32)


def _folder(variable: str, name: str) -> Path:
    if variable not in os.environ:
        pytest.skip(f"{variable} does not say where the folder with {name} is")
    folder = Path(os.environ[variable]) / name
    if not folder.is_dir():
        pytest.skip(f"{folder} does not exist ({variable})")
    return folder
