"""A real broker for tests, and witnesses of what it passes on."""

import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which

import pytest

MISSING = "mosquitto is not installed; apt-get install mosquitto mosquitto-clients"
MOSQUITTO = which("mosquitto") or which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def reserved_port() -> socket.socket:
    """Return a socket that keeps a loopback port: the system gives it to nobody else that asks for any, or connects.

    It does not listen. Connections are refused until something listens there that asks for this very port and, as
    mosquitto does, sets SO_REUSEADDR.
    """
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", 0))
    return reserved


def port_of(reserved: socket.socket) -> int:
    """Return the port that a socket is bound to."""
    port: int = reserved.getsockname()[1]
    return port


@dataclass
class Broker:
    """A real mosquitto on a loopback port. Witnesses are real mosquitto_sub processes."""

    folder: Path
    settings: str = "allow_anonymous true\n"
    process: subprocess.Popen[bytes] | None = None
    witnesses: list[subprocess.Popen[bytes]] = field(default_factory=list)
    reserved: socket.socket = field(default_factory=reserved_port)

    @property
    def port(self) -> int:
        """The port, which stays the same when it is stopped and started again."""
        return port_of(self.reserved)

    def start(self) -> None:
        """Start it, and return when it accepts connections."""
        config = self.folder / "mosquitto.conf"
        config.write_text(f"listener {self.port} 127.0.0.1\n{self.settings}")
        assert MOSQUITTO is not None
        self.process = subprocess.Popen(
            [MOSQUITTO, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            assert self.process.poll() is None, "mosquitto ended at once"
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        pytest.fail("mosquitto does not accept connections")

    def stop(self) -> None:
        """Stop it as a crash would: nobody is told."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def watch(self, topic: str, *options: str) -> Callable[[Callable[[list[str]], bool]], list[str]]:
        """Subscribe, and return a function that waits until the lines seen satisfy a condition, and returns them.

        A line is `retained qos topic payload`.
        """
        file = self.folder / f"seen-{len(self.witnesses)}"
        ready = f"ready/{len(self.witnesses)}"
        command = ["mosquitto_sub", "-p", str(self.port), "-t", topic, "-t", ready, "-q", "1", "-F", "%r %q %t %p"]
        with file.open("wb") as out:
            self.witnesses.append(subprocess.Popen([*command, *options], stdout=out, stderr=subprocess.DEVNULL))

        def lines(condition: Callable[[list[str]], bool]) -> list[str]:
            for _ in range(600):
                seen = [line for line in file.read_text().splitlines() if " ready/" not in line]
                if condition(seen):
                    return seen
                time.sleep(0.05)
            pytest.fail(f"this was not seen on {topic} within 30 s; seen: {seen}")

        # It is subscribed when it has seen a message of ours.
        for _ in range(200):
            subprocess.run(["mosquitto_pub", "-p", str(self.port), "-t", ready, "-m", "?", *options], check=True)
            if ready in file.read_text():
                return lines
            time.sleep(0.05)
        pytest.fail("mosquitto_sub does not subscribe")

    def end(self) -> None:
        """Stop everything."""
        for witness in self.witnesses:
            witness.kill()
            witness.wait()
        self.stop()
        self.reserved.close()


def certificates(folder: Path) -> None:
    """Make an authority, ca.pem, and two certificates by it: the broker's and a client's."""
    if which("openssl") is None:
        pytest.skip("openssl is not installed; apt-get install openssl")
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl([*new, "-x509", "-subj", "/CN=our authority", "-keyout", "ca.key", "-out", "ca.pem"], folder)
    for name in ("broker", "client"):
        openssl([*new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"], folder)
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
        sign = ["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
        openssl([*sign, "-extfile", "names", "-out", f"{name}.pem"], folder)


def openssl(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
