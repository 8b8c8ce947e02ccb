"""A Debian 12 of its own: real systemd, booted in a container that has its own network, users and devices."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "system"
PROGRAMS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "cc": "gcc libc6-dev",
}
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,mosquitto,mosquitto-clients,procps"
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
PATIENCE_S = 40.0
"""A condition that has not come by then does not come; nothing is concluded from its coming sooner or later."""


class Machine:
    """One container. What is written in it stays from boot to boot."""

    def __init__(self, root: Path, wheels: Path) -> None:
        self.root, self._wheels = root, wheels
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._log = root.with_suffix(".log")

    def boot(self) -> None:
        """Start it, and return when systemd has started everything."""
        with self._log.open("ab") as log:
            self._nspawn = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),  # nothing is left of it where the tests are killed
                    *("systemd-nspawn", "--boot", "--register=no", "--keep-unit", "--link-journal=no"),
                    *("--console=pipe", "--private-network", "--quiet", f"--bind-ro={self._wheels}:/mnt/wheels"),
                    f"--directory={self.root}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.until(lambda: self._leader() is not None, "the container has an init")
        self.until(lambda: self.run("systemctl", "is-system-running", check=False).startswith("running"), "it is up")

    def run(self, *command: str, check: bool = True, **environment: str) -> str:
        """Run a command in it as root and return all it says."""
        leader = self._leader()
        assert leader is not None, f"the container is not up: {self._log.read_text('utf-8', 'replace')[-2000:]}"
        done = subprocess.run(
            ["nsenter", "--target", leader, "--all", "--", *command],
            env={"PATH": PATH, "LANG": "C.UTF-8", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert not check or done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout}"
        return done.stdout

    def status(self, *command: str) -> tuple[int, str]:
        """Run a command that may fail; return its exit status and all it says."""
        said = self.run("sh", "-c", '"$@"; echo "status=$?"', "sh", *command)
        text, _, status = said.rpartition("status=")
        return int(status), text

    def show(self, unit: str, name: str) -> str:
        """Return one of a unit's properties."""
        return self.run("systemctl", "show", "--value", f"--property={name}", unit).strip()

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, f"in vain waited until {what}"
            time.sleep(0.1)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file of root's."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
        file.chmod(mode)

    def shut_down(self) -> None:
        """Shut it down in good order."""
        self.run("systemctl", "poweroff", check=False)
        assert self._nspawn is not None
        self._nspawn.wait(PATIENCE_S)

    def cut_the_power(self) -> None:
        """End all its processes at once."""
        leader = self._leader()
        assert self._nspawn is not None
        assert leader is not None
        subprocess.run(["kill", "-KILL", leader], check=True)
        self._nspawn.wait(PATIENCE_S)

    def end(self) -> None:
        """Leave nothing of it running."""
        if self._nspawn is not None and self._nspawn.poll() is None:
            self.cut_the_power()

    def _leader(self) -> str | None:
        """Return the process that is the container's init."""
        assert self._nspawn is not None
        assert self._nspawn.poll() is None, f"it ended: {self._log.read_text('utf-8', 'replace')[-2000:]}"
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text("utf-8").split()
        return children[0] if children else None


def made() -> Machine:
    """Return a machine as Debian leaves it, not booted. The image is made once and copied."""
    base, root, wheels = BUILD / "base", BUILD / "root", BUILD / "wheels"
    if not base.exists():
        BUILD.mkdir(parents=True, exist_ok=True)
        half = BUILD / "half"
        shutil.rmtree(half, ignore_errors=True)
        _run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(half), *_mirror())
        half.rename(base)
    shutil.rmtree(root, ignore_errors=True)
    _run("cp", "--archive", "--reflink=auto", str(base), str(root))
    _wheels(wheels)
    return Machine(root, wheels)


def _wheels(folder: Path) -> None:
    """Get what a device installs, for Debian 12's Python, and build edgeseq's own wheel."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    shutil.rmtree(folder, ignore_errors=True)
    _run(
        *(*pip, "download", "--dest", str(folder), "--constraint", str(ROOT / "constraints.txt")),
        *("--only-binary=:all:", "--python-version=3.11", "--implementation=cp"),
        *(*project["dependencies"], *project["optional-dependencies"]["serial"]),
    )
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT), str(ROOT / "tests" / "system" / "stuck"))


def _mirror() -> list[str]:
    """Return where this machine's own apt gets Debian 12 from, nothing where it is another system."""
    done = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    return [uri for uri, *release in lines if release == ["bookworm"]][:1]


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.returncode}\n{done.stdout[-4000:]}"


def missing() -> str | None:
    """Return what keeps this machine from booting another, None if nothing does."""
    absent = [package for program, package in PROGRAMS.items() if shutil.which(program) is None]
    if absent:
        return f"apt-get install {' '.join(absent)}"
    return None if os.geteuid() == 0 else "only root boots a container"
