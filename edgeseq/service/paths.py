"""Files that a service needs: it sees these, the system's own, and nothing else."""

from __future__ import annotations

import inspect
import sys
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import edgeseq
from edgeseq import plugins, tables
from edgeseq.errors import ConfigError
from edgeseq.service.credentials import SECRET

if TYPE_CHECKING:
    from edgeseq.config import Config

HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108 - only names
"""What ProtectHome and PrivateTmp hide."""
SYSTEM = (
    *("/usr", "/etc", "-/bin", "-/sbin", "-/lib", "-/lib64"),
    *("-/run/systemd/resolve", "-/run/avahi-daemon", "-/run/systemd/timesync"),
)
"""What every service sees, if it is there: programs and libraries, settings, who knows the names
of hosts, and whether the clock is set."""


def needed(config: Config, executable: Path) -> dict[str, Path]:
    """Return each file and folder that a service opens, by what it is.

    executable: the `edgeseq` that it runs, in this very environment.
    """
    folder = config.document.path.resolve().parent
    return {
        "edgeseq": executable,
        "the environment of edgeseq": Path(sys.prefix),
        "Python": Path(sys.base_prefix),
        "edgeseq's package": Path(edgeseq.__file__).parents[1],
        "the configuration": config.document.path.resolve(),
        **{f"what '{key}' names": tables.path(folder, value) for key, value in named(config)},
    }


def check(paths: Mapping[str, Path]) -> None:
    """Raise ConfigError for the first that no service sees."""
    for what, path in paths.items():
        for hidden in HIDDEN:
            if hidden in (found := path.resolve()).parents:
                raise ConfigError(
                    f"{what} lies in {hidden} ({found}), which a service does not see. Put it elsewhere: edgeseq into "
                    "/opt, configurations into /etc/edgeseq, bundles and data into /srv or /opt."
                )


def check_written(config: Config, state: Path) -> None:
    """Raise ConfigError for what is written anywhere but into the service's own folder.

    state: that folder.
    """
    document = config.document
    written = [(path, key) for key in ("checkpoint", "outbox") if (path := document.table.get(key, {}).get("path"))]
    written += [(str(table["path"]), f"sinks[{i}]") for i, table in enumerate(config.sink_tables) if "path" in table]
    for path, key in written:
        if not tables.path(document.path.resolve().parent, path).is_relative_to(state):
            advice = (
                "leave the key out" if key in ("checkpoint", "outbox") else f"write it as {state / Path(path).name}"
            )
            raise ConfigError(f"{document.path}: {key}.path: a service writes into {state} alone; {advice}.")


def shown(paths: Mapping[str, Path]) -> list[Path]:
    """Return those that the system's own folders do not hold already, none inside another."""
    system = [Path(path) for path in SYSTEM if path.startswith("/")]
    found: list[Path] = []
    for path in sorted({each for given in paths.values() for each in (given.absolute(), given.resolve())}):
        if not any(path.is_relative_to(above) for above in [*system, *found]):
            found.append(path)
    return found


def named(config: Config) -> Iterator[tuple[str, str]]:
    """Yield every key of a configuration that names a file which the service itself opens, and the name."""
    model = config.document.table["model"]
    if isinstance(model, dict):
        yield "bundle", model["bundle"]
    stages = model if isinstance(model, list) else []
    deciders = [config.decider_table] if config.decider_table and not config.decider_from_bundle else []
    parts = {"sources": [config.source_table], "stages": stages, "deciders": deciders, "sinks": config.sink_tables}
    for kind, several in parts.items():
        for table in several:
            plugin = inspect.getattr_static(plugins.find(kind, table["type"]), "__init__")
            for key, hint in typing.get_type_hints(plugin).items():
                written = kind == "sinks" and key == "path"
                if key in table and Path in (hint, *typing.get_args(hint)) and not key.endswith(SECRET) and not written:
                    yield key, table[key]
