"""What an ALSA device hears, captured by PortAudio."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgeseq import libraries
from edgeseq.errors import SourceError
from edgeseq.sources._arrivals import Arrivals
from edgeseq.sources._clock import now_ns
from edgeseq.types import Chunk

BLOCK_S = 0.02
"""A chunk spans this much: what a reader is asked for again and again."""
BUFFER_S = 0.5
"""What PortAudio holds meanwhile; more that is not taken in time is an overrun."""
LOOK_S = 0.005
"""It is looked whether that much is there when it should be, and then this often."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
"""Between attempts to open a device that is gone; doubled each time."""

log = logging.getLogger(__name__)


class Microphone:
    """Captures float32[n, channels], full scale 1, dated as it arrives; what is lost is a gap and counted.

    device: a name, or a part of it that no other has, or a number, as `python -m sounddevice` lists them. Counted in
    `dropped`: "overruns", where samples were lost since nobody took them, "unplugged", where the device went away.
    """

    def __init__(self, device: str | int, rate_hz: float, channels: int, dropped: Counter[str]) -> None:
        self._sound = libraries.sounddevice()
        self._device, self._rate_hz, self._channels = device, rate_hz, channels
        self._dropped = dropped

    def check(self) -> str:
        """Ask whether the device takes this rate and so many channels. Raises SourceError."""
        try:
            self._sound.check_input_settings(self._device, self._channels, "float32", samplerate=self._rate_hz)
            found = self._sound.query_devices(self._device, "input")["name"]
        except (ValueError, self._sound.PortAudioError) as cause:
            raise self._refused(cause) from cause
        return f"listens to {found}, {self._channels} channel{'s' * (self._channels > 1)} at {self._rate_hz:g} Hz"

    def chunks(self, closed: threading.Event) -> Iterator[Chunk]:
        """Yield chunks until closed. Raises SourceError where the device cannot be opened at the start."""
        arrivals, wait_s, met = Arrivals(self._rate_hz), FIRST_WAIT_S, False
        while not closed.is_set():
            try:
                with self._sound.InputStream(
                    device=self._device,
                    channels=self._channels,
                    samplerate=self._rate_hz,
                    dtype="float32",
                    latency=BUFFER_S,
                ) as stream:
                    lost = met
                    for values, overrun in self._blocks(stream, closed):
                        if overrun:
                            self._dropped["overruns"] += 1
                        t_ns, gap = arrivals.dated(len(values), now_ns(), lost=lost or overrun)
                        lost, met, wait_s = False, True, FIRST_WAIT_S
                        yield Chunk(t_ns, values, gap=gap)
            except (ValueError, self._sound.PortAudioError) as cause:
                if not met:
                    raise self._refused(cause) from cause
                if wait_s == FIRST_WAIT_S:
                    self._dropped["unplugged"] += 1
                    log.warning("the sound device '%s' is gone (%s). It is waited for.", self._device, cause)
                closed.wait(wait_s)
                wait_s = min(2 * wait_s, LONGEST_WAIT_S)
                self._look_again()

    def _blocks(self, stream: Any, closed: threading.Event) -> Iterator[tuple[Any, bool]]:
        """Yield what was captured, float32[n, channels], and whether something was lost before it."""
        least = max(1, min(round(self._rate_hz * BLOCK_S), round(self._rate_hz * stream.latency)))
        while not closed.is_set():
            # Never a read that waits: a device that hears nothing would keep it for ever.
            ready = stream.read_available
            if ready < least:
                closed.wait(max(LOOK_S, (least - ready) / self._rate_hz))
                continue
            values, overrun = stream.read(ready)
            yield np.array(values, np.float32), overrun

    def _look_again(self) -> None:
        """Let PortAudio list the devices anew: it lists them once. Where it fails, the next attempt to open does."""
        for act in (self._sound._terminate, self._sound._initialize):  # noqa: SLF001 - the library has no other way
            with contextlib.suppress(self._sound.PortAudioError):
                act()

    def _refused(self, cause: Exception) -> SourceError:
        there = [each["name"] for each in self._sound.query_devices() if each["max_input_channels"]]
        return SourceError(
            f"the sound device '{self._device}' cannot be opened with {self._channels} channel(s) at "
            f"{self._rate_hz:g} Hz: {cause}. Devices here: {', '.join(there) or 'none'}. A user who may listen is in "
            "the group 'audio'; a rate that the device itself does not have, ALSA's plug: or dsnoop: converts."
        )
