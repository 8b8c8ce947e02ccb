"""A subscriber like any other: it counts what really arrives through the broker."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

import msgspec

from edgeseq.errors import SinkError

TOPICS = "edgeseq/#"
SETTLE_S = 10.0
"""How long the broker may take to accept the subscription."""


class Listener:
    """Subscribed to the demo's topics for as long as the `with` block lasts."""

    def __init__(self, host: str, port: int) -> None:
        self._where = (host, port)
        self._changed = threading.Condition()
        self._subscribed = threading.Event()
        self._event_ids: set[str] = set()

    def __enter__(self) -> Self:
        """Connect and subscribe. Raises SinkError if the broker does not let us."""
        import paho.mqtt.client as paho  # noqa: PLC0415 - loaded when a broker is
        from paho.mqtt.enums import CallbackAPIVersion  # noqa: PLC0415

        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="edgeseq-demo-listener")
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        try:
            self._client.connect(*self._where)
        except OSError as cause:
            raise SinkError(f"the demo's MQTT broker at {self._where[0]}:{self._where[1]} is gone: {cause}.") from cause
        self._client.loop_start()
        if not self._subscribed.wait(SETTLE_S):
            self._client.loop_stop()
            raise SinkError(f"the demo's MQTT broker at {self._where[0]}:{self._where[1]} accepts no subscription.")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave."""
        self._client.disconnect()
        self._client.loop_stop()

    def delivered(self, sent: set[str], within_s: float) -> int:
        """Return how many of the events with these ids have arrived, waiting for them for a while."""
        with self._changed:
            self._changed.wait_for(lambda: sent <= self._event_ids, within_s)
            return len(sent & self._event_ids)

    def _on_connect(self, client: Any, *_: object) -> None:
        client.subscribe(TOPICS, qos=1)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        """Note an event's id; states and the device's status are not counted."""
        if message.topic.endswith("/event"):
            event = msgspec.json.decode(message.payload)
            with self._changed:
                self._event_ids.add(event["event_id"])
                self._changed.notify_all()
