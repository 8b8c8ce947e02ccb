"""report.md: what was exported, how it was proven, in words and tables for the person who ships it."""

from __future__ import annotations

from collections.abc import Sequence as Items

from edgeseq.bundle import Manifest
from export.parity import Drift
from export.program import Program


def markdown(manifest: Manifest, drifts: Items[Drift], programs: dict[str, Program], notes: Items[str]) -> str:
    """Return the report as Markdown."""
    graph = manifest.graphs[0]
    lines = [
        f"# {manifest.name} {manifest.version}",
        "",
        manifest.description or "A sequence model as a stateful one-step model.",
        "",
        f"Source: `{manifest.origin.source}` ({manifest.origin.framework}{_digest(manifest.origin.sha256)}).",
        *(f"- {note}" for note in notes),
        "",
        "## The step",
        "",
        f"- takes {_numbers(graph.inputs[0].shape)} numbers a frame, gives {', '.join(manifest.output.names)}"
        + (f" in {manifest.output.unit}" if manifest.output.unit else ""),
        *(f"- state `{state.name}`: {_numbers(state.shape)} numbers" for state in graph.states),
        f"- frames a step {graph.frames_per_step}, delay {graph.delay}, warm-up {graph.warm_up}",
        "",
        "## Variants",
        "",
        "Error against the original in float64, free-running, from a reset, in chunks of random length.",
        "",
        "| variant | backend | weights | integer MACs | float MACs | steps | greatest error | rms error | tolerance |",
        "|---|---|--:|--:|--:|--:|--:|--:|---|",
    ]
    files = {file.variant: file for file in manifest.files}
    for entry in manifest.parity:
        file = files[entry.variant]
        cells = (
            entry.variant,
            entry.backend,
            f"{file.weight_bytes:,} B",
            f"{file.integer_macs:,}",
            f"{file.float_macs:,}",
            f"{entry.steps:,}",
            f"{entry.max_abs_err:.3g}",
            f"{entry.rms_err:.3g}",
            f"{entry.metric} {entry.tolerance:.3g}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "MACs are multiply-accumulates of one step, counted in onnxruntime's own optimized graph.", ""]
    lines += _drift(drifts)
    if manifest.accuracy:
        lines += _accuracy(manifest)
    for variant, program in programs.items():
        lines += _precision(variant, program)
    return "\n".join(lines) + "\n"


def _digest(sha256: str) -> str:
    """Name the source by its digest; a model that came from memory has none."""
    return f", SHA-256 `{sha256[:16]}…`" if sha256 else ""


def _drift(drifts: Items[Drift]) -> list[str]:
    """Tabulate the rms error over the longest sequence: a row that grows to the right drifts."""
    columns = len(drifts[0].rms)
    return [
        "## Error over time",
        "",
        "Rms error in each tenth of the longest free run; a row that grows from left to right would drift.",
        "",
        "| variant | " + " | ".join(str(i + 1) for i in range(columns)) + " |",
        "|---|" + "--:|" * columns,
        *(f"| {drift.variant} | " + " | ".join(f"{value:.2g}" for value in drift.rms) + " |" for drift in drifts),
        "",
    ]


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


def _precision(variant: str, program: Program) -> list[str]:
    """Say how each tensor of a quantized variant is stored."""
    lines = [
        f"## How {variant} is stored",
        "",
        "| tensor | op | size | type | scale | zero point |",
        "|---|---|--:|---|--:|--:|",
    ]
    for op in program.ops:
        kind = program.types.get(op.output)
        if kind is not None:
            size = program.sizes[op.output]
            lines.append(
                f"| `{op.output}` | {op.kind} | {size} | {kind.dtype} | {kind.scale:.4g} | {kind.zero_point} |"
            )
    return [*lines, ""]


def _numbers(shape: Items[int]) -> int:
    total = 1
    for dim in shape:
        total *= dim
    return total
