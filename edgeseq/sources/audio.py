"""Sound as a source: a file, read in bounded memory, or what a device hears."""

from __future__ import annotations

import os
import tempfile
import threading
import wave
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edgeseq import libraries
from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _ogg
from edgeseq.sources._microphone import Microphone
from edgeseq.sources._pace import Pace, PaceKey
from edgeseq.sources._replay import Replay
from edgeseq.sources._table import Column
from edgeseq.sources._times import Grid, start_ns
from edgeseq.types import Channel, Chunk, Frames, Plain, StreamSpec

BLOCK = 4096
OPEN_SIZE = (1 << 31) - 1
"""What stands in the header of a WAV file that was written into a pipe is this, or more."""

ENDLESS = 1 << 62
"""More than so many samples are those of a FLAC file whose header leaves them open: libsndfile cannot read its end."""


class Audio:
    """WAV, FLAC, OGG and what else libsndfile reads, or a sound device; samples as they are, full scale 1.

    path: the file; or device: the ALSA device to listen to, by name, a part of it, or number; see _microphone.py.
    rate_hz: the rate that the model was trained at; a file of another rate is refused, never resampled;
    default in a configuration: the bundle's. channels: names of the file's channels in order, as many as it has;
    default there: the bundle's, otherwise one, "audio". start: time of the first sample, ISO 8601 or "now"; default:
    the Unix epoch. pace: "fast" (default), "real-time", or how many times faster than real time. Raises ConfigError
    where the library is missing: it comes with the extra 'audio'.
    """

    def __init__(
        self,
        *,
        path: Path | None = None,
        device: str | int | None = None,
        rate_hz: float,
        channels: list[str | Column] | None = None,
        start: str = "1970-01-01",
        pace: PaceKey = "fast",
    ) -> None:
        if (path is None) == (device is None):
            raise ConfigError("either path, a file, or device, what listens, is needed.")
        named = [Column(name=each) if isinstance(each, str) else each for each in channels or ["audio"]]
        self._path = path or Path()
        self._pace = Pace(pace)
        self._replay = Replay(path, start_ns(start), self._pace)
        self._grid = Grid(rate_hz, self._replay.start_ns)
        self.spec = StreamSpec(tuple(Channel(each.name, each.unit) for each in named), rate_hz)
        self.dropped: Counter[str] = Counter()
        self.replays = path is not None
        self.live = device is not None
        self.devices = ("/dev/snd",) if self.live else ()
        self._closed = threading.Event()
        self._microphone = None
        if device is not None:
            if start != "1970-01-01" or pace != "fast":
                raise ConfigError("start and pace belong to a file; what is heard has its own.")
            self._microphone = Microphone(device, rate_hz, len(named), self.dropped)
        else:
            self._soundfile = libraries.soundfile()

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a short file, written to the temporary folder."""
        path = Path(tempfile.mkdtemp(prefix="edgeseq-")) / "example.wav"
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(np.arange(0, 20000, 2, dtype="<i2").tobytes())
        return {"path": path, "rate_hz": 8000.0}

    def check(self) -> str:
        """See that the file is there, and of the right rate and channels, and if Ogg, whole; nothing is decoded."""
        if self._microphone is not None:
            return self._microphone.check()
        with self._open() as file:
            words = f"{file.frames / file.samplerate:,.1f} s of sound"
        count = len(self.spec.channels)
        many = f"{count} channel{'s' * (count > 1)}"
        return f"reads {words}, {many} at {self.spec.rate_hz:g} Hz, from {self._path}, {self._pace.words()}"

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()
        self._pace.close()

    def set_state(self, state: Plain) -> None:
        """Go on behind the chunk that had this state. Raises StateError where the file is another by now."""
        self._replay.set_state(state)
        self._grid = Grid(self.spec.rate_hz, self._replay.start_ns)

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; the last one is marked."""
        if self._microphone is not None:
            return self._microphone.chunks(self._closed)
        return self._replay.marked(self._chunks())

    def _chunks(self) -> Iterator[Chunk]:
        """Yield all chunks."""
        most = self._pace.most_rows(self.spec.rate_hz, BLOCK)
        with self._open() as file:
            done, total = 0, int(file.frames)
            while done < total:
                values = self._read(file, done, min(most, total - done))
                t_ns = self._grid.times(np.arange(done, done + len(values), dtype=np.int64))
                done += len(values)
                if not self._pace.wait("", int(t_ns[-1])):
                    return
                yield Chunk(t_ns, values, last=done == total)

    def _read(self, file: Any, done: int, count: int) -> Frames:
        """Read samples. Raises SourceError where they end too early or are no numbers."""
        try:
            values: Frames = file.read(count, dtype="float32", always_2d=True)
        except (self._soundfile.LibsndfileError, OSError) as cause:
            raise SourceError(
                f"{self._path}: cannot be read on at sample {done} ({_reason(cause)}): it is damaged or cut off."
            ) from cause
        if len(values) < count:
            raise SourceError(
                f"{self._path}: ends at sample {done + len(values)}, before its header says: it is cut off."
            )
        if not np.isfinite(values).all():
            at = done + int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
            raise SourceError(
                f"{self._path}: sample {at} is NaN or infinite; no sound has such a value. Mend the file."
            )
        return values

    @contextmanager
    def _open(self) -> Iterator[Any]:
        """Open the file and hold it against what was said of it. Raises ConfigError or SourceError."""
        if not self._path.is_file():
            raise ConfigError(f"{self._path}: there is no such file.")
        try:
            file = self._soundfile.SoundFile(str(self._path))
        except (self._soundfile.LibsndfileError, OSError) as cause:
            raise SourceError(f"{self._path}: is no sound file that can be read: {_reason(cause)}.") from cause
        with file:
            rate, count = self.spec.rate_hz, len(self.spec.channels)
            if file.samplerate != rate:
                raise SourceError(
                    f"{self._path}: has {file.samplerate} samples a second, the pipeline takes {rate:g} (rate_hz). "
                    "Resample the file first."
                )
            if file.channels != count:
                raise SourceError(
                    f"{self._path}: has {file.channels} channel(s), the pipeline takes {count} "
                    f"({', '.join(self.spec.names)}). Name them in `channels`, or mix the file down first."
                )
            if _cut_off(self._path):
                raise SourceError(f"{self._path}: is shorter than its header says: it is cut off.")
            if (wrong := _ogg.damage(self._path)) is not None:
                raise SourceError(f"{self._path}: {wrong} Copy it again, or record it anew.")
            if file.frames >= ENDLESS:
                raise SourceError(
                    f"{self._path}: its header does not say how long it is, as of one that was encoded into a pipe. "
                    "Decode it to a file and encode that."
                )
            if file.frames == 0:
                raise SourceError(f"{self._path}: holds no samples.")
            yield file


def _cut_off(path: Path) -> bool:
    """Whether a WAV file ends before its header says; libsndfile reads on without a word. Sizes left open are none."""
    with path.open("rb") as file:
        head = file.read(8)
        size = int.from_bytes(head[4:], "little")
        return head[:4] == b"RIFF" and size < OPEN_SIZE and size + len(head) > file.seek(0, os.SEEK_END)


def _reason(cause: Exception) -> str:
    """Return what a library said, without the path, which we say, and its full stop."""
    return str(getattr(cause, "error_string", cause)).rstrip(".")
