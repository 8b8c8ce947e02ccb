"""systemd's notification protocol: lines of NAME=value in one datagram to the socket that it named.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger(__name__)


class Notify:
    """Tells systemd how the service is; where it did not start this process, nothing is said to anybody.

    watchdog_s: within how many seconds systemd wants to hear WATCHDOG=1 again and again; None: it does not.

    Takes its variables out of the environment, so that no child process speaks in this one's name.
    """

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        address = environment.pop("NOTIFY_SOCKET", "")
        limit, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        # An abstract socket's name begins with a zero byte, which no environment can hold.
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        mine = pid in ("", str(os.getpid()))
        self.watchdog_s = int(limit) / 1e6 if self._address and mine and limit.isdecimal() and int(limit) else None
        self._refused = False

    @property
    def listened(self) -> bool:
        """Whether systemd wants to hear anything."""
        return bool(self._address)

    def __call__(self, **values: str | int) -> None:
        """Send values, by systemd's names for them: READY=1, STATUS="a line", WATCHDOG=1."""
        if not self._address:
            return
        lines = "\n".join(f"{name}={str(value).replace(chr(10), ' ')}" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # systemd never reads so late that a datagram has to wait; if it did, the hot loop would not.
                sender.setblocking(False)
                sender.sendto(lines.encode(), self._address)
        except OSError as cause:
            if not self._refused:
                log.warning("systemd cannot be told how the service is: %s.", cause.strerror or cause)
            self._refused = True
