"""Secrets of a configuration under systemd: root reads the file, the service alone gets a copy, in memory.

Source: systemd's "System and Service Credentials", LoadCredential= in systemd.exec(5).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseq import tables

if TYPE_CHECKING:
    from edgeseq.config import Config

SECRET = ("password_file", "key_file")
"""Keys that end so name a file with a secret."""


def needed(config: Config) -> dict[str, Path]:
    """Return the files with secrets that a configuration names, by the credential's name."""
    folder = config.document.path.resolve().parent
    parts = {"source": config.source_table, **{f"sinks.{i}": table for i, table in enumerate(config.sink_tables)}}
    return {
        f"{part}.{key}": tables.path(folder, str(value))
        for part, table in parts.items()
        for key, value in table.items()
        if key.endswith(SECRET)
    }


def given(table: Mapping[str, Any], part: str) -> dict[str, Any]:
    """Return a source's or sink's table, its secrets' files replaced by those that systemd gave this service.

    part: the table's place, "source" or "sinks.0".
    """
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return dict(table)
    held = {key: Path(folder) / f"{part}.{key}" for key in table if key.endswith(SECRET)}
    return {**table, **{key: str(path) for key, path in held.items() if path.is_file()}}
