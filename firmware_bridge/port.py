"""A serial port: found by a name that stays, opened for nobody else, and what goes wrong with it in sentences."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import os
import select
import stat
import termios
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

BLOCK = 1 << 16
BY_ID = Path("/dev/serial/by-id")


class PortError(Exception):
    """A port that cannot be used. passing: it may be there later, as a cable may be plugged in again."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


@dataclass(frozen=True, slots=True)
class Found:
    """A port that is there. path: by a name that stays where udev gives one; device: what it is now."""

    path: str
    device: str
    description: str


class Port:
    """An open port; used by one thread."""

    def __init__(self, path: str, baud: int) -> None:
        """Open it raw, at so many bits a second, exclusively, and forget what it has received. Raises PortError."""
        serial = _pyserial()
        self.path = path
        try:
            self._serial = serial.Serial(path, baud, timeout=0, write_timeout=1.0, exclusive=True)
            # pyserial's lock is a convention between programs that ask; this is the kernel's, for all but root. It ends
            # with the last who has the port open: with a pseudo-terminal's other end, which no new reader outlives.
            if not Path(path).resolve().is_relative_to("/dev/pts"):
                fcntl.ioctl(self._serial.fileno(), termios.TIOCEXCL)
            self._poll = select.poll()
            self._poll.register(self._serial.fileno(), select.POLLIN)
        except (OSError, ValueError) as cause:  # pyserial's own error is an OSError
            raise _explained(path, baud, cause) from cause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def read(self, timeout_s: float) -> bytes:
        """Return what has come, after at most so long; b"" where nothing has. Raises PortError where it is gone."""
        try:
            if not self._poll.poll(timeout_s * 1000):
                return b""
            data = os.read(self._serial.fileno(), BLOCK)
        except OSError as cause:
            raise PortError(f"{self.path}: the device is gone ({cause.strerror or cause}).", passing=True) from cause
        if not data:
            raise PortError(f"{self.path}: the device is gone.", passing=True)
        return data

    def write(self, data: bytes) -> None:
        """Write all of it. Raises PortError where the device is gone or takes nothing."""
        try:
            self._serial.write(data)
        except OSError as cause:
            raise PortError(f"{self.path}: cannot be written to ({cause}).", passing=True) from cause

    def close(self) -> None:
        """Close it; twice does no harm."""
        # Closing a device that is gone fails, and leaves nothing to close.
        with contextlib.suppress(OSError):
            self._serial.close()


def ports() -> list[Found]:
    """Return the serial ports there are, each once, by the name that stays with the device."""
    from serial.tools import list_ports  # noqa: PLC0415 - looks through /sys, which only this needs

    _pyserial()
    links = {}
    with contextlib.suppress(OSError):
        links = {str(link.resolve()): str(link) for link in sorted(BY_ID.iterdir())}
    return [
        Found(links.get(port.device, port.device), port.device, port.description or "")
        for port in sorted(list_ports.comports(), key=lambda port: port.device)
    ]


def offered() -> str:
    """Return a sentence that offers what is there, in place of a path that is not."""
    there = [found.path for found in ports()]
    return f"Ports that are there: {', '.join(there)}." if there else "No serial port is there."


def stays(path: str) -> str | None:
    """Return the name by which udev always finds the device at this path, where there is a better one than this."""
    if path.startswith(str(BY_ID)):
        return None
    return next((found.path for found in ports() if found.device == path and found.path != path), None)


def _pyserial() -> Any:
    """Import pyserial. Raises PortError naming what to install."""
    try:
        import serial  # noqa: PLC0415 - who reads no port needs no library for it
    except ImportError as cause:
        raise PortError(
            "serial ports need pyserial, which is not installed: pip install 'edgeseq[serial]'.", passing=False
        ) from cause
    return serial


def _explained(path: str, baud: int, cause: Exception) -> PortError:
    """Return the error in a sentence that says what to do."""
    # pyserial says in words alone that settings failed; what the system said is the error before its own.
    told = cause.__context__.args if isinstance(cause.__context__, termios.error) else (None,)
    number = getattr(cause, "errno", None) or told[0]
    if isinstance(cause, ValueError):
        return PortError(f"{path}: {baud} is no speed of this port ({cause}).", passing=False)
    if number == errno.ENOENT or not Path(path).exists():
        return PortError(f"{path}: nothing is plugged in there. {offered()}", passing=True)
    if number in (errno.EACCES, errno.EPERM):
        return PortError(f"{path}: {_permission(path)}", passing=False)
    if number in (errno.EBUSY, errno.EAGAIN, errno.EWOULDBLOCK):
        return PortError(
            f"{path}: another program has it open, and a port has one reader. `fuser -v {path}` says which; often it "
            "is ModemManager or a terminal.",
            passing=False,
        )
    if number == errno.ENOTTY:
        return PortError(f"{path}: is no serial port.", passing=False)
    return PortError(f"{path}: cannot be opened: {cause}.", passing=True)


def _permission(path: str) -> str:
    """Return who may open the port, and how to become one of them."""
    about = Path(path).stat()
    try:
        group = grp.getgrgid(about.st_gid).gr_name
    except KeyError:
        group = str(about.st_gid)
    if about.st_mode & stat.S_IRWXG < stat.S_IRGRP | stat.S_IWGRP or group == "root":
        return (
            f"only root may open it (mode {about.st_mode & 0o777:o}, group {group}). A udev rule with "
            'GROUP="dialout", MODE="0660" changes that.'
        )
    return (
        f"you may not open it; the group {group} may: sudo usermod -aG {group} $USER, then log in anew. A systemd "
        f"service needs SupplementaryGroups={group}."
    )
