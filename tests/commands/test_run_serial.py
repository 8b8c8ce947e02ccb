"""`edgeseq run` as a service that reads a microcontroller: the cable is pulled, the service stays."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import tiny_bundle
from wired_device import WiredDevice

CONFIG = """\
name = "wear"
[source]
type = "serial"
port = "{port}"
channels = [{{ name = "life", column = "c1" }}]
[model]
bundle = "bundle"
[[sinks]]
type = "stdout"
format = "json"
outputs = true
"""


class Service:
    """The command in a process of its own, and what it has written, outputs and log."""

    def __init__(self, config: Path) -> None:
        self._outputs: list[str] = []
        self._log: list[str] = []
        self._more = threading.Condition()
        command = [sys.executable, "-m", "edgeseq.cli", "run", str(config), "--verbose"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        pairs = ((self.process.stdout, self._outputs), (self.process.stderr, self._log))
        self._threads = [threading.Thread(target=self._read, args=pair, daemon=True) for pair in pairs]
        for thread in self._threads:
            thread.start()

    def _read(self, lines: Iterable[str], into: list[str]) -> None:
        for line in lines:
            with self._more:
                into.append(line)
                self._more.notify_all()

    def saw(self, what: Callable[[], bool]) -> None:
        """Wait until it is so; a service that has ended shows nothing more."""
        with self._more:
            for _ in range(600):
                if self._more.wait_for(what, 0.1) or self.process.poll() is not None:
                    break
            assert what(), self.log

    @property
    def outputs(self) -> list[float]:
        found = [json.loads(line) for line in self._outputs]
        return [each["values"]["rul"] for each in found if "values" in each]

    @property
    def log(self) -> str:
        return "".join(self._log)

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0, self.log
        for thread in self._threads:
            thread.join(10)


def test_a_service_outlives_its_cable(device: Callable[..., WiredDevice], tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", rate_hz=100.0)
    there = device("--rate", "100", "--signal", "ramp", "--boot", "1")
    config = tmp_path / "pipeline.toml"
    config.write_text(CONFIG.format(port=there.port))
    service = Service(config)
    try:
        service.saw(lambda: len(service.outputs) >= 30)
        there.pull()
        service.saw(lambda: "It is waited for." in service.log)
        before = len(service.outputs)
        there.plug("--rate", "100", "--signal", "ramp", "--boot", "2")
        service.saw(lambda: len(service.outputs) >= before + 30)
        service.end()
    finally:
        service.process.kill()
    assert "the device is there again" in service.log
    summary = json.loads(service.log.splitlines()[-1])
    assert (summary["gaps"], summary["dropped"]["source.unplugged"]) == (1, 1)
    values = service.outputs
    # The leaky average of a ramp that begins at 1,000 has come to it, less one, and does so again behind the gap.
    assert abs(values[before - 1] - (1000 + before - 2)) < 1
    assert abs(values[-1] - (1000 + len(values) - before - 2)) < 1
