"""A sensor on a wire, alerts at a subscriber, and everything between them that can go wrong: no event is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import STUCK
from machine import Machine
from sensor import Sensor

STATE = "/var/lib/edgeseq/sensor"


@pytest.fixture(scope="module")
def installed(debian: Machine) -> Iterator[Sensor]:
    sensor = Sensor(debian)
    sensor.set_up()
    yield sensor
    sensor.end()


@pytest.fixture
def sensor(installed: Sensor) -> Iterator[Sensor]:
    """Give the service at work; whatever a test does to it, in the end no event is missing."""
    installed.recover()
    installed.debian.run("systemctl", "reset-failed", installed.unit)
    installed.debian.run("systemctl", "restart", installed.unit)
    installed.more()
    yield installed
    installed.whole()


def test_nothing_happens(sensor: Sensor) -> None:
    sensor.more()
    assert sensor.numbers()[0] == 1


def test_killed_again_and_again(sensor: Sensor) -> None:
    for times in range(1, 4):
        sensor.debian.run("kill", "-KILL", sensor.pid)
        sensor.debian.until(lambda times=times: sensor.restarts == times, "it is started anew")
        sensor.ready()
        sensor.more(5)


def test_the_loop_hangs(sensor: Sensor) -> None:
    sensor.debian.run("touch", STUCK)
    sensor.debian.until(lambda: sensor.restarts >= 1, "the watchdog has found it")
    sensor.debian.run("rm", STUCK)
    sensor.more()


def test_the_broker_stops_and_comes_back(sensor: Sensor) -> None:
    before = len(sensor.events())
    sensor.debian.run("systemctl", "stop", "mosquitto")
    sensor.debian.until(lambda: waiting(sensor) > 20, "events wait in the outbox")
    assert sensor.show("ActiveState") == "active"
    sensor.debian.run("systemctl", "start", "mosquitto")
    sensor.debian.until(lambda: len(sensor.events()) > before + 40, "they are delivered")


def waiting(sensor: Sensor) -> int:
    """Return how many bytes the outbox's files have, in hundreds: about an event each."""
    said = sensor.debian.run("du", "--bytes", "--summarize", f"{STATE}/outbox")
    return int(said.split()[0]) // 400


def test_killed_while_the_broker_is_away(sensor: Sensor) -> None:
    sensor.debian.run("systemctl", "stop", "mosquitto")
    sensor.debian.run("sleep", "1")
    sensor.debian.run("kill", "-KILL", sensor.pid)
    sensor.ready()
    sensor.debian.run("sleep", "1")
    sensor.debian.run("systemctl", "start", "mosquitto")
    sensor.more()


def test_the_sensor_is_unplugged(sensor: Sensor) -> None:
    before = sensor.pid
    sensor.pull()
    sensor.debian.until(lambda: "It is waited for" in sensor.journal("--lines=20"), "it is missed")
    sensor.plug()
    sensor.more()
    assert sensor.pid == before


def test_the_checkpoint_is_damaged(sensor: Sensor) -> None:
    file = f"{STATE}/checkpoint"
    sensor.debian.until(lambda: sensor.debian.status("test", "-s", file)[0] == 0, "there is a checkpoint")
    sensor.debian.run("systemctl", "stop", sensor.unit)
    sensor.debian.run("sh", "-c", f"printf x | dd of={file} bs=1 seek=90 conv=notrunc status=none")
    sensor.debian.run("systemctl", "start", sensor.unit)
    sensor.debian.until(lambda: "checkpoint" in sensor.journal("--lines=20"), "the log says so")
    sensor.more()


def test_a_reboot(sensor: Sensor) -> None:
    sensor.debian.shut_down()
    sensor.debian.boot()
    sensor.watch()
    sensor.plug()
    sensor.ready()
    sensor.more()


def test_a_power_cut(sensor: Sensor) -> None:
    sensor.debian.cut_the_power()
    sensor.debian.boot()
    sensor.watch()
    sensor.plug()
    sensor.ready()
    sensor.more()
