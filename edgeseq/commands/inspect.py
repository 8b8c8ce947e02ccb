"""`edgeseq inspect`: what a bundle is, in words and as a table."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseq.parts import called

if TYPE_CHECKING:
    from edgeseq.bundle import Bundle, GenerateTable, Graph, HeldTable, ParityTable, Tensor

HELP = """\
Says what a bundle is: what it takes in and gives out, what it remembers, which variants it holds, how accurate each
is and where it came from. Every file is compared with SHA256SUMS first; no model is opened.

  edgeseq inspect zoo/turbofan/bundle
  edgeseq inspect BUNDLE --json"""

HEADINGS = ("variant", "file", "size", "states", "integer MACs", "float MACs", "error", "tolerance")
SHOWN_CHANNELS = 6


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="a folder that `edgeseq export` wrote")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Read, check and print."""
    import msgspec

    from edgeseq import bundle

    opened = bundle.read(args.bundle)
    if args.json:
        sizes = {file.path: (opened.path / file.path).stat().st_size for file in opened.manifest.files}
        manifest: dict[str, Any] = msgspec.to_builtins(opened.manifest)
        document = {"bundle": str(opened.path), "digest": opened.digest, "bytes": sizes, "manifest": manifest}
        print(json.dumps(document, indent=2))
        return 0
    print("\n".join(describe(opened)))
    return 0


def describe(opened: Bundle) -> list[str]:
    """Return the description as lines."""
    from edgeseq import backends

    manifest = opened.manifest
    lines = [f"{manifest.name} {manifest.version}", *([manifest.description] if manifest.description else []), ""]
    facts = [("takes", _stream(opened)), ("features", _features(opened)), ("gives", _output(opened))]
    for graph in manifest.graphs:
        facts.append(("model" if len(manifest.graphs) == 1 else graph.name, _graph(graph)))
        if not graph.whole:
            facts.append(("memory", _memory(graph)))
        if graph.held:
            facts.append(("holds", _holds(graph)))
    if manifest.generate:
        facts.append(("generates", _generates(manifest.generate)))
    if manifest.decider:
        rest = ", ".join(f"{key} {value}" for key, value in manifest.decider.items() if key != "type")
        facts.append(("decides", f"{manifest.decider.get('type')}: {rest}" if rest else str(manifest.decider["type"])))
    facts.append(("default", backends.by_default(manifest.defaults)))
    facts.append(("from", _origin(opened)))
    facts += [("noted", line) for line in manifest.origin.note.splitlines()]
    facts.append(("digest", opened.digest))
    width = max(len(name) for name, _ in facts)
    lines += [
        f"  {name if not index or facts[index - 1][0] != name else '':<{width}}  {text}"
        for index, (name, text) in enumerate(facts)
    ]
    return [*lines, "", _variants(opened), *(["", _accuracy(opened)] if manifest.accuracy else [])]


def _stream(opened: Bundle) -> str:
    stream = opened.manifest.stream
    names = [f"{channel.name} [{channel.unit}]" if channel.unit else channel.name for channel in stream.channels]
    more = f" and {len(names) - SHOWN_CHANNELS} more" if len(names) > SHOWN_CHANNELS else ""
    channels = f"{len(names)} channel{'s' * (len(names) > 1)}"
    return f"{channels} at {stream.rate_hz:g} Hz: {', '.join(names[:SHOWN_CHANNELS])}{more}"


def _features(opened: Bundle) -> str:
    return (
        " → ".join(str(table.get("type")) for table in opened.manifest.features) or "none: samples go in as they come"
    )


def _output(opened: Bundle) -> str:
    output = opened.manifest.output
    unit = f" in {output.unit}" if output.unit else ""
    return f"{output.kind}: {', '.join(output.names)}{unit}{', low is bad' if output.lower_is_worse else ''}"


def _graph(graph: Graph) -> str:
    takes, gives = (", ".join(map(_tensor, tensors)) for tensors in (graph.inputs, graph.outputs))
    takes = takes or "what it holds"
    if graph.whole:
        return f"{takes} → {gives}; no step: it runs once over the whole source"
    frames = f", {graph.frames_per_step} frames a step" if graph.frames_per_step > 1 else ""
    way = ", backwards" if graph.backwards else ""
    return f"{takes} → {gives}{frames}{way}, delay {graph.delay}, warm-up {graph.warm_up} steps"


def _tensor(tensor: Tensor) -> str:
    tokens = f" of {tensor.tokens} tokens" if tensor.tokens else " of tokens" if tensor.dtype == "int64" else ""
    part = f" of {called(tensor.part)}" if tensor.part else ""
    return f"{tensor.name} {tensor.dtype}{tensor.shape}{tokens}{part}"


def _holds(graph: Graph) -> str:
    parts = dict.fromkeys(held.part for held in graph.held)
    listed = {part: ", ".join(_held(held) for held in graph.held if held.part == part) for part in parts}
    return "; ".join(f"of {called(part)}: {text}" for part, text in listed.items())


def _held(held: HeldTable) -> str:
    shape = ", ".join("source" if dim == -1 else str(dim) for dim in held.shape)
    return f"{held.output} {held.dtype}[{shape}]"


def _generates(table: GenerateTable) -> str:
    stop = f"until token {table.stop}, " if table.stop is not None else ""
    return f"from token {table.start} on, {stop}at most {table.max_length} tokens"


def _memory(graph: Graph) -> str:
    if not graph.states:
        return "none"
    field = "without end" if graph.receptive_field is None else f"of {graph.receptive_field} frames"
    reset = f", to be reset after {graph.max_steps:,} frames" if graph.max_steps is not None else ""
    return f"{field}{reset}; state " + ", ".join(f"{state.name} {state.shape}" for state in graph.states)


def _origin(opened: Bundle) -> str:
    origin = opened.manifest.origin
    tools = ", ".join(f"{name} {version}" for name, version in origin.tools.items())
    return "; ".join(filter(None, [f"{origin.framework}, {origin.source}", tools]))


def _variants(opened: Bundle) -> str:
    """Return the table of files, with what export measured of each variant where it came nearest to its tolerance."""
    from edgeseq import backends, footprint
    from edgeseq.text import size, table

    rows = []
    last = opened.manifest.graphs[-1].name
    for file in opened.manifest.files:
        # Encoder and decoder are measured together: at what the last of them gives.
        read = file.variant, backends.reader(file), last
        measured = [entry for entry in opened.manifest.parity if (entry.variant, entry.backend, file.graph) == read]
        worst = max(measured, key=lambda entry: _error(entry) / entry.tolerance, default=None)
        rows.append(
            [
                file.variant,
                file.path,
                size(footprint.on_disk(opened, file)),
                size(footprint.of_states(opened, file)),
                f"{file.integer_macs:,}",
                f"{file.float_macs:,}",
                "–" if worst is None else f"{_error(worst):.2g} {worst.metric}",
                "–" if worst is None else f"{worst.tolerance:.2g}",
            ]
        )
    return table(HEADINGS, rows, left=2)


def _accuracy(opened: Bundle) -> str:
    """Return the table of what was measured on the task's test data, a column a variant."""
    from edgeseq.text import table

    accuracy = opened.manifest.accuracy
    metrics = dict.fromkeys(metric for measured in accuracy.values() for metric in measured)
    rows = [
        [metric, *(f"{measured[metric]:.4g}" if metric in measured else "–" for measured in accuracy.values())]
        for metric in metrics
    ]
    return table(("accuracy", *accuracy), rows)


def _error(entry: ParityTable) -> float:
    """Return the error that the entry's tolerance is for."""
    return entry.max_abs_err if entry.metric == "max" else entry.rms_err
