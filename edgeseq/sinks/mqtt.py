"""Events and states to an MQTT broker."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgeseq.broker import Broker
from edgeseq.errors import ConfigError, SinkError
from edgeseq.sinks import _home_assistant, _payload, _topic
from edgeseq.sinks._paho import Client, json_properties
from edgeseq.types import About, Event, Output, Pending

QOS = 1
MAX_KEEPALIVE_S = 65_535
"""The protocol has 16 bits for it."""
MAX_WAIT_S = 86_400
"""A day; the system's own clocks refuse waits that never end."""
RECONNECT_S = (1, 60)
"""Back-off while there is no connection: doubled from the first to the second."""

STATES_IN_FLIGHT = 20
"""With this many states unconfirmed, others wait (and are replaced by newer ones), so that events find room."""
EVENTS_IN_FLIGHT = 100
"""So many events out of the outbox are on their way at a time."""

log = logging.getLogger(__name__)


class Mqtt:
    """Publishes JSON at QoS 1 (payloads: edgeseq/sinks/_payload.py, schema: `edgeseq schema`).

    edgeseq/<device>/status                       retained: "online", "offline"; offline is also the last will
    edgeseq/<device>/<pipeline>/<stream>/state    retained: the stream's level and latest output
    edgeseq/<device>/<pipeline>/<stream>/event    each event
    edgeseq/<device>/<pipeline>/health            retained: what was dropped, what waits, how long things take

    host, port: the broker. protocol: "5" or "3.1.1". username, password_file: the password is the file's first line.
    tls: encrypt, and check the broker's certificate against the system's authorities, or ca_file, which implies tls;
    cert_file, key_file: our own certificate, where the broker asks for one (the key may stand in the same file).
    state_interval_s: a stream's state is published at most this often; a change of level and the stream's end always,
    once the state before is acknowledged. health_interval_s: how often the health is. home_assistant: announce every
    stream to Home Assistant.
    A broker that is not there is sought with back-off, connect_timeout_s at a time. Meanwhile events wait in the outbox
    or, where there is none, in a queue of `max_queued` in memory; states are replaced by newer ones. drain_s: how long
    `close` waits for acknowledgements.

    dropped: "queue_full" events that the queue refused; "refused" messages that the broker did; "not_acknowledged"
    messages unconfirmed at close, events out of the outbox left aside; "state_not_sent" streams whose latest state
    never went out.
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
        cert_file: Path | None = None,
        key_file: Path | None = None,
        keepalive_s: int = 30,
        state_interval_s: float = 1.0,
        health_interval_s: float = 60.0,
        home_assistant: bool = False,
        connect_timeout_s: float = 10.0,
        drain_s: float = 5.0,
        max_queued: int = 1000,
    ) -> None:
        self._broker = Broker(
            host=host,
            port=port,
            protocol=protocol,
            username=username,
            password_file=password_file,
            tls=tls,
            ca_file=ca_file,
            cert_file=cert_file,
            key_file=key_file,
            error=SinkError,
        )
        if not 1 <= keepalive_s <= MAX_KEEPALIVE_S or max_queued < 1:
            raise ConfigError(f"keepalive_s must lie between 1 and {MAX_KEEPALIVE_S}, max_queued must be at least 1.")
        # Written so that NaN is refused as well.
        if not (0 < connect_timeout_s <= MAX_WAIT_S and 0 <= drain_s <= MAX_WAIT_S and state_interval_s >= 0):
            raise ConfigError(
                "connect_timeout_s must be above 0, drain_s and state_interval_s at least 0, "
                f"the first two at most {MAX_WAIT_S}."
            )
        if not 0 < health_interval_s <= MAX_WAIT_S:
            raise ConfigError(f"health_interval_s must be above 0 and at most {MAX_WAIT_S}.")
        self.dropped: Counter[str] = Counter()
        self.health_interval_s, self.drain_s = health_interval_s, drain_s
        self._keepalive_s, self._connect_timeout_s = keepalive_s, connect_timeout_s
        self._state_interval_s, self._max_queued = state_interval_s, max_queued
        self._about = About("", "")
        self._client: Client | None = None
        self._connected = False
        self._trouble = ""
        # Guards connection and states, and is held while paho is called. The acknowledgements have a lock of their own,
        # under which paho is never called: it holds its queue's lock when it reports one.
        self._changed = threading.Condition(threading.RLock())
        self._acknowledged = threading.Condition()
        # Message number -> topic of what is not acknowledged, and whom to tell of an event out of the outbox; numbers
        # acknowledged before they stood there.
        self._flying: dict[int, tuple[str, Callable[[], None] | None]] = {}
        self._early: set[int] = set()
        # Each stream's state not yet published; which of them are due, at which level ("": the stream has ended); when
        # the last one was published, and its level.
        self._waiting: dict[str, bytes] = {}
        self._due: dict[str, str] = {}
        self._last: dict[str, tuple[float, str]] = {}
        # The streams that Home Assistant is told of; whether it is to be told anew.
        self._announced: dict[str, None] | None = {} if home_assistant else None
        self._announce = home_assistant

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a broker on this machine."""
        return {"host": "127.0.0.1", "port": 1883, "state_interval_s": 0.0}

    def check(self) -> str:
        """See that the files are there; the broker is not asked."""
        return f"publishes to {self._broker.words()} under {_topic.ROOT}/, as soon and as often as the broker is there"

    def open(self, about: About) -> None:
        """Begin to connect. Raises SinkError for a file that cannot be used; a broker that is away is waited for."""
        self._about = about
        client = self._client = self._new_client()
        client.connect_async(self._broker.host, self._broker.port, self._keepalive_s)
        client.loop_start()

    def output(self, output: Output, level: str) -> None:
        """Remember the state, and publish it if it is due."""
        payload = _payload.encode(_payload.state(self._about, output, level))
        with self._changed:
            self._waiting[output.stream] = payload
            self._announce = self._announce or self._is_new(output.stream)
            sent_at, sent_level = self._last.get(output.stream, (-math.inf, ""))
            if (
                output.stream in self._due
                or level != sent_level
                or time.monotonic() - sent_at >= self._state_interval_s
            ):
                self._due[output.stream] = level
            self._publish_states()

    def event(self, event: Event) -> None:
        """Publish an event, or queue it in memory while the broker is away."""
        with self._acknowledged:
            full = sum(topic.endswith("/event") for topic, _ in self._flying.values()) >= self._max_queued
        if full:
            self.dropped["queue_full"] += 1
            return
        payload = _payload.encode(_payload.event(self._about, event))
        self._publish(self._topic(event.stream, "event"), payload, correlation=event.event_id)

    def room(self) -> int:
        """Return how many events out of the outbox may be on their way now."""
        with self._acknowledged:
            flying = sum(done is not None for _, done in self._flying.values())
        return max(0, EVENTS_IN_FLIGHT - flying) if self._connected else 0

    def deliver(self, events: Sequence[Pending], done: Callable[[Sequence[int]], None]) -> None:
        """Publish events out of the outbox; each is done with the broker's PUBACK."""
        for number, stream, payload in events:
            told = partial(done, [number])
            self._publish(self._topic(stream, "event"), payload, correlation=_payload.event_id(payload), done=told)

    def health(self, report: Mapping[str, Any]) -> None:
        """Publish a report, which a broker of MQTT 5 forgets when two more have not come; none while it is away.

        And say "online" anew: the status is the device's, and another of its pipelines that ended has said "offline".
        """
        if self._connected:
            self._publish_status("online")
            topic = _topic.health(self._about.device, self._about.pipeline)
            expiry_s = math.ceil(3 * self.health_interval_s)
            self._publish(topic, _payload.encode(dict(report)), retain=True, expiry_s=expiry_s)

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
            self._due.update(dict.fromkeys(self._waiting, ""))
        while self._due and self._connected and time.monotonic() < deadline:
            self._publish_states()
            self._wait_for_acknowledgements(deadline)
        self._wait_for_acknowledgements(deadline)
        if self._connected and self._publish_status("offline"):
            self._wait_for_acknowledgements(deadline)
        with self._acknowledged:
            self.dropped["not_acknowledged"] += sum(done is None for _, done in self._flying.values())
        self.dropped["state_not_sent"] += len(self._waiting)
        connected = self._connected
        client.disconnect()
        if connected:
            # Otherwise its thread may be waiting for an answer to a connect; it ends by itself then.
            client.loop_stop()
        self._client = None

    def _wait_for_acknowledgements(self, deadline: float) -> None:
        with self._acknowledged:
            self._acknowledged.wait_for(lambda: not self._flying, max(0.0, deadline - time.monotonic()))

    def _new_client(self) -> Client:
        """Return a client, set up but not connected."""
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=_topic.client_id(self._about.device, self._about.pipeline),
            protocol=self._broker.version,
        )
        client.connect_timeout = self._connect_timeout_s
        client.reconnect_delay_set(*RECONNECT_S)
        # What is on its way is bounded here, by kind; paho must not refuse any of it.
        client.max_queued_messages_set(0)
        self._broker.introduce(client)
        will = _payload.encode(_payload.status(self._about, "offline", None))
        properties = json_properties(will=True) if self._broker.protocol == "5" else None
        client.will_set(_topic.status(self._about.device), will, QOS, retain=True, properties=properties)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _is_new(self, stream: str) -> bool:
        """Note a stream that Home Assistant is to be told of."""
        known = self._announced
        if known is None or stream in known or len(known) >= _home_assistant.MAX_STREAMS:
            return False
        known[stream] = None
        return True

    def _topic(self, stream: str, kind: str) -> str:
        return _topic.stream(self._about.device, self._about.pipeline, stream, kind)

    def _publish_status(self, word: str) -> bool:
        payload = _payload.encode(_payload.status(self._about, word, time.time_ns()))
        return self._publish(_topic.status(self._about.device), payload, retain=True)

    def _publish_states(self) -> None:
        """Publish the states that are due, as far as the broker keeps up; the others wait.

        Never two of a stream at once: after a lost connection paho repeats the older one behind the newer.
        """
        with self._changed:
            self._announce = self._announce and not self._told_home_assistant()
            for stream, level in list(self._due.items()):
                with self._acknowledged:
                    flying = sum(done is None for _, done in self._flying.values())
                if not self._connected or flying >= STATES_IN_FLIGHT:
                    return
                topic = self._topic(stream, "state")
                if not self._is_flying(topic) and self._publish(topic, self._waiting[stream], retain=True):
                    del self._waiting[stream], self._due[stream]
                    if level:
                        self._last[stream] = (time.monotonic(), level)

    def _told_home_assistant(self) -> bool:
        """Tell Home Assistant of the streams, if nothing about them is under way."""
        topic = _home_assistant.topic(self._about)
        if self._announced is None or not self._connected or self._is_flying(topic):
            return False
        config = _home_assistant.config(self._about, version("edgeseq"), self._announced)
        return self._publish(topic, _payload.encode(config), retain=True)

    def _is_flying(self, topic: str) -> bool:
        with self._acknowledged:
            return any(flying == topic for flying, _ in self._flying.values())

    def _publish(
        self,
        topic: str,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: str = "",
        expiry_s: int = 0,
        done: Callable[[], None] | None = None,
    ) -> bool:
        """Hand a message to paho, which sends it now or when the broker is there. Returns False after `close`."""
        client = self._client
        if client is None:
            return False
        v5 = self._broker.protocol == "5"
        properties = json_properties(correlation=correlation, expiry_s=expiry_s) if v5 else None
        info = client.publish(topic, payload, QOS, retain=retain, properties=properties)
        with self._acknowledged:
            early = info.mid in self._early
            if early:
                self._early.remove(info.mid)
            else:
                self._flying[info.mid] = (topic, done)
        if early and done is not None:
            done()
        return True

    def _on_connect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        """Say "online" and publish the states that waited; or say why the broker refuses."""
        with self._changed:
            self._connected = not code.is_failure
            if self._connected:
                self._announce = self._announced is not None
                self._publish_status("online")
                self._publish_states()
            self._changed.notify_all()
        if code.is_failure:
            self._say(f"does not take us: {code}. Check user name, password and certificate.")
        else:
            self._trouble = ""
            log.info("connected to the MQTT broker at %s", self._broker.where)

    def _on_connect_fail(self, client: paho.Client, _data: Any) -> None:
        """Say why there is no connection."""
        trouble = client.trouble if isinstance(client, Client) else ""
        self._say(f"cannot be reached: {trouble}. Check host and port of the sink, and that the broker runs.")

    def _say(self, trouble: str) -> None:
        """Log what is in the way, once for as long as it is the same."""
        if trouble != self._trouble:
            log.warning("the MQTT broker at %s %s It is tried again and again.", self._broker.where, trouble)
        self._trouble = trouble

    def _on_disconnect(self, _client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        """Hold states back until the broker is there again."""
        with self._changed:
            lost = self._connected
            self._connected = False
            self._changed.notify_all()
        if lost and code.is_failure:
            log.warning("lost the MQTT broker at %s (%s); trying again", self._broker.where, code)
        elif code.is_failure and not self._trouble:
            self._say(f"lets nobody in: {code}. Check that it is one, and that it asks for no other certificate.")

    def _on_publish(self, _client: paho.Client, _data: Any, mid: int, code: Any, _properties: Any) -> None:
        """Count an acknowledgement, and tell the outbox of its event's."""
        with self._acknowledged:
            found = self._flying.pop(mid, None)
            if found is None:
                self._early.add(mid)
            if code.is_failure:
                self.dropped["refused"] += 1
                log.warning("the MQTT broker at %s refused a message: %s", self._broker.where, code)
            self._acknowledged.notify_all()
        if found is not None and found[1] is not None:
            found[1]()
