"""What systemd hears of a pipeline, on a real socket of its kind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeseq import config as configs
from edgeseq.service.notify import Notify
from edgeseq.service.watchdog import Watchdog

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "zoo" / "turbofan" / "bundle"
CONFIG = """
name = "heard"
[source]
type = "csv"
path = "{data}"
stream_column = "unit"
interleave = true
pace = {pace}
[model]
bundle = "{bundle}"
[[sinks]]
type = "stdout"
"""


class Systemd:
    """The receiving end."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))

    def hear(self) -> dict[str, str]:
        self.socket.settimeout(60)
        text = self.socket.recv(4096).decode()
        return dict(line.split("=", 1) for line in text.splitlines())

    def silent(self) -> bool:
        self.socket.settimeout(0)
        try:
            self.socket.recv(4096)
        except BlockingIOError:
            return True
        return False


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[Systemd]:
    end = Systemd(tmp_path)
    yield end
    end.socket.close()


def started(folder: Path, systemd: Systemd, *, pace: str = "2.0", bundle: Path = BUNDLE) -> subprocess.Popen[bytes]:
    config = folder / "heard.toml"
    data = ROOT / "zoo" / "turbofan" / "sample" / "engines.csv"
    config.write_text(CONFIG.format(data=data, bundle=bundle, pace=pace))
    environment = {**os.environ, "NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "900000"}
    command = [sys.executable, "-m", "edgeseq", "run", str(config)]
    return subprocess.Popen(
        command, env=environment, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )


def test_it_is_ready_then_alive_and_says_how_it_goes(tmp_path: Path, systemd: Systemd) -> None:
    with started(tmp_path, systemd) as process:
        try:
            first = systemd.hear()
            assert first["READY"] == "1"
            assert "WATCHDOG" not in first
            for _ in range(3):
                beat = systemd.hear()
                assert beat["WATCHDOG"] == "1"
                assert "READY" not in beat
            assert "alerts raised" in beat["STATUS"]
            assert "frames" in beat["STATUS"]
        finally:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_turns_alone_speak_and_not_more_often_than_is_wanted(systemd: Systemd) -> None:
    notify = Notify({"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "30000000"})
    config = ROOT / "zoo" / "turbofan" / "pipeline.toml"
    now, threads = [1000.0], threading.active_count()
    watchdog = Watchdog(notify, configs.load(config).pipeline(sinks=()), clock=lambda: now[0])
    now[0] += 1e6
    assert systemd.silent()
    assert threading.active_count() == threads
    watchdog.turn()
    assert "READY" in systemd.hear()
    for _ in range(99):
        now[0] += 0.1
        watchdog.turn()
        assert systemd.silent()
    now[0] += 0.2
    watchdog.turn()
    assert "WATCHDOG" in systemd.hear()


def test_a_model_that_fails_its_goldens_is_never_ready(tmp_path: Path, systemd: Systemd) -> None:
    broken = tmp_path / "bundle"
    broken.mkdir()
    for file in BUNDLE.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "parity.npz").write_bytes(b"nothing")
    with started(tmp_path, systemd, bundle=broken) as process:
        assert process.wait(60) == 1
    assert systemd.silent()


def test_no_child_speaks_in_its_name(systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}
    notify = Notify(environment)
    assert environment == {}
    assert notify.watchdog_s == 3.0
    notify(STATUS="two\nlines")
    assert systemd.hear() == {"STATUS": "two lines"}


def test_another_process_is_watched_not_this_one(systemd: Systemd) -> None:
    environment = {"NOTIFY_SOCKET": str(systemd.path), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}
    assert Notify(environment).watchdog_s is None


def test_abstract_sockets_and_nobody_listening(caplog: pytest.LogCaptureFixture) -> None:
    name = f"edgeseq-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(f"\0{name}")
        notify = Notify({"NOTIFY_SOCKET": f"@{name}"})
        notify(READY=1)
        assert end.recv(100) == b"READY=1"
    notify(WATCHDOG=1)
    notify(WATCHDOG=1)
    assert caplog.text.count("systemd cannot be told") == 1
    silent = Notify({})
    assert not silent.listened
    silent(READY=1)
