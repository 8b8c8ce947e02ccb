"""Writes the demo's data: the test engines with the longest records, as one table, and the truth about them.

They are chosen by that rule alone, before any prediction: a long record shows an engine wearing out.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

from zoo.turbofan.data import CHANNELS, DataError, read_engines, read_rul

ENGINES = 8
SUBSET = "FD001"


def write(data: Path, folder: Path) -> list[int]:
    """Write engines.csv and truth.csv into a folder; return the engines' numbers. Raises DataError.

    engines.csv: unit, cycle and the 24 channels in their units. truth.csv: stream, frames, rul (cycles left at the
    record's end).
    """
    engines = read_engines(data, "test", SUBSET)
    truth = read_rul(data, SUBSET, len(engines))
    longest = sorted(range(len(engines)), key=lambda index: -engines[index].cycles)[:ENGINES]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "engines.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["unit", "cycle", *(name for name, _ in CHANNELS)])
        for index in sorted(longest):
            engine = engines[index]
            for cycle, row in enumerate(engine.values.tolist(), start=1):
                table.writerow([engine.number, cycle, *(f"{value:.6g}" for value in row)])
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["stream", "frames", "rul"])
        table.writerows([engines[i].number, engines[i].cycles, f"{truth[i]:.0f}"] for i in sorted(longest))
    return [engines[index].number for index in sorted(longest)]


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m zoo.turbofan.sample", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with NASA's C-MAPSS files")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "sample", help="where to write")
    args = parser.parse_args()
    try:
        print(*write(args.data, args.output))  # noqa: T201 - the command's output
    except DataError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the user's error
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
