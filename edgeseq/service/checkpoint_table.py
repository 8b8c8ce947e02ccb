"""[checkpoint]: where a pipeline's snapshots are kept, how often one is made, and what makes one this pipeline's.

[checkpoint]
path = "turbofan.checkpoint"      # default: $STATE_DIRECTORY/checkpoint, as systemd gives it; without that, none
interval_s = 30                   # default
"""

from __future__ import annotations

import hashlib
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

import edgeseq
from edgeseq import backends, sums, tables
from edgeseq.errors import EdgeseqError
from edgeseq.service import state
from edgeseq.service.checkpoint import Checkpoint
from edgeseq.wiring import Wired

if TYPE_CHECKING:
    from edgeseq.config import Config
    from edgeseq.types import StepModel

NAME = "checkpoint"
_CODE = (
    *("sources", "features", "deciders", "stages", "backends", "pipeline"),
    *("models", "feature_chain.py", "gaps.py", "states.py"),
)
"""What gives a state its meaning: after a change of it, an old one says nothing."""


class CheckpointTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[checkpoint]. path: relative to the configuration. interval_s: from one snapshot to the next."""

    path: str | None = None
    interval_s: float = 30.0


def place(document: tables.Document, table: CheckpointTable) -> Path | None:
    """Return the file, None for none. Raises ConfigError for an interval or a path that cannot be."""
    if not 0 < table.interval_s < math.inf:
        raise document.fail(f"must be above 0, not {table.interval_s:g}.", NAME, "interval_s")
    if table.path is not None:
        try:
            return tables.path(document.path.parent, table.path)
        except ValueError as cause:
            raise document.fail(f"{cause}.", NAME, "path") from cause
    folder = state.folder()
    return folder / NAME if folder else None


def keeper(config: Config, model: StepModel) -> Checkpoint | None:
    """Return where the pipeline's snapshots are kept; None for nowhere. Raises ConfigError where it cannot be."""
    path = config.checkpoint
    if path is None:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as cause:
        raise _unfit(config, f"{path.parent} cannot be made: {cause.strerror or cause}.") from cause
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise _unfit(config, f"{path} cannot be written; it must be a file's name in a folder that can be written.")
    return Checkpoint(path, identity(config, model), config.checkpoint_interval_s)


def words(config: Config) -> str:
    """Return what is kept, as a sentence. Raises ConfigError where a folder stands in its place."""
    if config.checkpoint is None:
        return "keeps no checkpoint: a restart begins anew (path in [checkpoint], or systemd's StateDirectory=)"
    if config.checkpoint.is_dir():
        raise _unfit(config, f"{config.checkpoint} is a folder; it must be a file's name in one.")
    return f"keeps all states in {config.checkpoint} every {config.checkpoint_interval_s:g} s and when it is stopped"


def identity(config: Config, model: StepModel) -> dict[str, str]:
    """Return what a snapshot is of, by the names that a person has for it."""
    trained = config.trained
    if isinstance(trained, Wired):
        table = config.document.table
        made_of, library = trained.version + _sum([table["model"], table.get("output")]), ""
    else:
        made_of, library = trained.digest, backends.library(model.backend)
    return {
        "pipeline": config.about.pipeline,
        "model": made_of,
        "variant": model.variant,
        "backend": f"{model.backend} {library}",
        "[source]": _sum(config.source_table),
        "[decider]": _sum(config.decider_table),
        "max_streams": str(config.max_streams),
        "version of edgeseq": f"{edgeseq.__version__} {sums.of_sources(_CODE, library)}",
    }


def _unfit(config: Config, message: str) -> EdgeseqError:
    return config.document.fail(message, *((NAME, "path") if NAME in config.document.table else ()))


def _sum(table: Any) -> str:
    """Return a sum over plain data."""
    return hashlib.sha256(msgspec.json.encode(table, enc_hook=str, order="deterministic")).hexdigest()
