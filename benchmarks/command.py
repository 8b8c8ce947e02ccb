"""What the benchmarks' command lines have in common: options, one core, a place for models, errors as sentences."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import DisagreementError
from edgeseq.errors import EdgeseqError

MIN_BLOCKS = 30


@dataclass(frozen=True)
class Options:
    """What was asked for. models: where bundles are kept. scratch: a folder that is gone afterwards."""

    models: Path
    scratch: Path
    backend: str
    blocks: int
    seed: int
    cpu_time: bool
    json: Path | None


def main(describe: str | None, measure: Callable[[Options], None]) -> int:
    """Read the command line, move to one core and measure."""
    parser = argparse.ArgumentParser(description=describe, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, help="keep exported models here; empty it when the exporter changed")
    parser.add_argument("--backend", default="native", help="what steps run on (default: native)")
    parser.add_argument("--blocks", type=int, default=40, help="blocks of each contender (default: 40)")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which blocks follow each other")
    parser.add_argument("--cpu-time", action="store_true", help="count the core's time, for a machine that others use")
    parser.add_argument("--core", type=int, help="which core (default: the last one that may be used)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here as well")
    given = parser.parse_args()
    if given.blocks < MIN_BLOCKS:
        parser.error(f"--blocks must be at least {MIN_BLOCKS}: fewer give no interval worth the name.")
    one_core(given.core)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        models = given.models or scratch
        models.mkdir(parents=True, exist_ok=True)
        try:
            measure(Options(models, scratch, given.backend, given.blocks, given.seed, given.cpu_time, given.json))
        except (EdgeseqError, DisagreementError) as reason:
            sys.stderr.write(f"{reason}\n")
            return 1
    return 0


def one_core(core: int | None) -> None:
    """Stay on one core from here on, where the system knows how."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0)) if core is None else core})
