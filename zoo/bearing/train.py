"""The recipe's command line: judge on bearings left out, then learn from all of them and write the bundle."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from zoo import options
from zoo.bearing import numbers
from zoo.bearing.data import DataError, read_runs
from zoo.bearing.fit import Recipe, train
from zoo.bearing.judge import accuracy, leave_one_out
from zoo.bearing.ship import ship

DESCRIPTION = """\
Trains a small GRU that tells the remaining life of rolling bearings from raw vibration. First each bearing is left out
in turn and judged by models that learned from the others, one a seed; then the model that ships learns from all."""

EPILOG = """\
Writes to the output folder: the bundle, which the first seed makes, and numbers.json.
Example: python -m zoo.bearing.train --data ~/femto"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    given = parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind; faster, too, at this size
    recipe = dataclasses.replace(Recipe(), updates=given.updates)
    try:
        runs = read_runs(given.data)
        given.output.mkdir(parents=True, exist_ok=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task("training", total=recipe.updates * (len(runs) * len(given.seeds) + 1))
            judged = leave_one_out(runs, given.seeds, recipe, lambda: bar.advance(task))
            shipped = train(runs, given.seeds[0], recipe, lambda: bar.advance(task))
        numbers.write(given.output / "numbers.json", judged, shipped)
        ship(shipped, given.output / "bundle", lambda model: accuracy(judged, model.variant))
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{numbers.table(judged)}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    return options.parser(
        "bearing",
        DESCRIPTION,
        EPILOG,
        data="BearingC_N.tar.xz, or folders BearingC_N",
        seeds=(0, 1, 2),
        rounds=("updates", Recipe().updates),
    ).parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
