"""A microcontroller on a serial port, its pipeline as a service, and a subscriber that writes down every event.

The device is the real C side of the wire, on a pseudo-terminal inside the container.
"""

from __future__ import annotations

import json
import re
import shutil
from typing import Any

import tiny_bundle
from installed import Service
from machine import BUILD, Machine

from firmware_bridge import simulator

PORT = "/dev/pump-sensor"
RATE_HZ = 20
CONFIG = """\
name = "{name}"
device = "bench"

[source]
type = "serial"
port = "/dev/pump-sensor"
channels = [{{ name = "life", column = "c0", unit = "g" }}]

[model]
bundle = "/srv/leaky"

[decider]
type = "stuck"
direction = "above"
warning = 2.0
warning_clear = 0.0

[checkpoint]
interval_s = 1

[[sinks]]
type = "mqtt"
host = "127.0.0.1"
drain_s = 3

[service]
{settings}
"""
SEEN = "/var/log/witness"


class Sensor(Service):
    """The service, and all around it. Several alerts a second are raised and cleared."""

    def __init__(self, debian: Machine, name: str) -> None:
        super().__init__(debian, name)

    def set_up(self) -> None:
        """Bring the device, the model, the subscriber, and install the service."""
        bundle = self.debian.root / "srv" / "leaky"
        if not bundle.exists():
            tiny_bundle.write(bundle, leak=0.1, rate_hz=RATE_HZ)
            manifest = bundle / "bundle.toml"
            manifest.write_text(manifest.read_text("utf-8").replace('"cycles"', '"g"'), "utf-8")
            tiny_bundle.sign(bundle)
            shutil.copy(simulator.build(BUILD / "device", ("-O2", "-static")), self.debian.root / "opt" / "device")
        if self.debian.status("test", "-c", PORT)[0]:
            self.plug()
            self.watch()
        self.configure(text=CONFIG)
        self.install()

    def plug(self) -> None:
        """Start the device, whose port everybody may open."""
        options = f"--link {PORT} --channels 1 --rate {RATE_HZ} --format float32"
        self.debian.run("systemd-run", "--quiet", "--unit=device", "/opt/device", *options.split())
        self.debian.until(lambda: self.debian.status("test", "-c", PORT)[0] == 0, "the port is there")
        self.debian.run("sh", "-c", f"chmod 666 $(readlink -f {PORT})")

    def pull(self) -> None:
        """End the device; its port goes with it."""
        self.debian.run("systemctl", "stop", "device")
        self.debian.run("rm", "-f", PORT)

    def watch(self) -> None:
        """Start a real subscriber whose session the broker keeps."""
        command = f"exec mosquitto_sub -h 127.0.0.1 -c -i witness -q 1 -t edgeseq/bench/+/+/event >> {SEEN}"
        self.debian.run("systemd-run", "--quiet", "--unit=witness", "--property=Restart=always", "sh", "-c", command)

    def events(self) -> list[dict[str, Any]]:
        """Return what the subscriber has seen of this pipeline."""
        file = self.debian.root / SEEN.lstrip("/")
        lines = file.read_text("utf-8").splitlines() if file.exists() else []
        return [event for event in map(json.loads, lines) if event["pipeline"] == self.name]

    def more(self, count: int = 20) -> None:
        """Wait until the subscriber has seen so many events more."""
        before = len(self.events())
        self.debian.until(lambda: len(self.events()) >= before + count, f"{count} events more are seen")

    def numbers(self) -> list[int]:
        """Return the numbers of all events seen, in their stream, each once."""
        return sorted({event["stream_sequence"] for event in self.events()})

    def whole(self) -> None:
        """Stop the service, which delivers all that it holds, and see that no event is missing."""
        self.debian.run("systemctl", "stop", self.unit)
        assert self.show("Result") == "success"
        self.debian.until(lambda: not self.missing(), f"all have come; missing: {self.missing()}")
        assert len(self.ids()) == len(self.numbers())

    def summary(self) -> dict[str, Any]:
        """Return what the service said when it ended."""
        said = (json.loads(line) for line in self.journal("--lines=20").splitlines() if line.startswith("{"))
        found: dict[str, Any] = [line for line in said if "dropped" in line and "events" in line][-1]
        return found

    def missing(self) -> set[int]:
        """Return the numbers below the highest one seen that have not been seen."""
        return {*range(1, max(self.numbers()))} - {*self.numbers()}

    def ids(self) -> set[str]:
        """Return what tells the events seen apart."""
        return {event["event_id"] for event in self.events()}

    def raised(self) -> int:
        """Return how many alerts the service has raised since its start."""
        found = re.search(r"([\d,]+) alerts raised", self.show("StatusText"))
        return int(found[1].replace(",", "")) if found else 0

    def goes_on(self, count: int = 10) -> None:
        """Wait until it has raised so many alerts more, whether anybody hears of them or not."""
        before = self.raised()
        self.debian.until(lambda: self.raised() >= before + count, "alerts are raised")

    def end(self) -> None:
        """Take everything away."""
        self.recover()
        self.debian.run("systemctl", "stop", self.unit)
