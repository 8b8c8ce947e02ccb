"""A microcontroller on a serial port: frames of the wire in docs/wire.md, or lines of text."""

from __future__ import annotations

import logging
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources._device import FASTEST, SLOWEST, Device
from edgeseq.sources._device_lines import Lines, reader
from edgeseq.sources._table import Column
from edgeseq.types import Channel, Chunk, StreamSpec
from firmware_bridge import simulator
from firmware_bridge.port import Port, PortError, offered, stays

log = logging.getLogger(__name__)

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 5.0
"""Between attempts to open a port that is gone; doubled each time."""

Protocol = Literal["frames", "csv", "json", "regex"]


class Serial:
    """A device on a serial port. Unplugged, it is waited for, and its samples go on behind a gap.

    port: the device's path; best by the name that udev keeps for it, /dev/serial/by-id/...; `edgeseq bridge ports`
    lists them. baud: bits a second, for lines that have any; USB has none. protocol: "frames" (default), the wire of
    firmware_bridge, or lines of text: "csv", "json" (an object a line), "regex".
    channels: names of the channels to take, or tables { name, column, unit } where the device calls one otherwise;
    default in a configuration: the bundle's. rate_hz: samples a second; default there: the bundle's. A device that
    sends frames must have these channels in these units, and is asked for this rate.
    streams: the ids of the device's streams to take, default [0]; each has its own state if there are several.
    header: of "csv", names of all cells of a line in order; default: the channels. delimiter: of "csv", a character,
    " " for any run of blanks. pattern: of "regex", an expression with a named group for each channel.
    reconnect: false: the data end where the device goes away.

    Times: of frames, the device's own, placed on this machine's clock by PING; of lines, when they arrive.
    """

    live = True

    def __init__(
        self,
        *,
        port: str,
        rate_hz: float,
        channels: list[str | Column] | None = None,
        baud: int = 115_200,
        protocol: Protocol = "frames",
        streams: list[int] | None = None,
        header: list[str] | None = None,
        delimiter: str = ",",
        pattern: str | None = None,
        reconnect: bool = True,
    ) -> None:
        named = [Column(name=each) if isinstance(each, str) else each for each in channels or []]
        if not named:
            raise ConfigError("channels is empty; name the device's channels to take.", "channels")
        twice = [name for name, count in Counter(each.name for each in named).items() if count > 1]
        if twice:
            raise ConfigError(f"channels names '{twice[0]}' twice.", "channels")
        if not 1 / SLOWEST <= rate_hz <= FASTEST:
            raise ConfigError(f"rate_hz must lie between {1 / SLOWEST:g} and {FASTEST:,}, not {rate_hz:g}.", "rate_hz")
        if baud < 1:
            raise ConfigError(f"baud must be at least 1, not {baud}.", "baud")
        ids = [0] if streams is None else streams
        if not ids or len(set(ids)) < len(ids) or not all(0 <= each <= 255 for each in ids):  # noqa: PLR2004
            raise ConfigError("streams lists different numbers from 0 to 255.", "streams")
        self.spec = StreamSpec(tuple(Channel(each.name, each.unit) for each in named), rate_hz)
        self.devices = (port,)
        self._port, self._baud, self._protocol, self._reconnect = port, baud, protocol, reconnect
        self._closed = threading.Event()
        self._counts: Counter[str] = Counter()
        for key, given, of in (
            ("header", header is not None, ("csv",)),
            ("delimiter", delimiter != ",", ("csv",)),
            ("pattern", pattern is not None, ("regex",)),
            ("streams", streams is not None, ("frames",)),
        ):
            if given and protocol not in of:
                raise ConfigError(f"{key} belongs to protocol = '{of[0]}'.", key)
        columns = [each.column or each.name for each in named]
        self._device: Device | Lines
        if protocol == "frames":
            self._device = Device(self.spec, columns, ids)
        else:
            self._device = Lines(self.spec, reader(columns, protocol, header, delimiter, pattern), protocol)

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a device that is a program, which this starts; it ends after half a second of data."""
        folder = Path(tempfile.mkdtemp(prefix="edgeseq-"))
        port, program = folder / "port", simulator.build(folder, ("-O0",))
        options = ["--count", "25", "--signal", "ramp", "--patience", "10", "--background"]
        subprocess.run([program, "--link", port, *options], check=True, stdout=subprocess.DEVNULL)
        return {"port": str(port), "rate_hz": 1000.0, "channels": ["c0", "c2"], "reconnect": False}

    @property
    def dropped(self) -> Counter[str]:
        """What was lost, repaired or not understood, and how often the device went away."""
        # Copied first, in one go: the thread that reads may be counting a new reason.
        return self._counts.copy() + self._device.dropped

    def check(self) -> str:
        """See that the port is there; it is not opened, since that resets some devices."""
        try:
            if not Path(self._port).exists():
                raise ConfigError(f"{self._port}: nothing is plugged in there. {offered()}", "port")
            better = stays(self._port)
        except PortError as cause:
            raise ConfigError(str(cause)) from cause
        words = (
            f"reads {', '.join(self.spec.names)} at {self.spec.rate_hz:g} Hz from {self._port}, {self._device.words}"
        )
        if better:
            words += f"; the name may change when it is plugged in again: {better} is the one that stays"
        return words

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; where the device was away, the next one of each stream has a gap before it."""
        wait_s, met = FIRST_WAIT_S, False
        while not self._closed.is_set():
            try:
                with Port(self._port, self._baud) as port:
                    if met:
                        log.warning("%s: the device is there again", self._port)
                    for chunk in self._device.read(port, self._closed):
                        wait_s, met = FIRST_WAIT_S, True
                        yield chunk
            except PortError as cause:
                # What nobody could open at the start is a mistake; later udev may just be about to set its rights.
                if not cause.passing and not met:
                    raise SourceError(str(cause)) from cause
                if not self._reconnect and met:
                    yield from self._device.end()
                    return
                if wait_s == FIRST_WAIT_S:
                    self._counts["unplugged"] += met
                    log.warning("%s It is waited for.", cause)
                self._device.interrupted()
            self._closed.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
