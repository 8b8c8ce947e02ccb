"""Events and states to an MQTT broker."""

from __future__ import annotations

import logging
import math
import re
import ssl
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion

from edgeseq.errors import ConfigError, SinkError
from edgeseq.sinks import _payload, _topic
from edgeseq.types import About, Event, Output

PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
QOS = 1
MAX_KEEPALIVE_S = 65_535
"""The protocol has 16 bits for it."""
MAX_WAIT_S = 86_400
"""A day; the system's own clocks refuse waits that never end."""
MAX_PASSWORD = 65_535
RECONNECT_S = (1, 60)
"""Back-off after a lost connection: doubled from the first to the second."""

STATES_IN_FLIGHT = 20
"""With this many messages unconfirmed, states wait (and are replaced by newer ones), so that events find room."""

log = logging.getLogger(__name__)


class Mqtt:
    """Publishes JSON at QoS 1 (payloads: edgeseq/sinks/_payload.py).

    edgeseq/<device>/status                       retained: "online", "offline"; offline is also the last will
    edgeseq/<device>/<pipeline>/<stream>/state    retained: the stream's level and latest output
    edgeseq/<device>/<pipeline>/<stream>/event    each event

    host, port: the broker. protocol: "5" or "3.1.1". username, password_file: the password is the file's first line.
    tls: encrypt, and check the broker's certificate against the system's authorities, or ca_file, which implies tls.
    state_interval_s: a stream's state is published at most this often; a change of level and the stream's end always,
    once the state before is acknowledged.
    connect_timeout_s: how long `open` tries; a broker that is not there then is a SinkError. One that is lost later is
    sought again with back-off. Meanwhile events wait in a queue of `max_queued` in memory, states are replaced by
    newer ones. drain_s: how long `close` waits for acknowledgements.

    dropped: "queue_full" events that the queue refused; "refused" messages that the broker did; "not_acknowledged"
    messages unconfirmed at close; "state_not_sent" streams whose latest state never went out.
    """

    def __init__(
        self,
        *,
        host: str = "localhost",
        port: int = 1883,
        protocol: Literal["5", "3.1.1"] = "5",
        username: str | None = None,
        password_file: Path | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
        keepalive_s: int = 30,
        state_interval_s: float = 1.0,
        connect_timeout_s: float = 10.0,
        drain_s: float = 5.0,
        max_queued: int = 1000,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", host):
            raise ConfigError(f"host must be a name or an address alone, not {host!r}; the port has a key of its own.")
        if not 1 <= port <= 65_535:  # noqa: PLR2004 - TCP's
            raise ConfigError(f"port must lie between 1 and 65535, not {port}.")
        if protocol not in PROTOCOLS:
            raise ConfigError(f"protocol must be one of {', '.join(PROTOCOLS)}, as text, not {protocol!r}.")
        if password_file is not None and username is None:
            raise ConfigError("password_file needs username.")
        if not 1 <= keepalive_s <= MAX_KEEPALIVE_S or max_queued < 1:
            raise ConfigError(f"keepalive_s must lie between 1 and {MAX_KEEPALIVE_S}, max_queued must be at least 1.")
        # Written so that NaN is refused as well.
        if not (0 < connect_timeout_s <= MAX_WAIT_S and 0 <= drain_s <= MAX_WAIT_S and state_interval_s >= 0):
            raise ConfigError(
                "connect_timeout_s must be above 0, drain_s and state_interval_s at least 0, "
                f"the first two at most {MAX_WAIT_S}."
            )
        self.dropped: Counter[str] = Counter()
        self._where = f"{host}:{port}"
        self._host, self._port, self._protocol = host, port, protocol
        self._username, self._password_file = username, password_file
        self._tls, self._ca_file = tls or ca_file is not None, ca_file
        self._keepalive_s, self._connect_timeout_s = keepalive_s, connect_timeout_s
        self._state_interval_s, self.drain_s, self._max_queued = state_interval_s, drain_s, max_queued
        self._about = About("", "")
        self._client: paho.Client | None = None
        self._refusal = ""
        self._connected = False
        # Guards connection and states, and is held while paho is called. The acknowledgements have a lock of their own,
        # under which paho is never called: it holds its queue's lock when it reports one.
        self._changed = threading.Condition(threading.RLock())
        self._acknowledged = threading.Condition()
        # Message number -> topic of what is not acknowledged; numbers acknowledged before they stood there.
        self._flying: dict[int, str] = {}
        self._early: set[int] = set()
        # Each stream's state not yet published; which of them are due, at which level ("": the stream has ended); when
        # the last one was published, and its level.
        self._waiting: dict[str, bytes] = {}
        self._due: dict[str, str] = {}
        self._last: dict[str, tuple[float, str]] = {}

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a broker on this machine."""
        return {"host": "127.0.0.1", "port": 1883, "state_interval_s": 0.0}

    def check(self) -> str:
        """See that the files are there; the broker is not asked."""
        self._password()
        if self._ca_file is not None:
            self._context()
        return (
            f"publishes to {self._where} with MQTT {self._protocol}{', encrypted,' if self._tls else ''} under "
            f"{_topic.ROOT}/; the broker must be there within {self._connect_timeout_s:g} s of the start"
        )

    def open(self, about: About) -> None:
        """Connect and say "online". Raises SinkError if that takes longer than connect_timeout_s or is refused."""
        self._about = about
        client = self._client = self._new_client()
        try:
            client.connect(self._host, self._port, self._keepalive_s)
        except (OSError, ValueError) as cause:
            self._client = None
            raise SinkError(f"the MQTT broker at {self._where} cannot be reached: {cause}. {_ADVICE}") from cause
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._refusal, self._connect_timeout_s)
            if self._connected:
                return
            reason = self._refusal or f"no answer to CONNECT within {self._connect_timeout_s:g} s"
        client.disconnect()
        client.loop_stop()
        self._client = None
        raise SinkError(f"the MQTT broker at {self._where} does not take us: {reason}. {_ADVICE}")

    def output(self, output: Output, level: str) -> None:
        """Remember the state, and publish it if it is due."""
        payload = _payload.encode(_payload.state(self._about, output, level))
        with self._changed:
            self._waiting[output.stream] = payload
            sent_at, sent_level = self._last.get(output.stream, (-math.inf, ""))
            if (
                output.stream in self._due
                or level != sent_level
                or time.monotonic() - sent_at >= self._state_interval_s
            ):
                self._due[output.stream] = level
            self._publish_states()

    def event(self, event: Event) -> None:
        """Publish an event, or queue it while the broker is away."""
        topic = _topic.stream(self._about.device, self._about.pipeline, event.stream, "event")
        if not self._publish(topic, _payload.encode(_payload.event(self._about, event)), retain=False):
            self.dropped["queue_full"] += 1

    def end(self, stream: str) -> None:
        """Publish the stream's last state."""
        with self._changed:
            self._due.update({stream: ""} if stream in self._waiting else {})
            self._publish_states()
            self._last.pop(stream, None)

    def close(self) -> None:
        """Publish what waits, say "offline", wait for acknowledgements and leave. Counts what stays unconfirmed."""
        client = self._client
        if client is None:
            return
        deadline = time.monotonic() + self.drain_s
        with self._changed:
            # Broker away: it may come back within the limit.
            self._changed.wait_for(lambda: self._connected, self.drain_s)
            self._due.update(dict.fromkeys(self._waiting, ""))
        while self._due and self._connected and time.monotonic() < deadline:
            self._publish_states()
            self._wait_for_acknowledgements(deadline)
        self._wait_for_acknowledgements(deadline)
        if self._connected and self._publish_status("offline"):
            self._wait_for_acknowledgements(deadline)
        self.dropped["not_acknowledged"] += len(self._flying)
        self.dropped["state_not_sent"] += len(self._waiting)
        client.disconnect()
        client.loop_stop()
        self._client = None

    def _wait_for_acknowledgements(self, deadline: float) -> None:
        with self._acknowledged:
            self._acknowledged.wait_for(lambda: not self._flying, max(0.0, deadline - time.monotonic()))

    def _new_client(self) -> paho.Client:
        """Return a client, set up but not connected."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=_topic.client_id(self._about.device, self._about.pipeline),
            protocol=PROTOCOLS[self._protocol],
        )
        client.connect_timeout = self._connect_timeout_s
        client.reconnect_delay_set(*RECONNECT_S)
        client.max_queued_messages_set(self._max_queued)
        if self._username is not None:
            client.username_pw_set(self._username, self._password())
        if self._tls:
            client.tls_set_context(self._context())
        client.will_set(_topic.status(self._about.device), self._status("offline", None), QOS, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _password(self) -> str | None:
        """Read the password, which is nowhere else kept or logged."""
        if self._password_file is None:
            return None
        try:
            with self._password_file.open(encoding="utf-8") as file:
                password = file.readline(MAX_PASSWORD + 1).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as cause:
            reason = getattr(cause, "strerror", None) or "not UTF-8 text"
            raise SinkError(f"the password file {self._password_file} cannot be read: {reason}.") from cause
        if not password or len(password) > MAX_PASSWORD:
            raise SinkError(f"the password file {self._password_file} holds no password on its first line.")
        return password

    def _context(self) -> ssl.SSLContext:
        """Return the TLS context."""
        try:
            return ssl.create_default_context(cafile=self._ca_file)
        except OSError as cause:
            raise SinkError(f"the certificate file {self._ca_file} cannot be used: {cause}.") from cause

    def _status(self, word: str, now_ns: int | None) -> bytes:
        """Return the status payload. The last will is written before its time is known, so it has none."""
        payload = {"schema": _payload.SCHEMA, "status": word, "device": self._about.device}
        payload |= {"pipeline": self._about.pipeline, "model": self._about.model}
        payload |= {"model_version": self._about.model_version}
        return _payload.encode(
            payload if now_ns is None else {**payload, "time": _payload.iso_utc(now_ns), "t_ns": now_ns}
        )

    def _publish_status(self, word: str) -> bool:
        return self._publish(_topic.status(self._about.device), self._status(word, time.time_ns()), retain=True)

    def _publish_states(self) -> None:
        """Publish the states that are due, as far as the broker keeps up; the others wait.

        Never two of a stream at once: after a lost connection paho repeats the older one behind the newer.
        """
        with self._changed:
            for stream, level in list(self._due.items()):
                if not self._connected or len(self._flying) >= STATES_IN_FLIGHT:
                    return
                topic = _topic.stream(self._about.device, self._about.pipeline, stream, "state")
                with self._acknowledged:
                    if topic in self._flying.values():
                        continue
                if self._publish(topic, self._waiting[stream], retain=True):
                    del self._waiting[stream], self._due[stream]
                    if level:
                        self._last[stream] = (time.monotonic(), level)

    def _publish(self, topic: str, payload: bytes, *, retain: bool) -> bool:
        """Hand a message to paho, which sends it or queues it. Returns False if its queue is full."""
        client = self._client
        if client is None:
            return False
        info = client.publish(topic, payload, QOS, retain=retain)
        if info.rc == MQTTErrorCode.MQTT_ERR_QUEUE_SIZE:
            return False
        with self._acknowledged:
            if info.mid in self._early:
                self._early.remove(info.mid)
            else:
                self._flying[info.mid] = topic
        return True

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        """Say "online" and publish the states that waited; or keep the broker's reason for refusing."""
        with self._changed:
            self._connected = not code.is_failure
            self._refusal = str(code) if code.is_failure else ""
            if self._connected:
                self._publish_status("online")
                self._publish_states()
            self._changed.notify_all()
        if code.is_failure:
            log.warning("the MQTT broker at %s refuses: %s", self._where, code)
        else:
            log.info("connected to the MQTT broker at %s", self._where)

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        """Hold states back until the broker is there again."""
        with self._changed:
            lost = self._connected
            self._connected = False
            self._changed.notify_all()
        if lost and code.is_failure:
            log.warning("lost the MQTT broker at %s (%s); trying again", self._where, code)

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, code: Any, _properties: Any) -> None:
        """Count an acknowledgement."""
        with self._acknowledged:
            if self._flying.pop(mid, None) is None:
                self._early.add(mid)
            if code.is_failure:
                self.dropped["refused"] += 1
                log.warning("the MQTT broker at %s refused a message: %s", self._where, code)
            self._acknowledged.notify_all()


_ADVICE = "Check host and port of the sink, user name and certificate, and that the broker runs."
