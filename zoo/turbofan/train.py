"""The recipe's command line: train, choose, save, and only then read the test set, once."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from zoo.turbofan.data import SUBSETS, DataError, Standardizer, read_engines, read_rul
from zoo.turbofan.evaluate import Report, Run, report
from zoo.turbofan.fit import Recipe, Trained, runner, train
from zoo.turbofan.model import count
from zoo.turbofan.store import save

DESCRIPTION = """\
Trains a small GRU that tells the remaining useful life of turbofan engines, one flight cycle at a time, from zero state
at the first cycle it sees. Each seed holds out engines of its own from training and chooses its epoch on them; the seed
with the least error there is the one to ship. The test set is read once, after all that, and judges every seed."""

EPILOG = """\
Writes to the output folder: seed-N.npz (weights, statistics, calibration frames, thresholds) for each seed, and
numbers.json. Example: python -m zoo.turbofan.train --data ~/CMAPSSData --subset FD001"""


def train_seeds(folder: Path, subset: str, seeds: Sequence[int], recipe: Recipe) -> list[Trained]:
    """Train one model a seed on the training engines, with a progress bar on standard error."""
    engines = read_engines(folder, "train", subset)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} epochs"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=recipe.epochs * len(seeds))
        models = []
        for seed in seeds:
            bar.update(task, description=f"{subset} seed {seed}")
            models.append(train(engines, subset, seed, recipe, lambda: bar.advance(task)))
    return models


def choose(models: Sequence[Trained]) -> Trained:
    """Give the model to ship: the one with the least error on its held-out training engines."""
    return min(models, key=lambda trained: trained.rmse_held_out)


def judge_on_test(folder: Path, subset: str, models: Mapping[str, tuple[Standardizer, Run]]) -> dict[str, Report]:
    """Read the test set and score every model on it.

    The one place where models meet the test set. Call it once, when nothing is left to choose, with all models and
    variants of them.
    """
    engines = read_engines(folder, "test", subset)
    truth = read_rul(folder, subset, len(engines))
    return {
        name: report(run, [standardizer(engine.values) for engine in engines], truth)
        for name, (standardizer, run) in models.items()
    }


def flatten(scores: Report) -> dict[str, float]:
    """Name every number of a report: `whole.rmse_capped` and so on."""
    return {
        f"{view}.{measure}": value
        for view, score in dataclasses.asdict(scores).items()
        for measure, value in score.items()
    }


def spread(rows: Sequence[Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Give mean and standard deviation (n - 1 below the line; 0 for one row) of each number over seeds."""
    table = {name: [row[name] for row in rows] for name in rows[0]}
    mean = {name: float(np.mean(values)) for name, values in table.items()}
    std = {name: float(np.std(values, ddof=1)) if len(values) > 1 else 0.0 for name, values in table.items()}
    return mean, std


def write_numbers(output: Path, models: Sequence[Trained], reports: Mapping[str, Report]) -> str:
    """Write numbers.json and give the same as a table for people."""
    rows = {name: flatten(scores) for name, scores in reports.items()}
    mean, std = spread(list(rows.values()))
    document = {
        "subset": models[0].subset,
        "torch": torch.__version__,
        "parameters": count(models[0].module),
        "shipped_seed": choose(models).seed,
        "seeds": [
            {"seed": t.seed, "epoch": t.epoch, "held_out": t.held_out, "rmse_held_out": t.rmse_held_out, "test": row}
            for t, row in zip(models, rows.values(), strict=True)
        ],
        "mean": mean,
        "std": std,
    }
    (output / "numbers.json").write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    lines = [f"{'':24}" + "".join(f"{name:>10}" for name in rows) + f"{'mean':>10}{'std':>8}"]
    held = [t.rmse_held_out for t in models]
    lines.append(
        f"{'held out, rmse_capped':24}" + "".join(f"{value:10.2f}" for value in held) + f"{np.mean(held):10.2f}"
    )
    for measure, value in mean.items():
        cells = "".join(f"{row[measure]:10.2f}" for row in rows.values())
        lines.append(f"{measure:24}{cells}{value:10.2f}{std[measure]:8.2f}")
    lines.append(f"{document['parameters']} parameters; seed {document['shipped_seed']} ships.")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    options = parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind; faster, too, at this size
    try:
        recipe = dataclasses.replace(Recipe(), epochs=options.epochs)
        models = train_seeds(options.data, options.subset, options.seeds, recipe)
        options.output.mkdir(parents=True, exist_ok=True)
        for trained in models:
            save(trained, options.output / f"seed-{trained.seed}.npz")
        reports = judge_on_test(
            options.data,
            options.subset,
            {f"seed {trained.seed}": (trained.standardizer, runner(trained.module)) for trained in models},
        )
        table = write_numbers(options.output, models, reports)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{table}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m zoo.turbofan.train",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder with train_*, test_* and RUL_*.txt[.gz]"
    )
    parser.add_argument("--subset", choices=SUBSETS, default="FD001", help="default: FD001")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4], metavar="N", help="one model each; default: 0 1 2 3 4"
    )
    parser.add_argument(
        "--epochs",
        type=positive,
        default=Recipe().epochs,
        metavar="N",
        help="default: %(default)s; fewer to try it out",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("build/turbofan"), metavar="DIR", help="default: build/turbofan"
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
