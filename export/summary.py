"""What was exported, as the table that ends `edgeseq export`."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from edgeseq import backends, footprint
from edgeseq.bundle import Bundle, ModelFile
from edgeseq.parts import called
from edgeseq.text import amount, size, table

HEADINGS = ("size", "error", "states", "delay", "warm-up", "MACs")
ERRORS = {"max": "the greatest", "rms": "the rms"}


def show(bundle: Bundle, console: Console) -> None:
    """Print the table, and below it what was noted on the way."""
    manifest = bundle.manifest
    several = len({file.format for file in manifest.files}) > 1
    headings = ("graph" if len(manifest.graphs) > 1 else "variant", *["backend"] * several, *HEADINGS)
    console.print(Text(f"{manifest.name} {manifest.version}", style="bold"))
    console.print()
    rows = [row if several else [row[0], *row[2:]] for row in _rows(bundle)]
    console.print(Text(table(headings, rows, indent="", left=1 + several)), soft_wrap=True)
    console.print()
    for fact in (*_facts(bundle), *manifest.origin.note.splitlines()):
        if fact:
            console.print(Text(f"- {fact}"))
    console.print()
    console.print(Text(f"{bundle.path / 'report.md'} is the whole account."), soft_wrap=True)


def _rows(bundle: Bundle) -> Iterator[list[str]]:
    manifest = bundle.manifest
    proven = {(entry.variant, entry.backend): entry for entry in manifest.parity}
    several = len({file.variant for file in manifest.files}) > 1
    for file in manifest.files:
        graph = bundle.graph(file.graph)
        backend = backends.reader(file)
        entry = proven.get((file.variant, backend))
        # The error is that of the last graph's output: of encoder and decoder together.
        judged = entry if graph is manifest.graphs[-1] else None
        yield [
            file.variant if len(manifest.graphs) == 1 else f"{file.graph} {file.variant}" if several else file.graph,
            backend,
            size(footprint.on_disk(bundle, file)),
            "" if judged is None else f"{judged.rms_err if judged.metric == 'rms' else judged.max_abs_err:.2g}",
            f"{len(file.states)}, {size(footprint.of_states(bundle, file))}" if file.states else "none",
            "" if graph.whole else str(graph.delay),
            "" if graph.whole else str(graph.warm_up),
            amount(file.integer_macs + file.float_macs),
        ]


def _facts(bundle: Bundle) -> Iterator[str]:
    """Say what the table does not: what a step is where it is no frame, and what a step's error was measured on."""
    for graph in bundle.manifest.graphs:
        name = "a step" if graph.name == "step" else f"a step of {called(graph.name)}"
        if graph.whole:
            yield f"{called(graph.name)} is no step: it runs once over the whole source"
        elif graph.backwards:
            yield f"{called(graph.name)} steps through the source backwards"
        elif graph.frames_per_step > 1:
            yield f"{name} takes {graph.frames_per_step} frames"
        if graph.max_steps is not None:
            yield f"{called(graph.name)} is to be reset after {graph.max_steps:,} frames at most"
    entries = bundle.manifest.parity
    if entries:
        kinds = "; ".join(
            f"{told} for {', '.join(dict.fromkeys(entry.variant for entry in entries if entry.metric == metric))}"
            for metric, told in ERRORS.items()
            if metric in {entry.metric for entry in entries}
        )
        steps = max(entry.steps for entry in entries)
        yield f"error: against the original in float64, over {steps:,} steps ({kinds})"
    yield f"`auto` runs {backends.by_default(bundle.manifest.defaults)}"
    files: dict[str, list[ModelFile]] = {}
    for file in bundle.manifest.files:
        files.setdefault(f"{file.variant} on {backends.reader(file)}", []).append(file)
    whole = [name for name, parts in files.items() if _integer(parts)]
    if whole:
        yield f"all multiply-accumulates are integer in {', '.join(whole)}"


def _integer(files: list[ModelFile]) -> bool:
    return any(file.integer_macs for file in files) and not any(file.float_macs for file in files)
