"""Messages as samples: what is read of them, and the subscription at a real broker."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import Broker, certificates
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.errors import ConfigError, SourceError
from edgeseq.sources import _messages, mqtt
from edgeseq.sources._messages import Json, MessageError
from edgeseq.sources.mqtt import Mqtt
from edgeseq.types import Chunk

S = 10**9


@pytest.mark.parametrize(
    ("text", "steps"),
    [("a", ("a",)), ("$.a.b", ("a", "b")), ("a[3].x-y", ("a", 3, "x-y")), ("[0][1]", (0, 1)), ("$[2]", (2,))],
)
def test_paths(text: str, steps: tuple[str | int, ...]) -> None:
    assert _messages.path(text) == steps


@pytest.mark.parametrize("text", ["", "$", "a..b", "a[", "a[x]", "a[-1]", "a]", "."])
def test_no_paths(text: str) -> None:
    with pytest.raises(ConfigError, match="no path into JSON"):
        _messages.path(text)


def test_values_stand_at_their_paths() -> None:
    read = Json(["data.acc[1].x", "t"], None, "s").read
    message = read(b'{"data": {"acc": [{}, {"x": 1.5}]}, "t": 3}')
    np.testing.assert_array_equal(message.values, np.array([[1.5, 3]], np.float32))
    assert message.t_ns is None
    several = read(b'{"data": {"acc": [{}, {"x": [1, null, 1e999]}]}, "t": [4, 5, 6]}')
    np.testing.assert_array_equal(several.values, np.array([[1, 4], [np.nan, 5], [np.inf, 6]], np.float32))


def test_times_keep_their_digits() -> None:
    read = Json(["a"], "t", "s").read
    message = read(b'{"a": [1, 2], "t": 1764446400.123456789}')
    assert message.t_ns is not None
    assert message.t_ns.tolist() == [1_764_446_400_123_456_789]
    iso = Json(["a"], "t", "iso").read(b'{"a": 1, "t": "2026-11-29T20:00:00.000000001Z"}')
    assert iso.t_ns is not None
    assert iso.t_ns.tolist() == [1_795_982_400_000_000_001]


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "not_json"),
        (b"\xff{", "not_json"),
        (b"[" * 100_000, "not_json"),
        (b'{"b": 1}', "no_value"),
        (b"[1]", "no_value"),
        (b'{"a": "1", "t": 1}', "not_numbers"),
        (b'{"a": true, "t": 1}', "not_numbers"),
        (b'{"a": 1' + b"0" * 400 + b', "t": 1}', "not_numbers"),
        (b'{"a": [], "t": 1}', "no_samples"),
        (b'{"a": 1}', "no_time"),
        (b'{"a": 1, "t": "soon"}', "no_time"),
        (b'{"a": 1, "t": 1e300}', "no_time"),
        (b'{"a": 1, "t": 1e999999999}', "no_time"),
        (b'{"a": 1, "t": 9223372036}', "no_time"),
        (b'{"a": 1, "t": {}}', "no_time"),
        (b'{"a": [1, 2, 3], "t": [1, 2]}', "uneven_times"),
    ],
)
def test_a_message_without_samples_says_why(payload: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=f"^{reason}$"):
        Json(["a"], "t", "s").read(payload)


@given(
    st.binary(max_size=40)
    | st.text(max_size=40).map(str.encode)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abt"), inner, max_size=3),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_bytes_are_samples_or_a_reason(payload: bytes) -> None:
    for read in (Json(["a", "b"], "t", "s").read, Json(["a"], None, "s").read, lambda raw: _messages.rows(raw, 2)):
        try:
            message = read(payload)
        except MessageError:
            continue
        assert message.values.dtype == np.float32
        assert len(message.values) > 0


def test_rows_of_float32() -> None:
    values = np.array([[1, 2], [3, np.nan]], np.float32)
    np.testing.assert_array_equal(_messages.rows(values.astype("<f4").tobytes(), 2).values, values)
    for wrong in (b"", b"12345678", b"123456789"):
        with pytest.raises(MessageError, match="not_whole_rows"):
            _messages.rows(wrong, 3)


@pytest.mark.parametrize(
    ("topic", "found", "name"),
    [
        ("a/b", "a/b", ""),
        ("a/+/c", "a/x/c", "x"),
        ("+/+", "x/y", "x/y"),
        ("a/#", "a/x/y", "x/y"),
        ("a/#", "a", ""),
        ("+/b/#", "x/b/y", "x/y"),
        ("#", "x/y", "x/y"),
    ],
)
def test_a_stream_is_called_what_the_wildcards_stand_for(topic: str, found: str, name: str) -> None:
    assert mqtt._between(topic, found) == name


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"topic": "a/#/b"}, "none to subscribe to"),
        ({"topic": "a/b+"}, "none to subscribe to"),
        ({"topic": ""}, "none to subscribe to"),
        ({"host": "mqtt://broker"}, "host must be a name or an address alone"),
        ({"port": 0}, "port must lie between"),
        ({"format": "float32", "time_column": "t"}, "belong to JSON"),
        ({"channels": []}, "channels is empty"),
        ({"rate_hz": 0}, "rate_hz must be above 0"),
        ({"password_file": Path("x")}, "password_file needs username"),
        ({"key_file": Path("x")}, "key_file needs cert_file"),
    ],
)
def test_what_is_no_subscription(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Mqtt(**{"topic": "a", "rate_hz": 1.0, "channels": ["a"], **keys})


class Reading:
    """Chunks as they come, in a thread."""

    def __init__(self, source: Mqtt) -> None:
        self.source = source
        self.chunks: list[Chunk] = []
        self.failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for chunk in self.source:
                with self._changed:
                    self.chunks.append(chunk)
                    self._changed.notify_all()
        except SourceError as cause:
            self.failure = cause
        with self._changed:
            self._changed.notify_all()

    def until(self, condition: Callable[[], Any]) -> None:
        with self._changed:
            for _ in range(600):
                if condition():
                    return
                self._changed.wait(0.05)
        pytest.fail(f"this did not come: {self.chunks} {self.source.dropped} {self.failure}")

    def end(self) -> None:
        self.source.close()
        self._thread.join(30)
        assert not self._thread.is_alive()


@contextmanager
def subscribed(broker: Broker, **keys: Any) -> Iterator[Reading]:
    reading = Reading(Mqtt(**{"port": broker.port, "rate_hz": 10.0, "channels": ["a"], **keys}))
    try:
        reading.until(lambda: reading.source._subscribed or reading.failure)
        yield reading
    finally:
        reading.end()


def publish(broker: Broker, topic: str, payload: str | bytes, *options: str) -> None:
    raw = payload.encode() if isinstance(payload, str) else payload
    command = ["mosquitto_pub", "-p", str(broker.port), "-t", topic, "-q", "1", "-s", *options]
    subprocess.run(command, input=raw, check=True, timeout=30)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_messages_become_chunks_of_their_streams(mosquitto: Broker, protocol: str) -> None:
    with subscribed(mosquitto, topic="m/+/v", protocol=protocol, time_column="t") as reading:
        for at in range(3):
            for name in ("saw", "press"):
                publish(mosquitto, f"m/{name}/v", json.dumps({"a": [at, at + 0.5], "t": 100 + at * 0.2}))
        reading.until(lambda: len(reading.chunks) == 6)
    for name in ("saw", "press"):
        own = [chunk for chunk in reading.chunks if chunk.stream == name]
        assert [chunk.values[:, 0].tolist() for chunk in own] == [[0, 0.5], [1, 1.5], [2, 2.5]]
        assert [chunk.t_ns.tolist() for chunk in own] == [
            [round((100 + at * 0.2) * S), round((100.1 + at * 0.2) * S)] for at in range(3)
        ]
        assert not any(chunk.gap or chunk.last for chunk in own)
    assert reading.source.dropped == {}


def test_rows_are_dated_as_they_arrive(mosquitto: Broker) -> None:
    values = np.arange(40, dtype=np.float32).reshape(20, 2)
    with subscribed(mosquitto, topic="v", format="float32", channels=["a", "b"]) as reading:
        publish(mosquitto, "v", values.astype("<f4").tobytes())
        reading.until(lambda: reading.chunks)
    (chunk,) = reading.chunks
    np.testing.assert_array_equal(chunk.values, values)
    assert (np.diff(chunk.t_ns) == S // 10).all()
    assert chunk.stream == ""


def test_what_holds_no_samples_is_counted_and_makes_a_gap(mosquitto: Broker) -> None:
    publish(mosquitto, "v", '{"a": 7}', "-r")
    with subscribed(mosquitto, topic="v", time_column="t") as reading:
        for payload in ('{"a": 1, "t": 1}', "?", '{"a": 2, "t": 1.1}', '{"a": 2, "t": 1.1}', '{"a": 3, "t": 9}'):
            publish(mosquitto, "v", payload)
        publish(mosquitto, "v", b" " * (mqtt.MAX_PAYLOAD + 1))
        publish(mosquitto, "v", '{"a": 4, "t": 9.1}')
        reading.until(lambda: len(reading.chunks) == 4)
    assert [(float(chunk.values[0, 0]), chunk.gap) for chunk in reading.chunks] == [
        (1, False),
        (2, True),
        (3, True),
        (4, True),
    ]
    assert reading.source.dropped == {"retained": 1, "not_json": 1, "duplicate": 1, "too_large": 1}


def test_a_broker_that_was_away_leaves_a_gap(mosquitto: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(mqtt, "LONGEST_WAIT_S", 0.1)
    with subscribed(mosquitto, topic="v") as reading:
        publish(mosquitto, "v", '{"a": 1}')
        reading.until(lambda: reading.chunks)
        mosquitto.stop()
        reading.until(lambda: not reading.source._subscribed)
        mosquitto.start()
        reading.until(lambda: reading.source._subscribed)
        publish(mosquitto, "v", '{"a": 2}')
        reading.until(lambda: len(reading.chunks) == 2)
    assert [chunk.gap for chunk in reading.chunks] == [False, True]
    assert reading.chunks[1].t_ns[0] > reading.chunks[0].t_ns[0]
    assert reading.source.dropped == {"disconnected": 1}


def test_a_broker_that_is_not_there_yet_is_waited_for(mosquitto: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "FIRST_WAIT_S", 0.05)
    monkeypatch.setattr(mqtt, "LONGEST_WAIT_S", 0.1)
    mosquitto.stop()
    reading = Reading(Mqtt(topic="v", port=mosquitto.port, rate_hz=10.0, channels=["a"]))
    mosquitto.start()
    reading.until(lambda: reading.source._subscribed)
    publish(mosquitto, "v", '{"a": 1}')
    reading.until(lambda: reading.chunks)
    reading.end()
    assert not reading.chunks[0].gap


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_a_broker_that_refuses_ends_it_with_the_reason(mosquitto: Broker, tmp_path: Path, protocol: str) -> None:
    mosquitto.stop()
    mosquitto.settings = "allow_anonymous false\n"
    mosquitto.start()
    password = tmp_path / "password"
    password.write_text("wrong\n")
    keys: dict[str, Any] = {"protocol": protocol, "username": "u", "password_file": password}
    with subscribed(mosquitto, topic="v", **keys) as reading:
        reading.until(lambda: reading.failure)
    assert "does not take us: Not authorized" in str(reading.failure)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_tls_with_an_authority_and_client_certificates(
    mosquitto: Broker, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder = mosquitto.folder
    certificates(folder)
    mosquitto.stop()
    mosquitto.settings = (
        f"allow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n"
        "require_certificate true\nuser root\n"
    )
    mosquitto.start()
    ours = {"ca_file": folder / "ca.pem", "cert_file": folder / "client.pem", "key_file": folder / "client.key"}
    with subscribed(mosquitto, topic="v", host="127.0.0.1", protocol=protocol, **ours) as reading:
        assert "encrypted" in reading.source.check()
        options = ("--cafile", "ca_file", "--cert", "cert_file", "--key", "key_file", "-h", "127.0.0.1")
        publish(mosquitto, "v", '{"a": 1}', *(str(ours.get(each, each)) for each in options))
        reading.until(lambda: reading.chunks)
    stranger = Reading(Mqtt(topic="v", host="127.0.0.1", port=mosquitto.port, rate_hz=1.0, channels=["a"], tls=True))
    stranger.until(lambda: "certificate verify failed" in caplog.text)
    assert not stranger.source._subscribed
    stranger.end()


def test_check_says_what_it_would_do(tmp_path: Path) -> None:
    source = Mqtt(topic="m/+", rate_hz=1.0, channels=["a"], time_column="t")
    assert "subscribes to m/+ at localhost:1883" in source.check()
    with pytest.raises(SourceError, match="password file"):
        Mqtt(topic="a", rate_hz=1.0, channels=["a"], username="u", password_file=tmp_path / "none").check()
    with pytest.raises(SourceError, match="certificate file"):
        Mqtt(topic="a", rate_hz=1.0, channels=["a"], ca_file=tmp_path / "none").check()
