"""The MQTT sink against a real mosquitto, with mosquitto_sub as the witness."""

import json
import logging
import math
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import which
from typing import Any

import numpy as np
import pytest
from broker import Broker, port_of, reserved_port
from hypothesis import given, settings
from hypothesis import strategies as st

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
    """Return (retained, qos, topic, payload) of each line."""
    split = [line.split(" ", 3) for line in lines]
    return [(retained, qos, topic, json.loads(payload)) for retained, qos, topic, payload in split]


def counts(made: Mqtt) -> dict[str, int]:
    return {reason: count for reason, count in made.dropped.items() if count}


@PROTOCOLS
def test_status_state_and_event(mosquitto: Broker, protocol: str) -> None:
    lines = mosquitto.watch("edgeseq/#")
    made = sink(mosquitto, protocol=protocol)
    made.open(ABOUT)
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
        "model": "rul",
        "model_version": "1.2.0",
    }
    assert seen[1][3] == {
        **head,
        "event_id": "7@5-0",
        "alert": "7@5",
        "sequence": 0,
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
    made.open(ABOUT)
    made.event(event())
    made.output(output(1), "ok")
    made.close()
    late = parsed(mosquitto.watch("edgeseq/#")(lambda seen: len(seen) >= 2))
    assert sorted((retained, topic) for retained, _, topic, _ in late) == [("1", STATUS), ("1", STATE)]


@PROTOCOLS
def test_the_last_will_says_offline(mosquitto: Broker, protocol: str) -> None:
    lines = mosquitto.watch(STATUS)
    program = (
        "import os; from edgeseq.sinks.mqtt import Mqtt; from edgeseq.types import About\n"
        f"Mqtt(host='127.0.0.1', port={mosquitto.port}, protocol='{protocol}').open(About('press-4', 'p'))\n"
        "os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program], check=False)
    lines(lambda seen: bool(seen) and parsed(seen)[-1][3]["status"] == "offline")


def test_states_are_rate_limited_but_a_new_level_and_the_end_are_not(mosquitto: Broker) -> None:
    lines = mosquitto.watch(STATE)
    made = sink(mosquitto, state_interval_s=1e9)
    made.open(ABOUT)
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
    made.open(ABOUT)
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
    made.open(ABOUT)
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
    made.open(ABOUT)
    acknowledged(made)
    mosquitto.stop()
    wait_for(made, lambda: not made._connected)
    for sequence in range(5):
        made.event(event(sequence))
    made.output(output(1), "ok")
    made.close()
    assert counts(made) == {"queue_full": 2, "not_acknowledged": 3, "state_not_sent": 1}


def test_a_broker_that_is_not_there_is_one_paragraph() -> None:
    with reserved_port() as nobody:
        port = port_of(nobody)
        with pytest.raises(SinkError) as caught:
            Mqtt(host="127.0.0.1", port=port).open(ABOUT)
    message = str(caught.value)
    assert f"127.0.0.1:{port} cannot be reached" in message
    assert "Check host and port" in message
    assert "\n" not in message


def test_a_port_that_is_no_broker_is_one_paragraph() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        made = Mqtt(host="127.0.0.1", port=server.getsockname()[1], connect_timeout_s=0.2)
        with pytest.raises(SinkError, match=r"does not take us: no answer to CONNECT within 0.2 s"):
            made.open(ABOUT)


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
    with pytest.raises(SinkError, match=r"does not take us: .*[Nn]ot authori[sz]ed") as caught:
        sink(mosquitto, protocol=protocol, username="edge", password_file=password).open(ABOUT)
    said = str(caught.value) + caplog.text + repr(made.__dict__)
    assert "s3cret-word" not in said
    assert "wr0ng-word" not in said


def test_tls_checks_the_certificate(mosquitto: Broker) -> None:
    if which("openssl") is None:
        pytest.skip("openssl is not installed; apt-get install openssl")
    folder = mosquitto.folder
    request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    request += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*request, "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    mosquitto.stop()
    mosquitto.settings = f"allow_anonymous true\ncertfile {folder}/cert.pem\nkeyfile {folder}/key.pem\nuser root\n"
    mosquitto.start()
    made = sink(mosquitto, ca_file=folder / "cert.pem")
    made.check()
    made.open(ABOUT)
    made.event(event())
    made.close()
    assert counts(made) == {}
    with pytest.raises(SinkError, match="certificate verify failed"):
        sink(mosquitto, tls=True).open(ABOUT)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"host": "mqtt://broker"}, "a name or an address alone"),
        ({"host": ""}, "a name or an address alone"),
        ({"port": 0}, "port must lie between"),
        ({"port": 70_000}, "port must lie between"),
        ({"protocol": "3"}, "protocol must be one of 5, 3.1.1"),
        ({"password_file": Path("x")}, "needs username"),
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
    assert "the broker must be there within 10 s" in Mqtt().check()


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
