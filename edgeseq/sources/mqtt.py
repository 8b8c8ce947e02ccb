"""Samples that others publish to an MQTT broker."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import uuid
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from edgeseq.broker import Broker
from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _messages
from edgeseq.sources._arrivals import Arrivals, Stamps
from edgeseq.sources._clock import now_ns
from edgeseq.sources._messages import Json, Message, MessageError
from edgeseq.sources._table import Column
from edgeseq.sources._times import TimeFormat
from edgeseq.types import Channel, Chunk, StreamSpec

LOOK_S = 0.2
"""The longest wait: whether the source was closed is looked at this often."""
CONNECT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 1.0, 30.0
"""Between attempts to connect; doubled each time."""
MAX_PAYLOAD = 1 << 20
MAX_STREAMS = 4096
"""Streams whose times are followed; messages of further ones are counted and left out."""
MAX_TOPIC = 65_535
REFUSED_FOR_GOOD = ("not authorized", "bad user name or password", "bad username or password", "client identifier")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Stream:
    """What dates a stream's samples, and whether something is missing before the next one."""

    arrivals: Arrivals
    stamps: Stamps
    lost: bool = field(default=False)


class Mqtt:
    """Subscribes to topics and takes each message's samples, one or several; a stream a topic, if there are many.

    host, port, protocol ("5" or "3.1.1"): the broker. username, password_file: the password is the file's first line.
    tls: encrypt, and check the broker's certificate against the system's authorities, or ca_file, which implies tls;
    cert_file, key_file: our own certificate, where the broker asks for one (the key may stand in the same file).
    topic: what is subscribed to, with the wildcards + and #. What they stand for, joined by "/", names the stream;
    without one there is one stream. qos: 0, 1 (default), 2.
    format: "json" (default) or "float32": rows of float32, little endian, the channels of a sample side by side.
    channels: names, or tables { name, column, unit } where `column` is the path to the values in JSON, such as
    data.accel[0].x: a number, or an array of consecutive samples; default: the name. null is a missing value, NaN.
    time_column, time_format: the path to the time of a message's first sample, or to an array of all; numbers of "s"
    (default), "ms", "us", "ns" since the Unix epoch, or "iso". Without it samples are dated as they arrive.
    rate_hz: samples a second of each stream. channels and rate_hz default to the bundle's in a configuration.

    A broker that is away is sought again with back-off; what it had meanwhile is missing, and marked as a gap. Retained
    messages are old news, and left out. Counted in `dropped`: "retained", "too_large", "disconnected", why a message
    holds no samples ("not_json", "no_value", ...), which makes a gap as well, and what the times leave out.
    """

    live = True

    def __init__(
        self,
        *,
        topic: str,
        rate_hz: float,
        channels: list[str | Column],
        host: str = "localhost",
        port: int = 1883,
        protocol: Literal["5", "3.1.1"] = "5",
        username: str | None = None,
        password_file: Path | None = None,
        tls: bool = False,
        ca_file: Path | None = None,
        cert_file: Path | None = None,
        key_file: Path | None = None,
        qos: Literal[0, 1, 2] = 1,
        format: Literal["json", "float32"] = "json",  # noqa: A002 - the TOML key
        time_column: str | None = None,
        time_format: TimeFormat = "s",
    ) -> None:
        named = [Column(name=each) if isinstance(each, str) else each for each in channels]
        if not named:
            raise ConfigError("channels is empty.", "channels")
        if not 0 < rate_hz < float("inf"):
            raise ConfigError(f"rate_hz must be above 0, not {rate_hz:g}.", "rate_hz")
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
            error=SourceError,
        )
        if format == "float32" and (time_column or any(each.column for each in named)):
            raise ConfigError("float32 rows have neither times nor paths: time_column and column belong to JSON.")
        _check_filter(topic)
        self.spec = StreamSpec(tuple(Channel(each.name, each.unit) for each in named), rate_hz)
        self.dropped: Counter[str] = Counter()
        self._topic, self._qos = topic, qos
        self._json = None
        if format == "json":
            self._json = Json([each.column or each.name for each in named], time_column, time_format)
        self._closed = threading.Event()
        self._streams: dict[str, _Stream] = {}
        # What paho's callbacks say, in the thread that iterates: messages, and why the broker will never take us.
        self._heard: deque[Chunk] = deque()
        self._refusal = ""
        self._subscribed = self._met = False

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for two machines on a broker of this machine."""
        return {"host": "127.0.0.1", "topic": "machines/+/vibration", "rate_hz": 100.0, "channels": ["a", "b"]}

    @classmethod
    def example_messages(cls) -> list[tuple[str, bytes]]:
        """Return topics and payloads that the example takes."""
        return [(f"machines/{name}/vibration", b'{"a": [1, 2, 3], "b": [4, 5.5, null]}') for name in ("saw", "press")]

    def check(self) -> str:
        """See that the files are there; the broker is not asked."""
        dated = "dated as they arrive" if self._json is None or not self._json.timed else "with their own times"
        what = "JSON" if self._json is not None else "float32 rows"
        return (
            f"subscribes to {self._topic} at {self._broker.words()} and takes {what}, {dated}; a broker that is "
            "away is waited for"
        )

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._closed.set()

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks, a message's samples each, until closed."""
        wait_s = FIRST_WAIT_S
        while not self._closed.is_set():
            client, reason = self._client(), ""
            try:
                client.connect(self._broker.host, self._broker.port, keepalive=30, **self._session())
                while not self._closed.is_set() and not self._refusal:
                    # paho's loop runs here, not in a thread of its own: what we do not take stays with the broker.
                    code = client.loop(LOOK_S)
                    while self._heard:
                        yield self._heard.popleft()
                    if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
                        reason = paho.error_string(code)
                        break
            except (OSError, ValueError) as cause:
                reason = str(cause)
            finally:
                with contextlib.suppress(OSError, ValueError):
                    client.disconnect()
            if self._refusal:
                raise SourceError(
                    f"the MQTT broker at {self._broker.where} does not take us: {self._refusal}. Check user name, "
                    "password and what this user may read."
                )
            if self._closed.is_set():
                return
            wait_s = FIRST_WAIT_S if self._subscribed else wait_s
            self._lost(reason, wait_s)
            self._closed.wait(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    def _lost(self, reason: str, wait_s: float) -> None:
        """Mark what may be missing, and say so."""
        if self._subscribed:
            self.dropped["disconnected"] += 1
        self._subscribed = False
        for stream in self._streams.values():
            stream.lost = True
        where = self._broker.where
        log.warning("no MQTT broker at %s (%s); it is sought again in %g s", where, reason or "no answer", wait_s)

    def _client(self) -> paho.Client:
        """Return a client, set up but not connected."""
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"edgeseq-{uuid.uuid4().hex[:16]}",
            protocol=self._broker.version,
            reconnect_on_failure=False,
        )
        client.connect_timeout = CONNECT_S
        self._broker.introduce(client)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    def _session(self) -> dict[str, Any]:
        """Return what is asked of the connection: no larger messages, which MQTT 3.1.1 cannot say."""
        if self._broker.protocol != "5":
            return {}
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.MaximumPacketSize = MAX_PAYLOAD + 2 * MAX_TOPIC
        return {"properties": properties, "clean_start": True}

    def _on_connect(self, client: paho.Client, _data: Any, _flags: Any, code: Any, _properties: Any) -> None:
        if not code.is_failure:
            client.subscribe(self._topic, self._qos)
        elif str(code).lower().startswith(REFUSED_FOR_GOOD):
            self._refusal = str(code)

    def _on_subscribe(self, _client: paho.Client, _data: Any, _mid: int, codes: Any, _properties: Any) -> None:
        if codes[0].is_failure:
            self._refusal = f"{self._topic}: {codes[0]}"
            return
        log.log(
            logging.WARNING if self._met else logging.INFO, "subscribed to %s at %s", self._topic, self._broker.where
        )
        self._subscribed = self._met = True

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        """Make a chunk of a message, or count why there is none."""
        if message.retain:
            self.dropped["retained"] += 1
            return
        name = _between(self._topic, message.topic)
        stream = self._streams.get(name)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                self.dropped["too_many_streams"] += 1
                return
            rate = self.spec.rate_hz
            stream = self._streams[name] = _Stream(Arrivals(rate), Stamps(rate, self.dropped))
        try:
            self._take(name, stream, self._read(bytes(message.payload)))
        except MessageError as reason:
            self.dropped[str(reason)] += 1
            stream.lost = True

    def _read(self, payload: bytes) -> Message:
        """Return a message's samples. Raises MessageError."""
        if len(payload) > MAX_PAYLOAD:
            raise MessageError("too_large")
        if self._json is not None:
            return self._json.read(payload)
        return _messages.rows(payload, len(self.spec.channels))

    def _take(self, name: str, stream: _Stream, message: Message) -> None:
        """Date a message's samples, and let them out in chunks without a gap inside."""
        lost, stream.lost = stream.lost, False
        if message.t_ns is None:
            t_ns, gap = stream.arrivals.dated(len(message.values), now_ns(), lost=lost)
            self._heard.append(Chunk(t_ns, message.values, gap=gap, stream=name))
            return
        if len(message.t_ns) == len(message.values):
            kept = stream.stamps.checked(message.t_ns)
        else:
            kept = stream.stamps.spread(int(message.t_ns[0]), len(message.values))
        values = message.values[kept.keep]
        gaps = np.flatnonzero(kept.gaps).tolist()
        cuts = sorted({0, *gaps, len(values)})
        for start, stop in itertools.pairwise(cuts):
            gap = start in gaps or (lost and start == 0)
            self._heard.append(Chunk(kept.t_ns[start:stop], values[start:stop], gap=gap, stream=name))
        if len(values) == 0:
            stream.lost = lost


def _check_filter(topic: str) -> None:
    """Raise ConfigError for what no broker takes as a topic filter."""
    levels = topic.split("/")
    right = 0 < len(topic.encode()) <= MAX_TOPIC and "\0" not in topic and "#" not in "".join(levels[:-1])
    if not right or any(len(each) > 1 and ("+" in each or "#" in each) for each in levels):
        raise ConfigError(
            f"topic {topic!r} is none to subscribe to: + stands for a whole level, # for all that follow, at the end.",
            "topic",
        )


def _between(topic: str, found: str) -> str:
    """Return what the wildcards of a topic filter stand for in a topic that fits it, joined by "/"."""
    levels, there = topic.split("/"), found.split("/")
    parts = [each for level, each in zip(levels, there, strict=False) if level == "+"]
    return "/".join(parts + (there[len(levels) - 1 :] if levels[-1] == "#" else []))
