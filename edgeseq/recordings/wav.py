"""A model's signal as a sound file."""

from __future__ import annotations

from collections import Counter
from typing import IO

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SinkError
from edgeseq.types import About, Event, Frames, Output

MAX_BYTES = (1 << 32) - (1 << 16)
"""A WAV file's sizes are 32 bits wide; the rest is for its header."""


class Wav:
    """One signal as a WAV file of 32-bit float samples, nothing clipped, nothing rounded.

    Samples of a step that the data did not fill are NaN at its end, and left out. Others that are not finite are the
    model's: silence is written, and counted in `dropped["not_finite_sample"]`.
    """

    def __init__(self, file: IO[bytes], about: About) -> None:
        rate = about.signal_hz or 0.0
        if rate != round(rate) or rate < 1:
            raise ConfigError(f"a sound file has a whole number of samples a second, this signal has {rate:g}.")
        self.dropped: Counter[str] = Counter()
        self._stream: str | None = None
        self._bytes = 0
        self._sound = libraries.soundfile().SoundFile(
            file, "w", samplerate=round(rate), channels=1, format="WAV", subtype="FLOAT"
        )

    def output(self, output: Output, level: str) -> None:  # noqa: ARG002 - a signal has no level
        """Write a step's samples. Raises SinkError for a second stream, and for more than the format holds."""
        if self._stream not in (None, output.stream):
            raise SinkError(
                f"a sound file holds one signal, here are two streams: '{self._stream}', '{output.stream}'."
            )
        self._stream = output.stream
        samples = self._finite(output.values)
        self._bytes += samples.nbytes
        if self._bytes > MAX_BYTES:
            raise SinkError(f"a WAV file holds at most 4 GiB, {MAX_BYTES // 4:,} samples; replay the data in parts.")
        self._sound.write(samples)

    def event(self, event: Event) -> None:
        """Do nothing: a signal has no events."""

    def close(self) -> None:
        """Finish the header; the file itself is closed by whoever opened it."""
        self._sound.close()

    def _finite(self, values: Frames) -> Frames:
        """Return the samples that there are."""
        finite = np.isfinite(values)
        if finite.all():
            return values
        if finite.any():
            values = values[: int(np.flatnonzero(finite)[-1]) + 1]
        self.dropped["not_finite_sample"] += int((~np.isfinite(values)).sum())
        return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
