"""The source serial on the real C device: samples without a loss, cables pulled, devices that are others."""

import fcntl
import grp
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest
import serial
from serial.tools import list_ports, list_ports_common
from wired_device import WiredDevice

from edgeseq.errors import ConfigError, EdgeseqError, SourceError
from edgeseq.sources import _device
from edgeseq.sources._table import Column
from edgeseq.sources.serial import Serial
from edgeseq.types import Chunk
from firmware_bridge import port

Plug = Callable[..., WiredDevice]
RAMP = ("--signal", "ramp")


def source(device: WiredDevice, **more: Any) -> Serial:
    return Serial(**{"port": device.port, "rate_hz": 1000.0, "channels": ["c0", "c1", "c2"], **more})


def until(reading: Serial, enough: Callable[[list[Chunk]], bool], within_s: float = 30.0) -> list[Chunk]:
    """Return chunks until there are enough; that there never are is a failure, not a hang."""
    chunks: list[Chunk] = []
    watch = threading.Timer(within_s, reading.close)
    watch.start()
    for chunk in reading:
        if len(chunk.t_ns):
            chunks.append(chunk)
        if enough(chunks):
            reading.close()
            break
    watch.cancel()
    assert enough(chunks), f"{len(chunks)} chunks within {within_s:g} s, {reading.dropped}"
    return chunks


def samples(count: int) -> Callable[[list[Chunk]], bool]:
    return lambda chunks: sum(len(chunk.t_ns) for chunk in chunks) >= count


def joined(chunks: list[Chunk]) -> tuple[Any, Any]:
    return np.concatenate([chunk.t_ns for chunk in chunks]), np.concatenate([chunk.values for chunk in chunks])


@pytest.mark.parametrize("form", ["int16", "int24", "float32"])
def test_samples_without_a_loss_dated_by_the_device(device: Plug, form: str) -> None:
    # The clock wraps after a third of a second.
    there = device(*RAMP, "--format", form, "--clock", "4294637296")
    began = time.time_ns()
    reading = source(there, channels=["c2", "c0"], baud=2_000_000)
    t_ns, values = joined(until(reading, samples(600)))
    np.testing.assert_allclose(values, np.arange(len(values))[:, None] + [2000, 0], rtol=1e-6)
    assert reading.dropped == {}
    assert (np.abs(np.diff(t_ns) - 1e6) < 1e5).all()
    assert began - 10**9 < t_ns[0] < time.time_ns()
    assert "0 dropped, 0 damaged" in there.ended()


def test_what_is_lost_twice_there_late_or_damaged_is_counted_and_a_gap(device: Plug) -> None:
    there = device(*RAMP, "--rows", "10", "--drop", "20", "--repeat", "7", "--late", "17", "--flip", "13")
    reading = source(there)
    chunks = until(reading, samples(800))
    for chunk in chunks:
        assert (np.diff(chunk.values[:, 0]) == 1).all(), "no chunk spans a loss"
    for before, after in itertools.pairwise(chunks):
        assert after.gap == (after.values[0, 0] != before.values[-1, 0] + 1)
    assert {f"{why}_frames" for why in ("damaged", "lost", "duplicate", "late")} == set(reading.dropped)


def test_several_streams_each_with_its_name(device: Plug) -> None:
    reading = source(device("--streams", "3", *RAMP), streams=[0, 2])
    chunks = until(reading, lambda all_: {chunk.stream for chunk in all_} == {"0", "2"} and len(all_) > 20)
    for stream in ("0", "2"):
        _, values = joined([chunk for chunk in chunks if chunk.stream == stream])
        np.testing.assert_array_equal(values[:, 0], np.arange(len(values)))


def test_a_device_that_can_is_set_to_the_rate_that_is_wanted(device: Plug) -> None:
    chunks = until(source(device("--rate", "400", *RAMP), rate_hz=800.0), samples(400))
    t_ns, _ = joined(chunks)
    assert np.median(np.diff(t_ns)) == pytest.approx(1.25e6, rel=0.01)


def test_a_cable_pulled_and_plugged_in_again(device: Plug, caplog: pytest.LogCaptureFixture) -> None:
    there = device(*RAMP)
    reading = source(there)
    pulled: list[bool] = []

    def after_it(chunks: list[Chunk]) -> bool:
        if samples(200)(chunks) and not pulled:
            pulled.append(True)
            there.pull()
            threading.Timer(0.5, there.plug).start()
        return any(chunk.gap for chunk in chunks) and not chunks[-1].gap

    chunks = until(reading, after_it)
    gap = next(place for place, chunk in enumerate(chunks) if chunk.gap)
    assert chunks[gap].values[0, 0] == 0, "a device that begins anew"
    assert chunks[gap].t_ns[0] - chunks[gap - 1].t_ns[-1] > 400_000_000
    assert reading.dropped["unplugged"] == 1
    assert "It is waited for." in caplog.text
    assert "is there again" in caplog.text


def test_a_device_that_is_plugged_in_later_is_waited_for(device: Plug, caplog: pytest.LogCaptureFixture) -> None:
    there = device()
    there.pull()
    threading.Timer(0.4, there.plug).start()
    until(source(there), samples(100))
    assert caplog.text.count("nothing is plugged in there") == 1, "said once, not at every attempt"


def test_a_device_that_does_not_speak_the_wire_is_told_once(
    device: Plug, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "ANSWER_NS", 200_000_000)
    reading = source(device("--lines", "csv"))
    threading.Timer(1.0, reading.close).start()
    assert list(reading) == []
    assert caplog.text.count("the device does not say what its stream 0 is, within 0.2 s") == 1


def test_attempts_become_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Serial(port="/dev/none", rate_hz=1.0, channels=["a"])
    waits: list[float] = []

    def wait(timeout: float) -> bool:
        waits.append(timeout)
        if len(waits) == 8:
            reading.close()
        return False

    monkeypatch.setattr(reading._closed, "wait", wait)
    assert list(reading) == []
    assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_device_reset_behind_a_line_that_stays(
    device: Plug, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As a UART behind a USB adapter: the port is there all the time, and the device begins anew."""
    caplog.set_level(logging.INFO)
    first, second = device(*RAMP, "--boot", "1"), device(*RAMP, "--boot", "2")
    with Switch(tmp_path / "line", first.port) as line:
        reading = Serial(port=str(tmp_path / "line"), rate_hz=1000.0, channels=["c0", "c1", "c2"])

        def restarted(chunks: list[Chunk]) -> bool:
            if samples(100)(chunks):
                line.to(second.port)
            return any(chunk.gap for chunk in chunks) and not chunks[-1].gap

        chunks = until(reading, restarted)
    gap = next(place for place, chunk in enumerate(chunks) if chunk.gap)
    assert chunks[gap].values[0, 0] == 0
    assert reading.dropped["restarts"] == 1
    assert "the device has begun anew" in caplog.text
    assert "the device says: the device has started" in caplog.text


class Switch:
    """A line that is led to one device, later to another, as the adapter's end of a UART stays where it is."""

    def __init__(self, path: Path, port: str) -> None:
        self._outer, self._inner = os.openpty()
        path.symlink_to(os.ttyname(self._inner))
        self._far = os.open(port, os.O_RDWR | os.O_NOCTTY)
        self._port, self._ended = port, threading.Event()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        os.set_blocking(self._outer, False)

    def to(self, port: str) -> None:
        if port != self._port:
            self._port, self._far = port, os.open(port, os.O_RDWR | os.O_NOCTTY)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(10)
        for end in (self._outer, self._inner, self._far):
            os.close(end)

    def _carry(self) -> None:
        while not self._ended.wait(0.002):
            far = self._far
            os.set_blocking(far, False)
            for here, there in ((self._outer, far), (far, self._outer)):
                try:
                    os.write(there, os.read(here, 4096))
                except BlockingIOError:
                    continue


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"channels": ["c0", "d1"]}, "stream 0 has no channel 'd1'. Known here: c0, c1, c2"),
        ({"channels": [Column(name="c0", unit="m/s2")]}, "gives 'c0' in g, the pipeline takes it in m/s2"),
        ({"rate_hz": 0.3}, "has 1000 samples a second and takes no other rate; the pipeline takes 0.3"),
    ],
)
def test_another_device_than_the_one_wanted_is_refused(
    device: Plug, more: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "RATE_NS", 300_000_000)
    with pytest.raises(SourceError, match=words):
        until(source(device(), **more), samples(1))


def test_a_port_is_read_by_one_program(device: Plug) -> None:
    there = device()
    holder = os.open(there.port, os.O_RDWR | os.O_NOCTTY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    try:
        with pytest.raises(SourceError, match="another program has it open, and a port has one reader"):
            next(iter(source(there)))
    finally:
        os.close(holder)
    reading = source(there)
    chunks: Iterator[Chunk] = iter(reading)
    next(chunks)
    with pytest.raises(SourceError, match="another program has it open"):
        next(iter(source(there)))
    reading.close()


def test_a_port_that_may_not_be_opened_says_who_may(device: Plug, monkeypatch: pytest.MonkeyPatch) -> None:
    """For root there is no such port, so the kernel's answer is what is put in place."""

    def refuse(*_: object, **__: object) -> None:
        raise serial.SerialException(13, "could not open port: Permission denied")

    path = Path(device().port).resolve()
    reading = Serial(port=str(path), rate_hz=1000.0, channels=["c0"])
    monkeypatch.setattr(serial, "Serial", refuse)
    path.chmod(0o660)
    group = grp.getgrgid(path.stat().st_gid).gr_name
    words = f"the group {group} may: sudo usermod -aG {group} " if group != "root" else "only root may open it"
    with pytest.raises(SourceError, match=words):
        next(iter(reading))
    path.chmod(0o600)
    with pytest.raises(SourceError, match=rf"only root may open it \(mode 600, group {group}\). A udev rule"):
        next(iter(reading))


@pytest.mark.parametrize(
    ("form", "more"),
    [
        ("csv", {"protocol": "csv", "header": ["c0", "c1", "c2"]}),
        ("json", {"protocol": "json"}),
        ("text", {"protocol": "regex", "pattern": r"c0=(?P<c0>\S+) c1=\S+ c2=(?P<c2>\S+)"}),
    ],
)
def test_lines_of_text(device: Plug, form: str, more: dict[str, Any]) -> None:
    there = device("--lines", form, "--rate", "500", *RAMP)
    reading = source(there, rate_hz=500.0, channels=["c2", "c0"], **more)
    t_ns, values = joined(until(reading, samples(200)))
    np.testing.assert_array_equal(values[:, 0] - values[:, 1], np.full(len(values), 2000))
    assert (np.diff(values[:, 1]) == 1).all()
    assert (np.diff(t_ns) > 0).all()
    assert np.median(np.diff(t_ns)) == pytest.approx(2e6, rel=0.2)
    assert reading.dropped == {}


def test_lines_that_are_no_rows_are_counted_and_a_gap(device: Plug) -> None:
    pattern = r"^c0=(?P<c0>\d*[0-8]) "
    reading = source(device("--lines", "text", *RAMP), protocol="regex", pattern=pattern, channels=["c0"])
    chunks = until(reading, samples(100))
    for before, after in itertools.pairwise(chunks):
        assert after.gap == (after.values[0, 0] != before.values[-1, 0] + 1)
    assert reading.dropped["no_row_lines"] >= 10


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"channels": []}, "channels is empty"),
        ({"channels": ["a", "a"]}, "names 'a' twice"),
        ({"rate_hz": 0.0}, "rate_hz must lie between 1e-05 and 4,294,967,295, not 0"),
        ({"baud": 0}, "baud must be at least 1"),
        ({"streams": [0, 0]}, "streams lists different numbers"),
        ({"streams": [256]}, "streams lists different numbers"),
        ({"pattern": "x"}, "pattern belongs to protocol = 'regex'"),
        ({"protocol": "json", "header": ["a"]}, "header belongs to protocol = 'csv'"),
        ({"protocol": "json", "streams": [1]}, "streams belongs to protocol = 'frames'"),
        ({"protocol": "csv", "delimiter": ""}, "delimiter is one character"),
        ({"protocol": "csv", "header": ["b"]}, "header has no cell 'a'"),
        ({"protocol": "regex"}, "needs pattern"),
        ({"protocol": "regex", "pattern": "("}, "no regular expression"),
    ],
)
def test_wrong_keys_are_sentences(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Serial(**{"port": "/dev/none", "rate_hz": 1.0, "channels": ["a"], **more})


def test_check_opens_nothing_and_offers_what_is_there(device: Plug) -> None:
    there = device()
    assert "reads c0, c1, c2 at 1000 Hz from " in source(there).check()
    there.pull()
    with pytest.raises(
        ConfigError, match=r"nothing is plugged in there\. (Ports that are there|No serial port is there)"
    ):
        source(there).check()


def test_the_name_that_stays_is_offered(device: Plug, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What /sys says of hardware is put in place, for there is none here; what udev made of it is a link, as there."""
    there = str(Path(device().port).resolve())
    found = list_ports_common.ListPortInfo(there)
    found.description = "Pico - Board CDC"
    by_id = tmp_path / "by-id"
    by_id.mkdir()
    stays = by_id / "usb-Raspberry_Pi_Pico_E660-if00"
    stays.symlink_to(there)
    monkeypatch.setattr(list_ports, "comports", lambda: [found])
    monkeypatch.setattr(port, "BY_ID", by_id)
    assert port.ports() == [port.Found(str(stays), there, "Pico - Board CDC")]
    words = Serial(port=there, rate_hz=1.0, channels=["a"]).check()
    assert words.endswith(f"the name may change when it is plugged in again: {stays} is the one that stays")
    assert "the name may change" not in Serial(port=str(stays), rate_hz=1.0, channels=["a"]).check()
    with pytest.raises(ConfigError, match=f"Ports that are there: {stays}"):
        Serial(port="/dev/none", rate_hz=1.0, channels=["a"]).check()


def test_something_else_than_a_port_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no port")
    with pytest.raises(EdgeseqError, match="is no serial port"):
        next(iter(Serial(port=str(tmp_path / "file"), rate_hz=1.0, channels=["a"])))


@pytest.mark.parametrize("protocol", ["frames", "csv"])
def test_others_may_ask_what_was_dropped_while_it_is_counted(protocol: Any) -> None:
    made = Serial(port="/dev/none", rate_hz=10.0, channels=["a"], protocol=protocol)
    parts: Any = made
    counters = [parts._counts, parts._device._before]
    counters += [] if protocol == "frames" else [parts._device._decoder.dropped]
    for counter in counters:
        counter.update({str(number): 1 for number in range(3000)})
        stop = threading.Event()

        def count(counter: Any = counter, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                counter["new"] = 1
                del counter["new"]

        thread = threading.Thread(target=count)
        thread.start()
        try:
            for _ in range(20):
                assert made.dropped
        finally:
            stop.set()
            thread.join()
