"""The demo's own MQTT broker on loopback."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from edgeseq.errors import ConfigError, SinkError

HOST = "127.0.0.1"


class Broker:
    """An MQTT broker in a child process, for as long as the `with` block lasts. It listens on this machine only."""

    def __init__(self, port: int | None = None) -> None:
        self.port = _free_port() if port is None else port

    def __enter__(self) -> Self:
        """Start it. Raises SinkError if the port is taken or the broker does not come up, ConfigError without it."""
        try:
            import iotcore  # noqa: PLC0415 - only the demo has a broker
        except ImportError as cause:
            raise ConfigError(
                "the demo's MQTT broker is not installed. Install the extra: pip install 'edgeseq[demo]'"
            ) from cause
        self._broker = iotcore.Broker(port=self.port, listen=HOST)
        try:
            self._broker.start()
        except OSError as cause:
            raise SinkError(
                f"port {self.port} on {HOST} is taken, so the demo's MQTT broker cannot listen there ({cause}). "
                "Choose another with --port, or leave --port out and the demo takes a free one."
            ) from cause
        except RuntimeError as cause:
            raise SinkError(f"the demo's MQTT broker did not start on {HOST}:{self.port}: {cause}.") from cause
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and free the port."""
        self._broker.stop()


def _free_port() -> int:
    """Return a port that is free at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
