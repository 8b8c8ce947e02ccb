"""What a model file cannot say of itself: its name, its stream and features, what its output means, when to alert."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from edgeseq import plugins, tables
from edgeseq.bundle import ChannelTable, GenerateTable, Graph, OutputTable, StreamTable
from export.errors import ExportError


class About(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The tables that export takes over into bundle.toml, under the same names. Everything has a plain default.

    source: how recordings of the stream are read, for `edgeseq features` and for raw samples; it stays here. A stream
    with gap_limit_s has the states reset by a longer gap; without it they hold over any.
    """

    name: str = ""
    version: str = "0.1.0"
    description: str = ""
    stream: StreamTable | None = None
    features: list[dict[str, Any]] = []
    source: dict[str, Any] = {}
    output: OutputTable | None = None
    decider: dict[str, Any] | None = None
    generate: GenerateTable | None = None
    calibration: str = ""

    def on_gap(self, graph: Graph) -> Graph:
        """Return a graph whose states all are reset by a gap, where the stream says which: longer than gap_limit_s."""
        if self.stream is None or self.stream.gap_limit_s is None:
            return graph
        states = [msgspec.structs.replace(state, reset="gap") for state in graph.states]
        return msgspec.structs.replace(graph, states=states)

    def name_for(self, output: Path) -> str:
        """Return the name given, or that of the bundle's folder, `.bundle` left off."""
        return self.name or output.name.removesuffix(".bundle") or output.name

    def stream_for(self, features: int) -> StreamTable:
        """Return the stream given, or one of so many unnamed channels at 1 Hz."""
        return self.stream or StreamTable(rate_hz=1.0, channels=[ChannelTable(name=f"x{i}") for i in range(features)])

    def output_for(self, outputs: int) -> OutputTable:
        """Return the output given, or a plain regression of so many values. Raises ExportError for other names."""
        if self.output is not None and len(self.output.names) != outputs:
            raise ExportError(f"[output] names {len(self.output.names)} outputs; the model gives {outputs}.")
        return self.output or OutputTable(kind="regression", names=[f"y{i}" for i in range(outputs)])


def read(path: Path) -> About:
    """Read an --about file, and see that its decider can judge its outputs. Raises ConfigError naming line and key."""
    document = tables.read(path)
    about = tables.convert(document, document.table, About)
    if about.decider is not None and about.output is not None:
        plugins.decider(document, about.decider, about.output.names, "decider")
    return about
