"""report.md: what was exported, how it was proven, in words and tables for the person who ships it."""

from __future__ import annotations

import math
from collections.abc import Sequence as Items

from edgeseq import backends
from edgeseq.bundle import Graph, Manifest
from edgeseq.parts import called
from export.parity import Drift
from export.program import Program
from export.quantize.sensitivity import Part
from export.variants import Variant

BARS = "▁▂▃▄▅▆▇█"


def markdown(
    manifest: Manifest, drifts: Items[Drift], made: Items[Variant], notes: Items[str], pictures: Items[str] = ()
) -> str:
    """Return the report as Markdown. pictures: lines of it that draw the graph before and after."""
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        manifest.description or "A sequence model as a stateful one-step model.",
        "",
        f"Source: `{manifest.origin.source}` ({manifest.origin.framework}{_digest(manifest.origin.sha256)}).",
        *(f"- {note}" for note in notes),
        "",
        *(line for graph in manifest.graphs for line in _graph(manifest, graph)),
        *pictures,
        "## Variants",
        "",
        "Error against the original in float64, free-running, from a reset, in chunks of random length.",
        "",
        "| variant | backend | weights | integer MACs | float MACs | steps | greatest error | rms error | tolerance |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    for entry in manifest.parity:
        files = [
            file for file in manifest.files if (file.variant, backends.reader(file)) == (entry.variant, entry.backend)
        ]
        cells = (
            entry.variant,
            entry.backend,
            f"{sum(file.weight_bytes for file in files):,} B",
            " + ".join(f"{file.integer_macs:,}" for file in files),
            " + ".join(f"{file.float_macs:,}" for file in files),
            f"{entry.steps:,}",
            f"{entry.max_abs_err:.3g}",
            f"{entry.rms_err:.3g}",
            f"{entry.metric} {entry.tolerance:.3g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "MACs are multiply-accumulates of one step, counted in the graph that the backend runs.", ""]
    lines += [f"`auto` runs {backends.by_default(manifest.defaults)}.", ""]
    lines += _drift(drifts, "free run" if len(manifest.graphs) == 1 else "target")
    if manifest.accuracy:
        lines += _accuracy(manifest)
    for variant in made:
        if variant.program is not None:
            lines += _sensitivity(variant.name, variant.parts) + _precision(variant.name, variant.program)
    return "\n".join(lines) + "\n"


def _graph(manifest: Manifest, graph: Graph) -> list[str]:
    """Say what one graph takes, gives and remembers."""
    takes = " and ".join(
        f"`{tensor.name}`{f' of {called(tensor.part)}' if tensor.part else ''}, "
        f"{_count(tensor.shape, 'token' if tensor.dtype == 'int64' else 'number')}"
        for tensor in graph.inputs
    )
    often = f" a {'frame of the source' if graph.whole else 'step'}" if takes else "what it holds"
    last = graph is manifest.graphs[-1]
    gives = ", ".join(manifest.output.names if last else (f"`{tensor.name}`" for tensor in graph.outputs))
    way = (
        "it is no step: it runs once over the whole source"
        if graph.whole
        else f"{'it goes backwards, ' if graph.backwards else ''}frames a step {graph.frames_per_step}, "
        f"delay {graph.delay}, warm-up {graph.warm_up}"
    )
    return [
        f"## {called(graph.name).capitalize()}",
        "",
        f"- takes {takes}{often}, gives {gives}"
        + (f" in {manifest.output.unit}" if last and manifest.output.unit else ""),
        *(f"- holds `{held.output}` of {called(held.part)}" for held in graph.held),
        *(f"- state `{state.name}`: {_count(state.shape, 'number')}" for state in graph.states),
        f"- {way}",
        "",
    ]


def _digest(sha256: str) -> str:
    """Name the source by its digest; a model that came from memory has none."""
    return f", SHA-256 `{sha256[:16]}…`" if sha256 else ""


def _drift(drifts: Items[Drift], run: str) -> list[str]:
    """Show the rms error along the longest run: as bars from zero up, and in numbers."""
    columns = max((len(drift.rms) for drift in drifts), default=0)
    if not columns:
        return []
    return [
        "## Error over time",
        "",
        f"Rms error in ten parts of the longest {run}, in order: bars that grow from left to right would be drift.",
        "",
        "| variant | backend | over time | " + " | ".join(str(i + 1) for i in range(columns)) + " |",
        "|---|---|---|" + "--:|" * columns,
        *(
            f"| {drift.variant} | {drift.backend} | {bars(drift.rms)} | "
            + " | ".join(f"{value:.2g}" for value in drift.rms)
            + " |"
            for drift in drifts
        ),
        "",
    ]


def bars(values: Items[float]) -> str:
    """Draw values as bars of text, from zero to the greatest."""
    most = max(values, default=0.0) or 1.0
    return "".join(BARS[min(int(value / most * len(BARS)), len(BARS) - 1)] for value in values)


def _accuracy(manifest: Manifest) -> list[str]:
    metrics = list(next(iter(manifest.accuracy.values())))
    return [
        "## Accuracy on the task",
        "",
        "| variant | " + " | ".join(metrics) + " |",
        "|---|" + "--:|" * len(metrics),
        *(
            f"| {variant} | " + " | ".join(f"{values[metric]:.4g}" for metric in metrics) + " |"
            for variant, values in manifest.accuracy.items()
        ),
        "",
    ]


def _sensitivity(variant: str, parts: Items[Part]) -> list[str]:
    """Say what each part of a quantized variant costs, and in which precision it was kept."""
    rows = [
        f"| `{part.node}` | {part.kind} | {part.macs:,} | {part.precision} | {part.share} | {part.kept} |"
        for part in sorted(parts, key=lambda part: -part.error)
    ]
    return [
        f"## How sensitive {variant} is",
        "",
        "Rms error of the outputs, as a share of their spread, where that part alone has the variant's precision.",
        "",
        "| node | op | MACs | precision | error alone | kept in |",
        "|---|---|--:|---|--:|---|",
        *rows,
        "",
    ]


def _precision(variant: str, program: Program) -> list[str]:
    """Say how each tensor of a quantized variant is stored."""
    lines = [
        f"## How {variant} is stored",
        "",
        "| tensor | op | size | type | scale | zero point | range |",
        "|---|---|--:|---|--:|--:|---|",
    ]
    for op in program.ops:
        kind = program.types.get(op.output)
        if kind is not None:
            size = program.size(op.output)
            lines.append(
                f"| `{op.output}` | {op.kind} | {size} | {kind.dtype} | {kind.scale:.4g} | {kind.zero_point} | "
                f"{kind.rule} |"
            )
    return [*lines, ""]


def _count(shape: Items[int], what: str) -> str:
    total = math.prod(shape)
    return f"{total:,} {what}{'s' * (total != 1)}"
