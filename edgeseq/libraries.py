"""Libraries of the extras, imported where a configuration needs them; what is missing names its extra."""

from typing import Any

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
