"""The recipe's command line: judge on bearings left out, then learn from all of them and write the bundle."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.bearing import numbers
from zoo.bearing.data import DataError, read_runs
from zoo.bearing.fit import Recipe, train
from zoo.bearing.judge import accuracy, leave_one_out
from zoo.bearing.ship import ship

DESCRIPTION = """\
Trains a small GRU that tells the remaining life of rolling bearings from raw vibration. First each bearing is left out
in turn and judged by models that learned from the others, one a seed; then the model that ships learns from all."""

EPILOG = """\
Writes to the output folder: the bundle, and numbers.json.
Example: python -m zoo.bearing.train --data ~/femto"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    options = parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind; faster, too, at this size
    recipe = dataclasses.replace(Recipe(), updates=options.updates)
    try:
        runs = read_runs(options.data)
        options.output.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("training", total=recipe.updates * (len(runs) * len(options.seeds) + 1))
            judged = leave_one_out(runs, options.seeds, recipe, lambda: bar.advance(task))
            shipped = train(runs, options.seeds[0], recipe, lambda: bar.advance(task))
        numbers.write(options.output / "numbers.json", judged, shipped)
        ship(shipped, options.output / "bundle", lambda model: accuracy(judged, model.variant))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{numbers.table(judged)}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m zoo.bearing.train",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with BearingC_N.tar.xz, or folders BearingC_N"
    )
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="N", help="the first one ships; default: 0 1 2"
    )
    parser.add_argument(
        "--updates",
        type=positive,
        default=Recipe().updates,
        metavar="N",
        help="default: %(default)s; fewer to try it out",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/bearing"), metavar="DIR", help="default: build/bearing"
    )
    return parser.parse_args(arguments)


def positive(text: str) -> int:
    """Read a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
