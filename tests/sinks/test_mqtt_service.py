"""A whole pipeline as its subscribers see it: topics, health, Home Assistant, properties of MQTT 5."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle
from broker import Broker
from payload_schema import kind_of, validated

from edgeseq import cli

CONFIG = """\
name = "wear"
device = "press/4"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
pace = 40
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
critical = 20
[[sinks]]
type = "mqtt"
host = "127.0.0.1"
port = {port}
protocol = "{protocol}"
health_interval_s = 0.3
home_assistant = true
[[sinks]]
type = "sqlite"
path = "events.db"
"""


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path, mosquitto: Broker) -> Path:
    """Write a pipeline of two machines; a test may ask for a protocol."""
    tiny_bundle.write(tmp_path / "bundle")
    rows = [f"{unit},{life - step}" for step in range(60) for unit, life in (("A", 70), ("B+1", 100))]
    (tmp_path / "data.csv").write_text("\n".join(["unit,life", *rows]) + "\n")
    path = tmp_path / "pipeline.toml"
    path.write_text(CONFIG.format(port=mosquitto.port, protocol=getattr(request, "param", "5")))
    return path


def retained(mosquitto: Broker, topic: str, form: str = "%p") -> str:
    command = [
        "mosquitto_sub",
        "-V",
        "mqttv5",
        "-p",
        str(mosquitto.port),
        "-C",
        "1",
        "-W",
        "30",
        "-t",
        topic,
        "-F",
        form,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("config", ["5", "3.1.1"], indirect=True)
def test_everything_a_subscriber_sees(mosquitto: Broker, config: Path) -> None:
    lines = mosquitto.watch("edgeseq/#")
    properties = subprocess.Popen(
        ["mosquitto_sub", "-V", "mqttv5", "-p", str(mosquitto.port), "-t", "edgeseq/+/+/+/event", "-C", "2", "-W", "30",
         "-F", "%C %F %D"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert cli.main(["run", str(config)]) == 0
    seen: dict[str, list[dict[str, Any]]] = {}
    for line in lines(lambda seen: '"status":"offline"' in seen[-1] if seen else False):
        _, qos, topic, payload = line.split(" ", 3)
        assert qos == "1"
        seen.setdefault(topic, []).append(validated(kind_of(topic), json.loads(payload)))
    base = "edgeseq/press%2F4/wear"
    assert set(seen) == {
        "edgeseq/press%2F4/status",
        f"{base}/A/state",
        f"{base}/B%2B1/state",
        f"{base}/A/event",
        f"{base}/health",
    }
    assert [payload["stream_sequence"] for payload in seen[f"{base}/A/event"]] == [1, 2]
    health = seen[f"{base}/health"][-1]
    assert health["outputs"] > 0
    assert set(health["queues"]) == {"journal", "outbox.mqtt", "outbox.sqlite"}
    out, _ = properties.communicate(timeout=60)
    if 'protocol = "5"' in config.read_text():
        ids = [payload["event_id"] for payload in seen[f"{base}/A/event"]]
        assert out.splitlines() == [f"application/json 1 {event_id}" for event_id in ids]


def test_home_assistant_is_told_of_every_stream(mosquitto: Broker, config: Path) -> None:
    assert cli.main(["run", str(config)]) == 0
    topic = "homeassistant/device/+/config"
    name, text = retained(mosquitto, topic, "%t %p").split(" ", 1)
    told = json.loads(text)
    assert re.fullmatch(r"homeassistant/device/[A-Za-z0-9_-]+/config", name)
    assert set(told) == {"dev", "o", "cmps", "availability_topic", "availability_template", "qos"}
    assert set(told["dev"]) == {"ids", "name", "mf", "mdl", "sw"}
    assert set(told["o"]) == {"name", "sw"}
    assert len(told["cmps"]) == 6
    assert {component["unique_id"] for component in told["cmps"].values()} == set(told["cmps"])
    by_platform = {component["p"]: component for component in told["cmps"].values() if "A" in component["name"]}
    assert set(by_platform) == {"sensor", "binary_sensor", "event"}
    state = json.loads(retained(mosquitto, by_platform["sensor"]["state_topic"]))
    assert by_platform["sensor"]["value_template"] == "{{ value_json.score }}"
    assert by_platform["sensor"]["unit_of_measurement"] == state["unit"]
    assert "score" in state
    assert by_platform["event"]["event_types"] == ["raised", "updated", "cleared"]
    assert json.loads(retained(mosquitto, told["availability_topic"]))["status"] == "offline"


def test_home_assistant_s_templates_give_what_it_expects(mosquitto: Broker, config: Path) -> None:
    """Jinja itself renders the templates, with the two filters of Home Assistant's that they use."""
    jinja2 = pytest.importorskip("jinja2")
    lines = mosquitto.watch("edgeseq/+/+/A/event")
    assert cli.main(["run", str(config)]) == 0
    event = json.loads(lines(lambda seen: len(seen) == 2)[0].split(" ", 3)[3])
    told = json.loads(retained(mosquitto, "homeassistant/device/+/config"))
    environment = jinja2.Environment(autoescape=True)
    environment.filters["to_json"] = lambda value: jinja2.utils.markupsafe.Markup(json.dumps(value))

    def rendered(platform: str, payload: dict[str, Any]) -> str:
        template = next(c for c in told["cmps"].values() if c["p"] == platform)["value_template"]
        return str(environment.from_string(template).render(value_json=payload))

    shown = json.loads(rendered("event", event))
    assert (shown["event_type"], shown["event_id"]) == ("raised", event["event_id"])
    assert rendered("binary_sensor", {"level": "warning"}) == "ON"
    assert rendered("binary_sensor", {"level": "ok"}) == "OFF"
    assert rendered("sensor", {"score": 3.5}) == "3.5"
