"""Live and synthetic sources in whole pipelines, from the TOML file to the sink."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle
from broker import Broker
from plain_pipeline import Seen
from test_mqtt_source import publish

from edgeseq import cli
from edgeseq import config as configs
from edgeseq.types import About, Event, Output

MQTT = """
name = "wear"
silent_after_s = 0.4

[source]
type = "mqtt"
host = "127.0.0.1"
port = {port}
topic = "hall/+/life"
channels = [{{ name = "life", column = "d.life" }}]

[model]
bundle = "bundle"
"""
RECORDS = """
name = "machine"
{cycle}

[source]
type = "synthetic"
rate_hz = 1
channels = [{{ name = "life", unit = "cycles" }}]
speed_hz = 0.1
resonance_hz = 0.2
harmonics = []
noise = 1.0
record_s = 4
duty_cycle_s = 600
duration_s = 6000

[model]
bundle = "bundle"

[decider]
type = "hysteresis"
direction = "below"
warning = 100.0
min_steps = 12
"""


class Heard(Seen):
    """A sink that lets a test wait for what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.changed = threading.Condition()

    def open(self, about: About) -> None:
        self.about = about

    def output(self, output: Output, level: str) -> None:
        with self.changed:
            super().output(output, level)
            self.changed.notify_all()

    def event(self, event: Event) -> None:
        with self.changed:
            super().event(event)
            self.changed.notify_all()

    def until(self, condition: Any) -> None:
        with self.changed:
            assert self.changed.wait_for(condition, 30), (self.outputs, self.events)


def test_messages_and_silence_go_through_a_pipeline(mosquitto: Broker, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "c.toml").write_text(MQTT.format(port=mosquitto.port))
    config, sink = configs.load(tmp_path / "c.toml"), Heard()
    pipeline = config.pipeline(sinks=[sink])
    done: list[Any] = []
    thread = threading.Thread(target=lambda: done.append(pipeline.run()))
    thread.start()
    try:
        # Nothing was said by anybody yet: the source as a whole is silent.
        sink.until(lambda: [(each.kind, each.stream) for each in sink.events] == [("raised", "")])
        while not config.source._subscribed:  # type: ignore[attr-defined]
            threading.Event().wait(0.01)
        publish(mosquitto, "hall/saw/life", '{"d": {"life": [90, 80, 70]}}')
        sink.until(lambda: len(sink.outputs) == 3)
        silent = [("raised", ""), ("cleared", ""), ("raised", "saw")]
        sink.until(lambda: [(each.kind, each.stream) for each in sink.events] == silent)
        assert pipeline.silent == ["saw"]
        publish(mosquitto, "hall/saw/life", '{"d": {"life": 60}}')
        sink.until(lambda: len(sink.outputs) == 4)
        assert [(each.kind, each.stream) for each in sink.events[:4]] == [*silent, ("cleared", "saw")]
    finally:
        pipeline.stop()
        thread.join(30)
    assert not thread.is_alive()
    (summary,) = done
    assert (summary.samples, summary.outputs, summary.gaps, summary.stopped) == (4, 4, 0, True)
    # h = (h + x) / 2: the state was carried from message to message, through the silence.
    np.testing.assert_allclose(sink.values("saw")[:, 0], [45, 62.5, 66.25, 63.125])


@pytest.mark.parametrize(("cycle", "alerts"), [("", 0), ("duty_cycle_s = 600", 1)])
def test_an_alert_may_need_more_than_one_record(cycle: str, alerts: int, tmp_path: Path) -> None:
    """Ten records of 4 outputs; the alert needs 12 in a row, behind a warm-up of 8."""
    tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "c.toml").write_text(RECORDS.format(cycle=cycle))
    assert cli.main(["check", str(tmp_path / "c.toml")]) == 0
    sink = Heard()
    summary = configs.load(tmp_path / "c.toml").pipeline(sinks=[sink]).run()
    assert (summary.samples, summary.gaps) == (40, 9)
    assert len(sink.events) == alerts
