"""The systemd unit of one configuration: what it starts, when it starts it anew, and all that it may not do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeseq import config as configs
from edgeseq.errors import ConfigError
from edgeseq.service import credentials, devices, paths

USER = "edgeseq"
STATE, CACHE = Path("/var/lib"), Path("/var/cache")
STOP_S = 15
"""Beside what sinks take to deliver what they hold: what was read is finished, and states are kept."""
ROOT = Path(f"{USER}-root")
"""Relative to STATE: holds an empty folder for each service, its root. What it needs is mounted there, read-only."""
START_S = 900
"""A slow board compiles kernels and replays goldens anew after an update."""
FORBIDDEN = "$:"
"""Not in paths: these mean something in a unit, whatever is put around them."""
MARK = "# Written by `edgeseq service install` for "


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit's text and what stands outside of it.

    name: the file's. root, state, cache: the service's folders. groups: what its user must be a member of. nodes: the
    devices it opens.
    """

    name: str
    config: Path
    text: str
    root: Path
    state: Path
    cache: Path
    groups: tuple[str, ...]
    nodes: tuple[str, ...]


def unit(config: configs.Config, executable: Path, shown: Sequence[Path]) -> Unit:
    """Return the unit that runs a configuration with this `edgeseq`.

    shown: files and folders that it sees besides the system's own. Raises ConfigError for a pipeline whose name no unit
    can bear, and for paths that no unit can name.
    """
    name, path = config.about.pipeline, config.document.path.resolve()
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise config.document.fail("a service's name has letters, digits, '_', '.' and '-' alone.", "name")
    nodes = devices.used([config.source, *config.sinks])
    access = [devices.access(node) for node in nodes]
    state = f"{USER}/{name}"
    modules = _each(f"modprobe@{module}.service" for found in access for module in found.modules)
    sections = {
        "Unit": [
            f"Description=edgeseq: {name}, {_plain(config.about.model)}".replace("%", "%%").rstrip(", "),
            "Documentation=man:systemd.service(5)",
            # The network outlives it when the system stops, so that sinks can deliver what they hold.
            "After=" + " ".join(["network.target", "time-sync.target", *modules]),
            *([f"Wants={' '.join(modules)}"] if modules else []),
            "# Ten ends within ten minutes, and it stays down until `systemctl reset-failed`.",
            "StartLimitIntervalSec=600",
            "StartLimitBurst=10",
        ],
        "Service": [
            *_running(config, executable, path),
            "",
            *_places(config, state),
            "",
            "# It sees the system's programs, its own files, and nothing else.",
            f"RootDirectory={STATE / ROOT / config.about.pipeline}",
            f"BindReadOnlyPaths={' '.join(paths.SYSTEM)}",
            *(f"BindReadOnlyPaths={quoted(f'-{path}')}" for path in shown),
            "",
            *_locks(),
            "",
            *_network(config.service.addresses),
            "",
            *_devices(access),
            "",
            *_realtime(config.service.realtime_priority),
        ],
        "Install": ["WantedBy=multi-user.target"],
    }
    body = "\n\n".join(f"[{title}]\n" + "\n".join(lines) for title, lines in sections.items())
    text = (
        f"{MARK}{path}\n# Change the configuration and install it again, or `systemctl edit {USER}-{name}`.\n\n{body}\n"
    )
    groups = tuple(_each(found.group for found in access))
    return Unit(
        name=f"{USER}-{name}.service",
        config=path,
        text=text,
        root=STATE / ROOT / name,
        state=STATE / state,
        cache=CACHE / USER,
        groups=groups,
        nodes=tuple(nodes),
    )


def _running(config: configs.Config, executable: Path, path: Path) -> list[str]:
    # Events are delivered to all sinks at once; then they are closed one after the other, and each may wait once more.
    drains_s = [float(getattr(sink, "drain_s", 0)) for sink in config.sinks]
    drain_s = max(drains_s, default=0) + sum(drains_s)
    # A source that ends is followed by that, too, in which the loop no longer turns.
    watchdog_s = max(config.service.watchdog_s, math.ceil(drain_s) + 1)
    return [
        "# Ready once the goldens have passed here and the model has taken a step.",
        "Type=notify",
        "NotifyAccess=main",
        f"ExecStart={quoted(executable)} run {quoted(path)}",
        f"TimeoutStartSec={START_S}",
        "# The hot loop's own turns keep it quiet, no timer does.",
        f"WatchdogSec={watchdog_s}",
        "# SIGTERM: what was read is finished, sinks deliver what they hold.",
        f"TimeoutStopSec={STOP_S + drain_s:g}",
        "KillMode=mixed",
        "Restart=on-failure",
        "RestartSec=2",
        "# 2: the configuration is wrong, which another start does not mend.",
        "RestartPreventExitStatus=2",
    ]


def _places(config: configs.Config, state: str) -> list[str]:
    loaded = [f"LoadCredential={name}:{escaped(path)}" for name, path in credentials.needed(config).items()]
    return [
        f"User={USER}",
        f"Group={USER}",
        "UMask=0077",
        f"StateDirectory={state}",
        f"WorkingDirectory={STATE / state}",
        f"CacheDirectory={USER}",
        "CacheDirectoryMode=0700",
        "StateDirectoryMode=0700",
        *(["# Secrets: read by systemd as root, given to this service alone."] if loaded else []),
        *loaded,
    ]


def _locks() -> list[str]:
    """Everything that holds for every configuration.

    Not there: MemoryDenyWriteExecute, which forbids compiled kernels; ProcSubset=pid, which hides the processor that
    they are compiled for.
    """
    return [
        "NoNewPrivileges=yes",
        "CapabilityBoundingSet=",
        "AmbientCapabilities=",
        "ProtectSystem=strict",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "PrivateMounts=yes",
        "PrivateUsers=yes",
        "PrivateIPC=yes",
        "RemoveIPC=yes",
        "ProtectHostname=yes",
        "ProtectClock=yes",
        "ProtectKernelLogs=yes",
        "ProtectKernelModules=yes",
        "ProtectKernelTunables=yes",
        "ProtectControlGroups=yes",
        "ProtectProc=invisible",
        "RestrictNamespaces=yes",
        "RestrictSUIDSGID=yes",
        "LockPersonality=yes",
        "KeyringMode=private",
        "SystemCallArchitectures=native",
        "SystemCallFilter=@system-service",
        "SystemCallFilter=~@privileged @resources",
        "SystemCallErrorNumber=EPERM",
    ]


def _network(addresses: Sequence[str] | None) -> list[str]:
    if addresses is None:
        return ["RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"]
    if not addresses:
        return ["PrivateNetwork=yes", "RestrictAddressFamilies=AF_UNIX", "IPAddressDeny=any"]
    return [
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6",
        "IPAddressDeny=any",
        f"IPAddressAllow={' '.join(addresses)}",
    ]


def _devices(access: Sequence[devices.Access]) -> list[str]:
    if not access:
        return ["PrivateDevices=yes", "DevicePolicy=closed"]
    allowed = _each(name for found in access for name in found.classes)
    return ["DevicePolicy=closed", *(f"DeviceAllow={_device(name)} rw" for name in allowed)]


def _realtime(priority: int) -> list[str]:
    if not priority:
        return ["RestrictRealtime=yes"]
    return ["CPUSchedulingPolicy=fifo", f"CPUSchedulingPriority={priority}"]


def _device(name: str) -> str:
    """Return a device as a word of DeviceAllow, where a colon is like any other letter. Raises ConfigError."""
    return quoted(name, forbidden="$")


def _plain(name: str) -> str:
    """Return a name that anybody may have given, a bundle's, as a part of one line that does not go on in the next."""
    return "".join(letter if letter.isprintable() and letter != "\\" else " " for letter in name).strip()


def quoted(path: Path | str, forbidden: str = FORBIDDEN) -> str:
    """Return a path as a word of a unit's line. Raises ConfigError if it cannot be one."""
    text = escaped(path, forbidden).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"' if re.search(r"[\s\"'\\;]", text) else text


def escaped(path: Path | str, forbidden: str = FORBIDDEN) -> str:
    """Return a path as the rest of a unit's line. Raises ConfigError if it cannot stand there."""
    text = str(path)
    if not text.isprintable() or text.endswith("\\") or any(letter in text for letter in forbidden):
        # What may be missing begins with "-", which is no part of its name.
        raise ConfigError(f"{text.removeprefix('-')!r} cannot stand in a systemd unit: rename it.")
    return text.replace("%", "%%")


def _each(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
