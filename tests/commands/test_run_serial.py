"""`edgeseq run` as a service that reads a microcontroller: the cable is pulled, the service stays."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
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
    """The command in a process of its own, and the outputs it has written."""

    def __init__(self, config: Path) -> None:
        self._said: list[str] = []
        self._more = threading.Condition()
        command = [sys.executable, "-m", "edgeseq.cli", "run", str(config), "--verbose"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._threads = [threading.Thread(target=self._read, args=(i,), daemon=True) for i in range(2)]
        for thread in self._threads:
            thread.start()

    def _read(self, which: int) -> None:
        for line in (self.process.stdout, self.process.stderr)[which] or ():
            with self._more:
                self._said.append(line)
                self._more.notify_all()

    def saw(self, what: Callable[[list[str]], bool]) -> None:
        with self._more:
            for _ in range(600):
                if self._more.wait_for(lambda: what(self._said), 0.1) or self.process.poll() is not None:
                    break
            assert what(self._said), "".join(self._said[-20:])

    def outputs(self) -> list[float]:
        found = [json.loads(line) for line in self._said if line.startswith("{")]
        return [each["values"]["rul"] for each in found if "values" in each]

    def ended(self) -> str:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == 0
        for thread in self._threads:
            thread.join(10)
        return "".join(line for line in self._said if not line.startswith("{"))


def test_a_service_outlives_its_cable(device: Callable[..., WiredDevice], tmp_path: Path) -> None:
    tiny_bundle.write(tmp_path / "bundle", rate_hz=100.0)
    there = device("--rate", "100", "--signal", "ramp", "--boot", "1")
    config = tmp_path / "pipeline.toml"
    config.write_text(CONFIG.format(port=there.port))
    service = Service(config)
    # The leaky average of a ramp that begins at 1,000 has come to it, less one.
    service.saw(lambda _: len(service.outputs()) >= 30)
    there.pull()
    service.saw(lambda said: any("It is waited for." in line for line in said))
    before = len(service.outputs())
    there.plug("--rate", "100", "--signal", "ramp", "--boot", "2")
    service.saw(lambda _: len(service.outputs()) >= before + 30)
    said = service.ended()
    assert "the device is there again" in said
    assert "1 gap" in said
    assert "1 source.unplugged" in said
    values = service.outputs()
    assert abs(values[before - 1] - (1000 + before - 2)) < 1
    # A new beginning: the state was reset at the gap, as the bundle says, and the ramp goes up from 1,000 again.
    assert abs(values[-1] - (1000 + len(values) - before - 2)) < 1
