"""The MQTT sink against a real mosquitto, with mosquitto_sub as the witness."""

import json
import logging
import math
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broker import Broker, certificates, port_of, reserved_port
from hypothesis import given, settings
from hypothesis import strategies as st
from payload_schema import kind_of, validated

from edgeseq import clock
from edgeseq.errors import ConfigError, SinkError
from edgeseq.sinks import _topic, mqtt
from edgeseq.sinks.mqtt import Mqtt
from edgeseq.types import About, Event, Output

ABOUT = About("press-4", "turbofan", "rul", "1.2.0", ("rul",), "cycles")
STATE = "edgeseq/press-4/turbofan/7/state"
EVENT = "edgeseq/press-4/turbofan/7/event"
STATUS = "edgeseq/press-4/status"
PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def sink(broker: Broker, **more: Any) -> Mqtt:
    return Mqtt(**{"host": "127.0.0.1", "port": broker.port, **more})


def output(value: float, t_ns: int = 1) -> Output:
    return Output(t_ns, "7", np.array([value], np.float32))


def event(sequence: int = 0) -> Event:
    return Event("raised", "7@5", sequence, "7", "warning", 1, 40.5, 1_767_225_601_000_000_001, {"threshold": 50.0})


def parsed(lines: list[str]) -> list[tuple[str, str, str, dict[str, Any]]]:
    """Return (retained, qos, topic, payload) of each line, a payload as the schema says."""
    split = [line.split(" ", 3) for line in lines]
    found = [(retained, qos, topic, json.loads(payload)) for retained, qos, topic, payload in split]
    for _, _, topic, payload in found:
        validated(kind_of(topic), payload)
    return found


def until(condition: Callable[[], bool]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail("not within 30 s")


def opened(made: Mqtt, about: About = ABOUT) -> Mqtt:
    """Open it, and return when the broker is there and all that a new connection brings is on its way."""
    made.open(about)
    until(lambda: made.room() > 0)
    with made._changed:
        return made


def counts(made: Mqtt) -> dict[str, int]:
    return {reason: count for reason, count in made.dropped.items() if count}


@PROTOCOLS
def test_status_state_and_event(mosquitto: Broker, protocol: str) -> None:
    lines = mosquitto.watch("edgeseq/#")
    made = sink(mosquitto, protocol=protocol)
    opened(made)
    made.event(event())
    made.output(output(40.5, 1_767_225_601_000_000_001), "warning")
    made.end("7")
    made.close()
    seen = parsed(lines(lambda seen: len(seen) >= 4))
    assert [(qos, topic) for _, qos, topic, _ in seen] == [("1", STATUS), ("1", EVENT), ("1", STATE), ("1", STATUS)]
    assert [seen[0][3]["status"], seen[3][3]["status"]] == ["online", "offline"]
    head = {
        "schema": 1,
        "device": "press-4",
        "pipeline": "turbofan",
        "stream": "7",
        "time": "2026-01-01T00:00:01.000000001Z",
        "t_ns": 1_767_225_601_000_000_001,
        "clock_synced": clock.synced(),
        "model": "rul",
        "model_version": "1.2.0",
    }
    assert seen[1][3] == {
        **head,
        "event_id": "7@5-0",
        "alert": "7@5",
        "sequence": 0,
        "stream_sequence": None,
        "kind": "raised",
        "level": "warning",
        "severity": 1,
        "score": 40.5,
        "unit": "cycles",
        "evidence": {"threshold": 50.0},
    }
    assert seen[2][3] == {
        **head,
        "level": "warning",
        "score": 40.5,
        "values": {"rul": 40.5},
        "unit": "cycles",
        "warming": False,
    }
    assert counts(made) == {}


@PROTOCOLS
def test_states_and_status_are_retained_and_events_are_not(mosquitto: Broker, protocol: str) -> None:
    made = sink(mosquitto, protocol=protocol)
    opened(made)
    made.event(event())
    made.output(output(1), "ok")
    made.close()
    late = parsed(mosquitto.watch("edgeseq/#")(lambda seen: len(seen) >= 2))
    assert sorted((retained, topic) for retained, _, topic, _ in late) == [("1", STATUS), ("1", STATE)]


def test_a_pipeline_that_ends_is_not_the_end_of_the_others_on_its_device(mosquitto: Broker) -> None:
    going, ended = opened(sink(mosquitto)), opened(sink(mosquitto), About("press-4", "other"))
    ended.close()
    going.health({})
    acknowledged(going)
    late = parsed(mosquitto.watch(STATUS)(lambda seen: len(seen) == 1))
    assert [(retained, payload["status"]) for retained, _, _, payload in late] == [("1", "online")]
    going.close()


@PROTOCOLS
def test_the_last_will_says_offline(mosquitto: Broker, protocol: str) -> None:
    lines = mosquitto.watch(STATUS)
    program = (
        "import os, time; from edgeseq.sinks.mqtt import Mqtt; from edgeseq.types import About\n"
        f"made = Mqtt(host='127.0.0.1', port={mosquitto.port}, protocol='{protocol}')\n"
        "made.open(About('press-4', 'p'))\n"
        "while not made.room(): time.sleep(0.01)\n"
        "os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    lines(lambda seen: bool(seen) and parsed(seen)[-1][3]["status"] == "offline")


def test_states_are_rate_limited_but_a_new_level_and_the_end_are_not(mosquitto: Broker) -> None:
    lines = mosquitto.watch(STATE)
    made = sink(mosquitto, state_interval_s=1e9)
    opened(made)
    for value, level in [(1, "ok"), (2, "ok"), (3, "warning"), (4, "warning"), (5, "ok"), (6, "ok"), (7, "ok")]:
        made.output(output(value), level)
        acknowledged(made)
    made.end("7")
    made.close()
    seen = parsed(lines(lambda seen: len(seen) >= 4))
    assert [payload["score"] for _, _, _, payload in seen] == [1, 3, 5, 7]


def test_a_flood_of_states_leaves_room_for_events(mosquitto: Broker) -> None:
    events, states = mosquitto.watch(EVENT), mosquitto.watch("edgeseq/press-4/turbofan/+/state")
    made = sink(mosquitto, state_interval_s=0, max_queued=30)
    opened(made)
    for place in range(3000):
        made.output(Output(place, str(place % 100), np.array([place], np.float32)), "ok")
    made.event(event())
    for stream in range(100):
        made.end(str(stream))
    made.close()
    events(lambda seen: len(seen) == 1)
    last = set(range(2900, 3000))
    states(lambda seen: last <= {payload["t_ns"] for _, _, _, payload in parsed(seen)})
    assert counts(made) == {}


def acknowledged(made: Mqtt) -> None:
    with made._acknowledged:
        assert made._acknowledged.wait_for(lambda: not made._flying, 30)


def wait_for(made: Mqtt, condition: Callable[[], bool]) -> None:
    with made._changed:
        assert made._changed.wait_for(condition, 30)


@PROTOCOLS
def test_a_broker_that_is_lost_is_found_again(
    mosquitto: Broker, protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RECONNECT_S", (1, 1))
    made = sink(mosquitto, protocol=protocol, state_interval_s=0)
    opened(made)
    made.output(output(1), "ok")
    mosquitto.stop()
    wait_for(made, lambda: not made._connected)
    made.event(event())
    made.output(output(2), "ok")
    made.output(output(3), "ok")
    mosquitto.start()
    wait_for(made, lambda: made._connected)
    made.close()
    assert counts(made) == {}, "the event was acknowledged after all"
    late = parsed(mosquitto.watch("edgeseq/#")(lambda seen: len(seen) >= 2))
    assert {topic: payload.get("score", payload.get("status")) for _, _, topic, payload in late} == {
        STATUS: "offline",
        STATE: 3,
    }


def test_what_does_not_get_out_is_counted(mosquitto: Broker) -> None:
    made = sink(mosquitto, max_queued=3, drain_s=0.1)
    opened(made)
    acknowledged(made)
    mosquitto.stop()
    wait_for(made, lambda: not made._connected)
    for sequence in range(5):
        made.event(event(sequence))
    made.output(output(1), "ok")
    made.close()
    assert counts(made) == {"queue_full": 2, "not_acknowledged": 3, "state_not_sent": 1}


def test_what_is_acknowledged_while_it_is_closed_does_no_harm() -> None:
    with reserved_port() as held:
        made = Mqtt(host="127.0.0.1", port=port_of(held), drain_s=0)
        made.open(ABOUT)
        for sequence in (0, 1):
            made.event(event(sequence))

        class Busy(dict[int, Any]):
            def values(self) -> Any:
                for value in super().values():
                    thread = threading.Thread(target=acknowledge)
                    thread.start()
                    thread.join(0.05)
                    yield value

        def acknowledge() -> None:
            with made._acknowledged:
                flying.popitem()

        flying = Busy(made._flying)
        made._flying = flying
        made.close()
    assert counts(made) == {"not_acknowledged": 2}


def test_a_broker_that_is_not_there_is_told_once_and_waited_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "RECONNECT_S", (1, 1))
    with reserved_port() as nobody:
        port = port_of(nobody)
        made = Mqtt(host="127.0.0.1", port=port, drain_s=0)
        made.open(ABOUT)
        assert made.room() == 0
        until(lambda: bool(caplog.records))
        time.sleep(1.5)
        made.close()
    (record,) = caplog.records
    assert f"127.0.0.1:{port} cannot be reached: [Errno 111] Connection refused" in record.getMessage()
    assert "Check host and port" in record.getMessage()


def test_a_name_that_is_none_is_told_and_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    made = Mqtt(host="a..b", drain_s=0)
    made.open(ABOUT)
    until(lambda: "cannot be reached" in caplog.text)
    made.close()


@PROTOCOLS
def test_user_and_password(mosquitto: Broker, protocol: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    users = mosquitto.folder / "users"
    subprocess.run(["mosquitto_passwd", "-b", "-c", str(users), "edge", "s3cret-word"], check=True)
    users.chmod(0o644)
    mosquitto.stop()
    mosquitto.settings = f"allow_anonymous false\npassword_file {users}\nuser root\n"
    mosquitto.start()
    password = tmp_path / "password"
    password.write_text("s3cret-word\n")
    made = sink(mosquitto, protocol=protocol, username="edge", password_file=password)
    made.open(ABOUT)
    made.event(event())
    made.close()
    assert counts(made) == {}
    password.write_text("wr0ng-word")
    made = sink(mosquitto, protocol=protocol, username="edge", password_file=password, drain_s=0)
    made.open(ABOUT)
    until(lambda: re.search(r"does not take us: .*[Nn]ot authori[sz]ed", caplog.text) is not None)
    made.close()
    said = caplog.text + repr(made.__dict__)
    assert "s3cret-word" not in said
    assert "wr0ng-word" not in said


def test_tls_with_an_authority_and_client_certificates(mosquitto: Broker, caplog: pytest.LogCaptureFixture) -> None:
    folder = mosquitto.folder
    certificates(folder)
    mosquitto.stop()
    mosquitto.settings = (
        f"allow_anonymous true\ncafile {folder}/ca.pem\ncertfile {folder}/broker.pem\nkeyfile {folder}/broker.key\n"
        "require_certificate true\nuser root\n"
    )
    mosquitto.start()
    ours = {"ca_file": folder / "ca.pem", "cert_file": folder / "client.pem", "key_file": folder / "client.key"}
    made = sink(mosquitto, **ours)
    made.check()
    opened(made)
    made.event(event())
    made.close()
    assert counts(made) == {}
    for wrong in ({"tls": True}, {"ca_file": folder / "ca.pem"}):
        caplog.clear()
        made = sink(mosquitto, drain_s=0, **wrong)
        made.open(ABOUT)
        said = "certificate verify failed" if "tls" in wrong else "lets nobody in|certificate required"
        until(lambda said=said: re.search(said, caplog.text) is not None)  # type: ignore[misc]
        assert made.room() == 0
        made.close()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"host": "mqtt://broker"}, "a name or an address alone"),
        ({"host": ""}, "a name or an address alone"),
        ({"port": 0}, "port must lie between"),
        ({"port": 70_000}, "port must lie between"),
        ({"protocol": "3"}, "protocol must be one of 5, 3.1.1"),
        ({"password_file": Path("x")}, "needs username"),
        ({"key_file": Path("x")}, "needs cert_file"),
        ({"health_interval_s": 0.0}, "health_interval_s must be above 0"),
        ({"max_queued": 0}, "max_queued must be at least 1"),
        ({"drain_s": -1.0}, "drain_s and state_interval_s at least 0"),
        ({"drain_s": math.inf}, "at most 86400"),
        ({"state_interval_s": math.nan}, "drain_s and state_interval_s at least 0"),
        ({"connect_timeout_s": 0.0}, "connect_timeout_s must be above 0"),
        ({"connect_timeout_s": math.inf}, "at most 86400"),
        ({"keepalive_s": 100_000}, "keepalive_s must lie between 1 and 65535"),
    ],
)
def test_parameters(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mqtt(**more)


def test_files_are_checked_without_a_broker(tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    with pytest.raises(SinkError, match=f"password file {absent} cannot be read: No such file"):
        Mqtt(username="x", password_file=absent).check()
    with pytest.raises(SinkError, match=r"certificate file .* cannot be used"):
        Mqtt(ca_file=absent).check()
    empty = tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(SinkError, match="holds no password"):
        Mqtt(username="x", password_file=empty).check()
    key, other = tmp_path / "key", tmp_path / "other"
    key.write_text("no key")
    other.write_text("no certificate")
    with pytest.raises(SinkError, match=r"client certificate .* cannot be used: .*Both must be PEM"):
        Mqtt(cert_file=other, key_file=key).check()
    assert "as soon and as often as the broker is there" in Mqtt().check()


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=40))
def test_a_name_is_one_level_and_no_two_are_the_same(name: str, other: str) -> None:
    level = _topic.level(name)
    assert level
    assert not set(level) & set("/+#$\0")
    level.encode()
    assert (level == _topic.level(other)) == (name == other) or {"", "-"} == {name, other}


def test_long_names_are_cut_and_still_differ() -> None:
    first, second = _topic.level("x" * 70_000), _topic.level("x" * 70_001)
    assert len(first) <= _topic.MAX_LEVEL
    assert first != second


def test_odd_names_reach_the_broker(mosquitto: Broker) -> None:
    lines = mosquitto.watch("edgeseq/+/+/+/event")
    made = sink(mosquitto)
    made.open(About("a/b", "#", "m", "1", ("y",)))
    made.event(Event("raised", "x", 0, "+$\0ü", "warning", 1, 1.0, 0))
    made.close()
    assert lines(lambda seen: len(seen) == 1)[0].split(" ", 3)[2] == "edgeseq/a%2Fb/%23/%2B%24%00ü/event"
