"""The device that is a program, at work: the real C side of the wire on a pseudo-terminal."""

import subprocess
import time
from pathlib import Path
from shutil import which

import pytest

import firmware_bridge as wire
from firmware_bridge import simulator

MISSING = None if which("cc") else "there is no C compiler; apt-get install gcc"
BUILT = Path(__file__).parents[1] / "build" / "device"
STRICT = ("-O1", "-g", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsanitize=address,undefined")
"""Without a warning, and every access watched: an error ends the device, which its test then sees."""


class WiredDevice:
    """A device behind a symbolic link, as udev's are; `pull` and `plug` do what a hand does to a cable."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.port = str(folder / "port")
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.plug()

    def plug(self, *options: str) -> None:
        """Start it, with other options if some are given, and wait until its port is there."""
        self._options = options or self._options
        command = [str(simulator.build(BUILT, STRICT)), "--link", self.port, *self._options]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self._process.stdout
        assert self._process.stdout.readline().strip() == self.port.encode()

    def pull(self) -> None:
        """Kill it, so that it can say nothing any more; the port goes with it."""
        assert self._process
        self._process.kill()
        self._process.communicate()
        Path(self.port).unlink()

    def ended(self) -> str:
        """Let it end by itself, or end it, and return what it says at its end."""
        assert self._process
        time.sleep(0.05)
        self._process.terminate()
        _, said = self._process.communicate(timeout=20)
        assert self._process.returncode == 0, said.decode()
        return said.decode()

    def gone(self) -> None:
        """Leave nothing behind."""
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


def counted(program: Path, host: bytes) -> wire.Counters:
    """Return what a device has counted after these bytes of the host; that it answered nothing is seen as well."""
    done = subprocess.run(
        [str(program), "--pipe"], input=host + wire.encode(wire.Ask()), capture_output=True, check=True, timeout=300
    )
    messages = wire.Decoder().feed(done.stdout)
    assert {type(message) for message in messages} <= {wire.Hello, wire.Log, wire.Counters}
    (counters,) = [message for message in messages if isinstance(message, wire.Counters)]
    return counters


def recorded(*options: str, host: bytes = b"") -> bytes:
    """Return all bytes that a device sends through a pipe, of itself and in answer to `host`."""
    if MISSING:
        pytest.skip(MISSING)
    command = [str(simulator.build(BUILT, STRICT)), "--pipe", "--fast", *options]
    done = subprocess.run(command, input=host, capture_output=True, check=True, timeout=60)
    return done.stdout
