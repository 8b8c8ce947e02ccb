"""What a benchmark prints, and writes with `--json`: what was measured, and the ratios beside their targets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Measured, overhead
from benchmarks.ratios import Ratio, ratio
from edgeseq import bench
from edgeseq.text import number, table

QUIET = 0.02
"""The share of a contender's time that the core may do other work."""
VERDICTS = {True: "yes", False: "no", None: "undecided"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison. ratio: how many times faster than `against` it is. target: what it should be at least."""

    model: str
    what: str
    against: str
    target: float | None
    ratio: Ratio

    @property
    def met(self) -> str:
        """Whether the target is reached, where there is one."""
        return "" if self.target is None else VERDICTS[self.ratio.meets(self.target)]


@dataclass
class Report:
    """The report of one benchmark. unit: what a time is the time of."""

    name: str
    blocks: int
    seed: int
    cpu_time: bool
    unit: str = "step"
    device: dict[str, Any] = field(default_factory=bench.device)
    measured: dict[str, Mapping[str, Measured]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _overhead: tuple[float, float] = field(default_factory=overhead)

    def compare(self, model: str, what: str, against: Sequence[str], target: float | None) -> None:
        """Hold what was measured of a model against others: the target is for the first of those, the rest are told."""
        found = self.measured[model]
        for place, other in enumerate(against):
            if other in found:
                how_much = ratio(found[other].blocks_ns, found[what].blocks_ns, self.seed)
                aim = target if place == 0 else None
                self.rows.append(Row(model=model, what=what, against=other, target=aim, ratio=how_much))

    def note(self, line: str) -> None:
        """Say something once, below the tables."""
        if line not in self.notes:
            self.notes.append(line)

    def show(self, file: Path | None) -> None:
        """Print everything; write it to a file as JSON where one is given."""
        sys.stdout.write("\n".join(self._lines()) + "\n")
        write(file, self.json())

    def json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        clock, loop = self._overhead
        return {
            "benchmark": self.name,
            "device": self.device,
            "blocks": self.blocks,
            "seed": self.seed,
            "cpu_time": self.cpu_time,
            "clock_ns": clock,
            "loop_ns": loop,
            "measured": [
                {"model": model, "contender": name, "settings": each.contender.settings, "blocks_ns": each.blocks_ns,
                 "median_ns": each.median_ns, "core_taken": each.taken}
                for model, found in self.measured.items()
                for name, each in found.items()
            ],
            "rows": [asdict(row) | {"met": row.met} for row in self.rows],
            "notes": self.notes,
        }  # fmt: skip

    def _lines(self) -> list[str]:
        clock, loop = self._overhead
        device = self.device
        return [
            f"{self.name}: {device['cpu']}, one core, load {device['load_1min']}, Python {device['python']}",
            "",
            f"µs a {self.unit}{self.cpu_time * ', CPU time'}: median of {self.blocks} blocks, taken in turn",
            "",
            *self._latencies(),
            "",
            "times faster, with the 95 % interval",
            "",
            self._ratios(),
            "",
            f"Reading the clock takes {clock:.0f} ns, once a burst; an empty call {loop:.0f}, in every time.",
            *self._disturbed(),
            *self.notes,
        ]

    def _disturbed(self) -> list[str]:
        """Say where somebody else had the core meanwhile: long calls suffer from that more than short ones."""
        if self.cpu_time:
            return []
        taken = max((each.taken for found in self.measured.values() for each in found.values()), default=0)
        told = f"Others had the core for up to {taken:.0%} of the time: try a quiet machine, or --cpu-time."
        return [told] if taken > QUIET else []

    def _latencies(self) -> list[str]:
        names = list(dict.fromkeys(name for found in self.measured.values() for name in found))
        models = list(self.measured)
        rows = []
        for name in names:
            cells = [self.measured[model].get(name) for model in models]
            settings = dict.fromkeys(cell.contender.settings for cell in cells if cell)
            times = [number(cell.median_ns / 1000 if cell else None, 2) for cell in cells]
            rows.append([name, " / ".join(settings), *times])
        return [table(("", "", *models), rows, left=2)]

    def _ratios(self) -> str:
        rows = [
            [row.model, row.what, row.against, "" if row.target is None else f"≥ {row.target:g}",
             f"{row.ratio.value:.2f}", f"{row.ratio.low:.2f} to {row.ratio.high:.2f}", row.met]
            for row in self.rows
        ]  # fmt: skip
        return table(("model", "what", "against", "target", "ratio", "interval", "met"), rows, left=3)


def write(file: Path | None, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, where a file was asked for."""
    if file is not None:
        file.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
