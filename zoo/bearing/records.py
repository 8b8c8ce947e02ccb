"""Writes bearings as a table that a pipeline reads: a row a sample, a jump in time from one record to the next.

Without data, three made-up bearings. Then: edgeseq replay zoo/bearing/pipeline.toml --output bearings.jsonl
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from zoo.bearing import synthetic
from zoo.bearing.data import CHANNELS, RATE_HZ, SPEEDS_RPM, DataError, Run, read_runs


def write(runs: Iterable[Run], path: Path) -> None:
    """Write bearing, time (seconds from its first record on) and the channels in their units."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.write(",".join(["bearing", "time", *(name for name, _ in CHANNELS)]) + "\n")
        for run in runs:
            for t_s, record in zip(run.t_s.tolist(), run.samples, strict=True):
                times = t_s + np.arange(len(record)) / RATE_HZ
                file.writelines(
                    f"{run.name},{time:.9f},{one!r},{two!r},{speed!r}\n"
                    for time, (one, two, speed) in zip(times.tolist(), record.tolist(), strict=True)
                )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m zoo.bearing.records", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder with BearingC_N.tar.xz; default: made-up ones")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="bearings of the data; default: all")
    parser.add_argument(
        "--output", type=Path, default=Path("build/bearing/records.csv"), metavar="FILE", help="default: %(default)s"
    )
    options = parser.parse_args(arguments)
    try:
        runs = read_runs(options.data) if options.data else [synthetic.run(7, condition=key) for key in SPEEDS_RPM]
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    known = [run.name for run in runs]
    unknown = [name for name in options.only or [] if name not in known]
    if unknown:
        sys.stderr.write(f"There is no bearing {', '.join(unknown)}, only {', '.join(known)}.\n")
        return 1
    write((run for run in runs if not options.only or run.name in options.only), options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
