"""`edgeseq run` killed again and again between a file and a real broker: in the end as if it had been let alone."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle
from broker import Broker

from edgeseq.sinks.mqtt import EVENTS_IN_FLIGHT

KILLS = 12
ROWS = 3000
PACE = "200"
CONFIG = """\
name = "wear"
device = "press-4"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
pace = {pace}
[model]
bundle = "bundle"
[decider]
type = "hysteresis"
direction = "below"
warning = 40
[checkpoint]
path = "{name}.checkpoint"
interval_s = 0.1
[outbox]
path = "{name}.outbox"
[[sinks]]
type = "mqtt"
host = "127.0.0.1"
port = {port}
"""


def start(folder: Path, name: str, port: int, pace: str) -> subprocess.Popen[str]:
    config = folder / f"{name}.toml"
    config.write_text(CONFIG.format(name=name, port=port, pace=pace))
    command = [sys.executable, "-m", "edgeseq", "run", str(config)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.split(" ", 3)[3]) for line in lines]


def longer(than: int, lines: list[str]) -> bool:
    return len(lines) > than


@pytest.mark.long
def test_a_service_that_is_killed_tells_what_it_would_have_told(mosquitto: Broker, tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", 0.9)
    rng = np.random.default_rng(0)
    life = 41 + 4 * np.sin(np.arange(ROWS) / 7)[:, None] + rng.normal(0, 4, (ROWS, 2))
    rows = [f"{unit},{life[row, place]:.3f}" for row in range(ROWS) for place, unit in enumerate("AB")]
    (tmp_path / "data.csv").write_text("\n".join(["unit,life", *rows]) + "\n")

    lines = mosquitto.watch("edgeseq/press-4/wear/+/event")
    alone = start(tmp_path, "alone", mosquitto.port, '"fast"')
    assert alone.wait(120) == 0, alone.communicate()
    wanted = told(lines(lambda seen: len(seen) > 100))
    assert len({event["event_id"] for event in wanted}) == len(wanted)

    lines = mosquitto.watch("edgeseq/press-4/wear/+/event")
    seen: Counter[str] = Counter()
    for _ in range(KILLS):
        process = start(tmp_path, "killed", mosquitto.port, PACE)
        lines(partial(longer, seen.total()))
        time.sleep(float(rng.uniform(0, 0.5)))
        assert process.poll() is None, "it was killed before the data ended"
        process.send_signal(signal.SIGKILL)
        process.wait()
        before, seen = seen, Counter(event["event_id"] for event in told(lines(lambda _: True)))
        again = sum(count - 1 for count in seen.values()) - sum(count - 1 for count in before.values())
        assert again <= EVENTS_IN_FLIGHT
    last = start(tmp_path, "killed", mosquitto.port, PACE)
    assert last.wait(120) == 0, last.communicate()
    found = {event["event_id"]: event for event in told(lines(lambda now: len(now) >= len(wanted)))}
    assert set(found) == {event["event_id"] for event in wanted}
    for event in wanted:
        # Only what the clock service said in between may differ.
        assert {**found[event["event_id"]], "clock_synced": None} == {**event, "clock_synced": None}
