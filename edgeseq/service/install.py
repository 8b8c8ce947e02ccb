"""Installs a configuration as a service of systemd, and takes it away again. As often as one likes."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec

from edgeseq.errors import ConfigError, ServiceError
from edgeseq.service.steps import Step
from edgeseq.service.unit import CACHE, MARK, ROOT, STATE, USER, Unit

UNITS = Path("/etc/systemd/system")
RUNNING = Path("/run/systemd/system")
"""There where systemd is in charge."""


def installing(unit: Unit, executable: Path) -> list[Step]:
    """Return the steps that make the unit's user, folders, machine code, file, and start it.

    Raises ConfigError where the name is taken by another configuration.
    """
    file, root, cache, state = UNITS / unit.name, unit.root, unit.cache, unit.state
    other = owner(file)
    if other not in (None, unit.config):
        raise ConfigError(f"{file} runs {other} already. Give this pipeline another name, or uninstall that one first.")
    membership = [f"m {USER} {group}" for group in unit.groups]
    members = f", a member of {', '.join(unit.groups)}" if unit.groups else ""
    return [
        Step(
            f"make the user {USER}{members}",
            lambda: _run("systemd-sysusers", "--inline", f'u {USER} - "edgeseq services" {STATE / USER}', *membership),
            lambda: _is_member(unit.groups),
        ),
        Step(f"make the folder {root}", partial(root.mkdir, parents=True, exist_ok=True), root.is_dir),
        *(Step(f"make the folder {path}", partial(_folder, path), partial(_is_own, path)) for path in (state, cache)),
        Step(
            f"compile what it needs for this processor and replay its goldens, into {cache}",
            lambda: _warm(unit, executable),
        ),
        Step(f"write {file}", lambda: _write(file, unit.text), lambda: _text(file) == unit.text),
        Step(f"let it start with the system: {unit.name}", lambda: _run("systemctl", "enable", "--quiet", unit.name)),
        Step(f"start it anew: {unit.name}", lambda: _start(unit.name)),
    ]


def uninstalling(config: Path, *, purge: bool) -> list[Step]:
    """Return the steps that stop a configuration's service and remove it.

    config: the file that it was installed for; it need not be there any more. purge: what the service remembers goes,
    too, and with the last service its user and cache. Raises ConfigError where no service runs that configuration.
    """
    units = {path: file for file in UNITS.glob(f"{USER}-*.service") if (path := owner(file)) is not None}
    file = units.pop(config.resolve(), None)
    if file is None:
        there = f" Installed are: {', '.join(str(path) for path in units)}." if units else ""
        raise ConfigError(f"no service runs {config.resolve()}.{there}")
    name = file.name
    pipeline = name.removeprefix(f"{USER}-").removesuffix(".service")
    steps = [
        Step(f"stop {name}", lambda: _run("systemctl", "disable", "--now", "--quiet", name)),
        Step(f"remove {file}", lambda: _remove(file), partial(_is_gone, file)),
    ]
    own = [STATE / ROOT / pipeline, STATE / USER / pipeline]
    shared = [STATE / ROOT, STATE / USER, CACHE / USER]
    folders = [] if not purge else own if units else [*own, *shared]
    steps += [Step(f"remove {path}", partial(shutil.rmtree, path), partial(_is_gone, path)) for path in folders]
    if purge and not units:
        steps.append(Step(f"remove the user {USER}", lambda: _run("userdel", USER), lambda: not _is_member(())))
    return steps


def require_systemd() -> None:
    """Raise ConfigError where a service can't be installed: without root, or without systemd."""
    if os.geteuid() != 0:
        raise ConfigError("this needs root: put sudo before it. --dry-run says what it would do, without.")
    if not RUNNING.is_dir():
        raise ConfigError("systemd does not run this system: `edgeseq service unit` prints the unit all the same.")


def owner(file: Path) -> Path | None:
    """Return the configuration that a unit was written for; None where it does not exist. Raises ConfigError."""
    text = _text(file)
    if text is None:
        return None
    first = text.partition("\n")[0]
    if not first.startswith(MARK):
        raise ConfigError(f"{file} was not written by edgeseq. Move it away, or give this pipeline another name.")
    return Path(first.removeprefix(MARK))


def _run(*command: str) -> str:
    """Run a program of the system and return what it says. Raises ServiceError with that if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as cause:
        raise ServiceError(f"there is no program '{command[0]}' here; `{' '.join(command)}` needs it.") from cause
    if done.returncode:
        raise ServiceError(f"`{' '.join(command)}` failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout.strip()


def _is_member(groups: Sequence[str]) -> bool:
    """Return whether the service's user exists and is a member of all groups."""
    try:
        pwd.getpwnam(USER)
        return all(USER in grp.getgrnam(group).gr_mem for group in groups)
    except KeyError:
        return False


def _is_own(path: Path) -> bool:
    return path.is_dir() and _is_member(()) and path.stat().st_uid == pwd.getpwnam(USER).pw_uid


def _is_gone(path: Path) -> bool:
    return not path.exists()


def _folder(path: Path) -> None:
    """Make a folder that the service's user alone may enter; those above it stay the system's."""
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    shutil.chown(path, USER, USER)


def _warm(unit: Unit, executable: Path) -> None:
    """Run `edgeseq warmup` as the service's user, with its cache. Raises ConfigError or ServiceError if it fails."""
    done = subprocess.run(
        [str(executable), "warmup", str(unit.config)],
        user=USER,
        group=USER,
        extra_groups=list(unit.groups),
        env={"PATH": os.defpath, "EDGESEQ_CACHE": str(unit.cache), "HOME": str(unit.state)},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        error = ConfigError if done.returncode == 2 else ServiceError  # noqa: PLR2004 - the status of a wrong one
        raise error(f"the user {USER} cannot run it: {done.stderr.strip().removeprefix('edgeseq: ')}")


def _write(file: Path, text: str) -> None:
    """Write a unit aside and rename it into place, then let systemd read it."""
    aside = file.with_suffix(".new")
    aside.write_text(text, "utf-8")
    aside.chmod(0o644)
    aside.replace(file)
    _run("systemctl", "daemon-reload")


def _remove(file: Path) -> None:
    file.unlink()
    _run("systemctl", "daemon-reload")


def _start(name: str) -> None:
    """Start a unit and wait until it is ready. Raises ServiceError with its last words if it never is."""
    _run("systemctl", "reset-failed", name)
    try:
        _run("systemctl", "restart", name)
    except ServiceError as cause:
        said = _run("journalctl", "--unit", name, "--lines", "5", "--output", "cat", "--no-pager")
        words = "\n".join(_message(line) for line in said.splitlines())
        raise ServiceError(f"{name} does not start. Its last words:\n{words}") from cause


def _message(line: str) -> str:
    """Return what a line of the journal says: the message, where it is one of ours in JSON."""
    try:
        return str(msgspec.json.decode(line)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return line


def _text(file: Path) -> str | None:
    """Return a file's text, None where there is none. Raises ConfigError if it can't be read."""
    try:
        return file.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as cause:
        raise ConfigError(f"{file} cannot be read: {cause}.") from cause
