"""Libraries of the extras, imported where a configuration needs them; what is missing names its extra."""

import importlib
from typing import Any

import numpy as np

from edgeseq.errors import ConfigError


def pyarrow() -> Any:
    """Import pyarrow with its Parquet part. Raises ConfigError naming the extra that brings it."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - 176 MB that only Parquet needs
        import pyarrow.parquet  # noqa: PLC0415
    except ImportError as cause:
        raise ConfigError(
            "Parquet files need pyarrow, which is not installed: pip install 'edgeseq[parquet]'."
        ) from cause
    return pa


def soundfile() -> Any:
    """Import soundfile. Raises ConfigError naming the extra that brings it."""
    try:
        import soundfile as sf  # noqa: PLC0415 - a library that only sound needs
    except (ImportError, OSError) as cause:  # OSError: the package is there, its libsndfile is not
        raise ConfigError(
            "sound files need soundfile, which is not installed: pip install 'edgeseq[audio]'."
        ) from cause
    return sf


def sounddevice() -> Any:
    """Import sounddevice. Raises ConfigError naming the extra, or the system's library, that is missing."""
    try:
        return importlib.import_module("sounddevice")
    except ImportError as cause:
        raise ConfigError(
            "listening to a sound device needs sounddevice, which is not installed: pip install 'edgeseq[audio]'."
        ) from cause
    except OSError as cause:  # the package is there, the library that it wraps is not
        raise ConfigError(
            f"sounddevice does not load ({cause}): it needs PortAudio. On Debian: apt-get install libportaudio2."
        ) from cause


def numba() -> Any:
    """Import Numba, which compiles the native engine. Raises ConfigError naming the cure where it does not load."""
    try:
        return importlib.import_module("numba")
    except ImportError as cause:  # also where it does not go with the NumPy beside it
        raise ConfigError(
            f"the backend 'native' needs numba, which does not load here ({cause}): pip install 'numba>=0.60', or "
            "choose the backend 'ort'."
        ) from cause


LITERT = ("ai_edge_litert", "tflite_runtime")
"""In this order; the second is the first's forerunner, where the first has no wheels."""


def litert() -> Any:
    """Import LiteRT's Interpreter, or its forerunner's. Raises ConfigError naming what has to be installed."""
    for name in LITERT:
        try:
            interpreter = importlib.import_module(f"{name}.interpreter").Interpreter
        except ImportError:
            continue
        # It installs and imports beside numpy 2, and fails with the first interpreter that is made.
        if name == "tflite_runtime" and int(np.__version__.partition(".")[0]) > 1:
            raise ConfigError(
                f"tflite-runtime was built for numpy 1 and does not run beside numpy {np.__version__}: "
                "pip install 'numpy<2', or its successor in its place: pip install 'edgeseq[tflite]'."
            )
        return interpreter
    raise ConfigError("TFLite files need ai-edge-litert, which is not installed: pip install 'edgeseq[tflite]'.")


def tokenizers() -> Any:
    """Import Hugging Face's tokenizers. Raises ConfigError naming the extra that brings it."""
    return _text("tokenizers", "a tokenizer.json needs")


def drain() -> Any:
    """Import Drain3's algorithm, drain3.drain. Raises ConfigError naming the extra that brings it."""
    return _text("drain3.drain", "log templates need")


def _text(module: str, who_needs: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as cause:
        package = module.partition(".")[0]
        raise ConfigError(f"{who_needs} {package}, which is not installed: pip install 'edgeseq[text]'.") from cause
