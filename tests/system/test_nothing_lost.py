"""A sensor on a wire, alerts at a subscriber, and everything between them that can go wrong: no event is missing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from installed import STUCK
from machine import Machine
from sensor import Sensor

STATE = "/var/lib/edgeseq/sensor"
STORE = f"{STATE}/outbox"


@pytest.fixture(scope="module")
def installed(debian: Machine) -> Iterator[Sensor]:
    sensor = Sensor(debian, "sensor")
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
    assert sensor.exposure() <= 1.1


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
    sensor.debian.run("systemctl", "stop", "mosquitto")
    before = len(sensor.events())
    sensor.goes_on()
    assert len(sensor.events()) == before
    sensor.debian.run("systemctl", "start", "mosquitto")
    sensor.more()


def test_killed_while_the_broker_is_away(sensor: Sensor) -> None:
    sensor.debian.run("systemctl", "stop", "mosquitto")
    sensor.goes_on()
    sensor.debian.run("kill", "-KILL", sensor.pid)
    sensor.debian.until(lambda: sensor.restarts == 1, "it is started anew")
    sensor.ready()
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
    assert f"{file}: " in sensor.journal("--lines=20")
    assert "It is passed over." in sensor.journal("--lines=20")
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


def test_a_bit_of_the_store_flips(installed: Sensor) -> None:
    sensor = installed
    sensor.debian.run("systemctl", "restart", sensor.unit)
    sensor.more()
    sensor.debian.run("systemctl", "stop", "mosquitto")
    sensor.goes_on()
    # Nobody takes what it holds: it gives up within its limit, in good order.
    sensor.debian.run("systemctl", "stop", sensor.unit)
    assert sensor.show("Result") == "success"
    newest = sensor.debian.run("sh", "-c", f"ls -t {STORE}/*.log | head -1").strip()
    file = sensor.debian.root / newest.lstrip("/")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    sensor.debian.run("systemctl", "start", "mosquitto", sensor.unit)
    sensor.debian.until(lambda: "the outbox lost" in sensor.journal("--lines=50"), "the log says what is lost")
    sensor.more()
    sensor.debian.run("systemctl", "stop", sensor.unit)
    sensor.debian.until(lambda: len(sensor.missing()) <= 1, "one event is missing at most")


def test_the_disk_is_full(debian: Machine) -> None:
    full = Sensor(debian, "full")
    full.set_up()
    debian.run("systemctl", "stop", full.unit)
    state = "/var/lib/edgeseq/full"
    debian.run("mount", "-t", "tmpfs", "-o", "size=1m,mode=700,uid=edgeseq,gid=edgeseq", "small", state)
    try:
        before = full.ids()
        debian.run("systemctl", "start", full.unit)
        full.more()
        debian.status("sh", "-c", f"cat /dev/zero > {state}/filler")
        full.goes_on(20)
        assert full.restarts == 0
        debian.run("rm", f"{state}/filler")
        full.more()
        debian.run("systemctl", "stop", full.unit)
        summary = full.summary()
        dropped = sum(count for reason, count in summary["dropped"].items() if reason.startswith("outbox."))
        told = sum(summary["events"].values())
        assert dropped > 0, summary
        debian.until(lambda: len(full.ids() - before) == told - dropped, f"what was not dropped has come; {summary}")
    finally:
        full.end()
        debian.run("umount", state)
