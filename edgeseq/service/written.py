"""What a pipeline writes must be nothing that it reads: a checkpoint would take the place of a recording."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq import tables
from edgeseq.service import paths

if TYPE_CHECKING:
    from edgeseq.config import Config


def check(config: Config) -> None:
    """Raise ConfigError for a file that is written and also read, or written by two parts."""
    document = config.document
    folder = document.path.parent
    taken = {document.path.resolve(): "the configuration itself"}
    for key, value in paths.named(config):
        taken[tables.path(folder, str(value)).resolve()] = f"what '{key}' names"
    for path, keys in _written(config):
        if (who := taken.get(path.resolve())) is not None:
            raise document.fail(f"{path} is {who}, and would be written over: give it another name.", *keys)
        taken[path.resolve()] = f"what {tables.dotted(keys)} names"


def _written(config: Config) -> Iterator[tuple[Path, tuple[str | int, ...]]]:
    """Yield each file and folder that is written, and the keys that name it; sinks of a type may share one."""
    yield from {
        tables.path(config.document.path.parent, str(table["path"])).resolve(): ("sinks", i, "path")
        for i, table in enumerate(config.sink_tables)
        if "path" in table
    }.items()
    if config.checkpoint is not None:
        yield config.checkpoint, ("checkpoint", "path")
    if config.outbox.path is not None:
        yield tables.path(config.document.path.parent, config.outbox.path), ("outbox", "path")
