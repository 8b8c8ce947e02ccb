"""A pipeline that the command made a service."""

from __future__ import annotations

import re

from machine import Machine

STUCK = "/etc/edgeseq/stuck"
EDGESEQ = "/opt/edgeseq/bin/edgeseq"
ZOO = "/opt/edgeseq/lib/python3.11/site-packages/zoo"
CONFIG = """\
name = "{name}"
device = "bench"

[source]
type = "csv"
path = "{zoo}/turbofan/sample/engines.csv"
stream_column = "unit"
interleave = true
pace = 2.0

[model]
bundle = "{zoo}/turbofan/bundle"

[decider]
type = "stuck"
direction = "below"
warning = 50.0
warning_clear = 62.5
critical = 20.0
critical_clear = 25.0
min_steps = 3

[checkpoint]
interval_s = 0.5

[[sinks]]
type = "mqtt"
host = "127.0.0.1"
drain_s = 2

[service]
{settings}
"""
SETTINGS = """\
addresses = ["localhost"]
watchdog_s = 5
"""


class Service:
    """What systemd and the command say of one pipeline."""

    def __init__(self, debian: Machine, name: str) -> None:
        self.debian, self.name = debian, name
        self.unit, self.config = f"edgeseq-{name}.service", f"/etc/edgeseq/{name}.toml"
        self.checkpoint = f"/var/lib/edgeseq/{name}/checkpoint"

    def configure(self, settings: str = SETTINGS, text: str = CONFIG) -> None:
        """Write the configuration."""
        self.debian.write(self.config, text.format(name=self.name, zoo=ZOO, settings=settings))

    def install(self) -> str:
        """Install it, and return what the command says."""
        return self.debian.run(EDGESEQ, "service", "install", self.config)

    def show(self, name: str) -> str:
        """Return one of its properties."""
        return self.debian.show(self.unit, name)

    @property
    def pid(self) -> str:
        """Its process; "0" when there is none."""
        return self.show("MainPID")

    @property
    def restarts(self) -> int:
        """How often systemd has started it anew by itself."""
        return int(self.show("NRestarts"))

    def exposure(self) -> float:
        """Return systemd's verdict on the unit that runs: 0 is exposed to nothing, 10 to everything."""
        said = self.debian.run("systemd-analyze", "security", self.unit)
        found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
        assert found, said
        return float(found[1])

    def ready(self) -> None:
        """Wait until it is ready."""
        self.debian.until(lambda: self.show("ActiveState") == "active", f"{self.unit} is ready")

    def failed(self) -> None:
        """Wait until systemd has given it up."""
        self.debian.until(lambda: self.show("ActiveState") == "failed", f"{self.unit} has failed")

    def override(self, lines: str) -> None:
        """Take a protection away: lines that come after the unit's own, until `recover`. It is started anew."""
        # /run is a file system of its own, which the outside does not see.
        folder = f"/run/systemd/system/{self.unit}.d"
        self.debian.run("sh", "-c", f"mkdir -p {folder} && printf '%s' \"$1\" > {folder}/override.conf", "sh", lines)
        self.debian.run("systemctl", "daemon-reload")
        self.debian.run("systemctl", "restart", self.unit)

    def forget(self) -> None:
        """Stop it, and let the next one begin its recording anew, which else is at its end before the tests are."""
        self.debian.status("systemctl", "stop", self.unit)
        self.debian.run("rm", "-f", self.checkpoint, f"{self.checkpoint}.before")

    def recover(self) -> None:
        """Undo all that tests do to it."""
        self.debian.run("rm", "-rf", STUCK, f"/run/systemd/system/{self.unit}.d")
        self.debian.run("systemctl", "daemon-reload")

    def journal(self, *options: str) -> str:
        """Return what it has said."""
        return self.debian.run("journalctl", "--unit", self.unit, "--no-pager", "--output", "cat", *options)
