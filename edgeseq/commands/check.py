"""`edgeseq check`: whether a configuration would work, and what it would do."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseq.config import Config
    from edgeseq.wiring import Wired

HELP = """\
Checks everything about a configuration that can be checked without running it, and says what it would do: the keys and
types of every table, the bundle's checksums, that the model computes here what was exported (of [[model]] stages the
shapes, by a trial step), that the source has every channel the model was trained on, the thresholds, the files that are
named. The data are not read through, a broker is not asked.

  edgeseq check pipeline.toml
  edgeseq check pipeline.toml --json

Exit status: 0 it would run, 1 something it needs is not right, 2 the configuration is not right."""


FEW = 8
"""So many of a step's values are named."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the pipeline's TOML file")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Check and say."""
    from edgeseq import config as configs
    from edgeseq.wiring import Wired

    config = configs.load(args.config)
    would = describe(config)
    if args.json:
        about = config.about
        document = {
            "config": str(args.config),
            "ok": True,
            "pipeline": about.pipeline,
            "device": about.device,
            "bundle": None
            if isinstance(config.trained, Wired)
            else {"name": about.model, "version": about.model_version, "digest": config.bundle.digest},
            "would": would,
        }
        print(json.dumps(document, indent=2))
    else:
        print(f"{args.config} is right. The pipeline '{config.about.pipeline}' on '{config.about.device}':")
        print("\n".join(f"  {sentence}." for sentence in would))
    return 0


def describe(config: Config) -> list[str]:
    """Return what the pipeline would do, a sentence each. Raises what would keep it from running."""
    from edgeseq.service import checkpoint_table, outbox_table
    from edgeseq.types import Checkable
    from edgeseq.wiring import Wired

    source_type = config.source_table["type"]
    source = config.source.check() if isinstance(config.source, Checkable) else f"reads from '{source_type}'"
    pipeline = config.pipeline()
    would = [source]
    if isinstance(config.trained, Wired):
        would += _stages(config, config.trained)
    else:
        manifest = config.bundle.manifest
        chain = ", ".join(str(table["type"]) for table in manifest.features) or "taken as they are"
        model = f"{manifest.name} {manifest.version} ({pipeline.model.variant} on {pipeline.model.backend})"
        would += [
            f"turns samples into frames of {len(config.frame.channels)} values: {chain}",
            f"steps {model}, whose checksums agree and goldens pass, for up to {config.max_streams} streams at once",
            *_ends(config),
        ]
    if config.decider_table is None:
        whose = (
            "the configuration has no"
            if isinstance(config.trained, Wired)
            else "neither the configuration nor the bundle has a"
        )
        would.append(f"decides nothing: {whose} decider")
    else:
        keys = ", ".join(f"{key} = {value}" for key, value in config.decider_table.items() if key != "type")
        # A decider without `output` judges all there are.
        one, unit = hasattr(config.decider(), "output"), config.about.unit
        name = config.about.names[config.about.score] if one else ", ".join(config.about.names)
        whose = "the bundle's own" if config.decider_from_bundle else "the configured"
        would.append(
            f"judges {name}{f' in {unit}' if unit else ''} by {whose} {config.decider_table['type']}"
            + (f" ({keys})" if keys else "")
        )
    would += _waits(config)
    for sink, table in zip(config.sinks, config.sink_tables, strict=True):
        would.append(sink.check() if isinstance(sink, Checkable) else f"writes to {table['type']}")
    return [*would, *filter(None, [outbox_table.words(config)]), checkpoint_table.words(config)]


def _ends(config: Config) -> list[str]:
    """Return what comes of a stream that the model has no room for more of; nothing where it has."""
    graph = config.bundle.manifest.graphs[0]
    most = graph.max_steps
    if most is None:
        return []
    if all(state.reset == "gap" for state in graph.states):
        return [f"lets a stream's model begin anew behind {most:,} frames, as behind a gap"]
    return [f"fails where a stream brings more than {most:,} frames without a gap that resets it (gap_limit_s)"]


def _waits(config: Config) -> list[str]:
    """Return what happens where samples come too quickly, too late or not at all, a sentence each."""
    from edgeseq.pipeline.buffer import WORDS, default_samples

    most = config.buffer_samples or default_samples(config.source.spec.rate_hz)
    would = [f"lets up to {most:,} samples wait for the model; when more come, {WORDS[config.when_full]}"]
    if config.gaps.duty_cycle_s is not None:
        would.append(f"takes the pause between records, one each {config.gaps.duty_cycle_s:g} s, for no gap")
    if config.silent_after_s is not None:
        would.append(f"raises an alert where nothing has come for {config.silent_after_s:g} s")
    return would


def _stages(config: Config, wired: Wired) -> list[str]:
    """Return what the stages would do, a sentence each, and what comes of them."""
    chain = wired.chain
    frames = f"{chain.frames_per_step} frames" if chain.frames_per_step > 1 else "a frame"
    about = f"steps {wired.model} ({chain.backend}) by {frames} of {chain.features} values"
    if chain.signal:
        late = chain.delay * chain.frames_per_step
        gives = f"gives a signal at {config.about.signal_hz:g} Hz, {late} samples late"
    else:
        gives = f"gives {chain.outputs} values a step: {', '.join(wired.names[:FEW])}" + (
            " ..." * (chain.outputs > FEW)
        )
    return [f"{about}, for up to {config.max_streams} streams at once", *chain.words(), gives]
