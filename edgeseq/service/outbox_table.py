"""[outbox]: where events are kept until every sink has them, and how many at most.

[outbox]
path = "/var/lib/press/outbox"    # default: $STATE_DIRECTORY/outbox, as systemd gives it; without that, one a pipeline
                                  # below $XDG_STATE_HOME/edgeseq, ~/.local/state/edgeseq
max_events = 1000000              # default
max_bytes = 1073741824            # default: 1 GiB
max_age_s = 604800                # default: events are kept however old they are
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edgeseq import tables
from edgeseq.delivery import Delivery
from edgeseq.outbox import MIN_BYTES, Outbox
from edgeseq.service import state
from edgeseq.sinks import _topic
from edgeseq.types import Delivering, Sink

if TYPE_CHECKING:
    from edgeseq.config import Config

NAME = "outbox"


class OutboxTable(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """[outbox]. path: relative to the configuration. The rest: see `Outbox`."""

    path: str | None = None
    max_events: int = 1_000_000
    max_bytes: int = 1 << 30
    max_age_s: float | None = None


def check(document: tables.Document, table: OutboxTable) -> None:
    """Raise ConfigError for a limit or a path that cannot be."""
    if table.max_events < 1:
        raise document.fail("must be at least 1.", NAME, "max_events")
    if table.max_bytes < MIN_BYTES:
        raise document.fail(f"must be at least {MIN_BYTES}.", NAME, "max_bytes")
    if table.max_age_s is not None and not 0 < table.max_age_s < float("inf"):
        raise document.fail("must be above 0.", NAME, "max_age_s")
    if table.path is not None:
        try:
            tables.path(document.path.parent, table.path)
        except ValueError as cause:
            raise document.fail(f"{cause}.", NAME, "path") from cause


def place(config: Config) -> Path:
    """Return the outbox's folder. Raises ConfigError where nobody said it and the user has no home."""
    if config.outbox.path is not None:
        return tables.path(config.document.path.parent, config.outbox.path)
    if folder := state.folder():
        return folder / NAME
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    if not home.is_absolute():
        try:
            home = Path.home() / ".local" / "state"
        except RuntimeError as cause:
            message = "this user has no home folder to keep events in; name a folder for them, path in [outbox]."
            raise config.document.fail(message) from cause
    return home / "edgeseq" / _topic.plain(config.about.pipeline) / NAME


def behind(config: Config, sinks: Sequence[Sink]) -> tuple[list[Sink], Delivery | None]:
    """Return the sinks of a service: those that events are delivered to stand behind an outbox, which comes first."""
    names = [table["type"] for table in config.sink_tables]
    delivering: dict[str, Delivering] = {}
    of_type: Counter[str] = Counter()
    for sink in sinks:
        if isinstance(sink, Delivering):
            name = names[list(config.sinks).index(sink)]
            of_type[name] += 1
            # The second of a type is told apart by its number among them: an event is owed to each by its name, which
            # must not change when a sink of another type comes or goes.
            delivering[name if of_type[name] == 1 else f"{name}-{of_type[name]}"] = sink
    if not delivering:
        return list(sinks), None
    limits = config.outbox
    outbox = partial(
        Outbox, place(config), max_events=limits.max_events, max_bytes=limits.max_bytes, max_age_s=limits.max_age_s
    )
    drain_s = max(getattr(sink, "drain_s", 0.0) for sink in delivering.values())
    delivery = Delivery(outbox, delivering, drain_s=drain_s)
    return [delivery, *(sink for sink in sinks if sink not in delivering.values())], delivery


def words(config: Config) -> str | None:
    """Return where events wait, as a sentence; None where no sink takes them from there.

    Raises ConfigError where that cannot be a folder.
    """
    if not any(isinstance(sink, Delivering) for sink in config.sinks):
        return None
    limits, folder = config.outbox, place(config)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not there.is_dir():
        raise config.document.fail(f"{there} is no folder; events are kept in one.", NAME, "path")
    barred = "" if os.access(there, os.W_OK | os.X_OK) else " (into which this user may not write)"
    return (
        f"keeps events in {folder}{barred} until they are delivered, up to {limits.max_events:,} and "
        f"{limits.max_bytes / 1e6:,.0f} MB"
    )
