"""Files that a service needs and could not see: homes and temporary folders are hidden from it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeseq import config as configs
from edgeseq import tables
from edgeseq.errors import ConfigError
from edgeseq.service.credentials import SECRET

HIDDEN = tuple(Path(path) for path in ("/home", "/root", "/run/user", "/tmp", "/var/tmp"))  # noqa: S108 - names, not files


def check(config: configs.Config, executable: Path) -> None:
    """Raise ConfigError for the first file that ProtectHome or PrivateTmp would hide."""
    folder = config.document.path.resolve().parent
    needed = {
        "edgeseq": executable,
        "the environment of edgeseq": Path(sys.prefix),
        "Python": Path(sys.base_prefix),
        "the configuration": config.document.path,
        **{f"what '{key}' names": tables.path(folder, value) for key, value in named(config.document.table)},
    }
    for what, path in needed.items():
        for hidden in HIDDEN:
            if hidden in (found := path.resolve()).parents:
                raise ConfigError(
                    f"{what} lies in {hidden} ({found}), which a service does not see. Put it elsewhere: edgeseq into "
                    "/opt, configurations into /etc/edgeseq, bundles and data into /srv or /opt."
                )


def named(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every key that names a file which the service itself opens, and the name."""
    for key, value in table.items():
        if isinstance(value, str) and (
            key in ("path", "bundle") or (key.endswith("file") and not key.endswith(SECRET))
        ):
            yield key, value
        for inner in value if isinstance(value, list) else [value]:
            if isinstance(inner, dict):
                yield from named(inner)
