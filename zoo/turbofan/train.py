"""The recipe's command line: train, choose, save, and only then read the test set, once."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import edgeseq
from edgeseq.bundle import Bundle
from zoo import options
from zoo.turbofan import numbers
from zoo.turbofan.data import SUBSETS, DataError, read_engines
from zoo.turbofan.fit import Recipe, Trained, runner, train
from zoo.turbofan.judge import Candidate, Verdict, judge_on_test
from zoo.turbofan.ship import VARIANTS, ship, stepping
from zoo.turbofan.store import save

DESCRIPTION = """\
Trains a small GRU that tells the remaining useful life of turbofan engines, one flight cycle at a time, from zero state
at the first cycle it sees. Each seed holds out engines of its own from training and chooses its epoch on them; the seed
with the least error there is the one to ship. The test set is read once, after all that, and judges every seed."""

EPILOG = """\
Writes to the output folder: seed-N.npz (weights, statistics, calibration frames, thresholds) and the bundle seed-N for
each seed, the bundle that ships as bundle, and numbers.json.
Example: python -m zoo.turbofan.train --data ~/CMAPSSData --subset FD001"""


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


def candidates(trained: Trained, bundle: Bundle) -> dict[str, Candidate]:
    """Give what is judged of one seed: the network as trained, and every variant of its bundle as a device runs it."""
    original = runner(trained.module, torch.float64)
    found = {"trained": Candidate(trained.standardizer, runner(trained.module), original)}
    for variant in VARIANTS:
        model = edgeseq.load(bundle, variant=variant)
        found[variant] = Candidate(trained.standardizer, stepping(model), original)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    given = parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind; faster, too, at this size
    try:
        recipe = dataclasses.replace(Recipe(), epochs=given.epochs)
        models = train_seeds(given.data, given.subset, given.seeds, recipe)
        given.output.mkdir(parents=True, exist_ok=True)
        shipped = choose(models)
        pairs: dict[tuple[int, str], Candidate] = {}
        with Console(stderr=True).status("exporting") as status:
            for trained in models:
                status.update(f"exporting seed {trained.seed}")
                save(trained, given.output / f"seed-{trained.seed}.npz")
                bundle = ship(trained, given.output / f"seed-{trained.seed}")
                pairs |= {(trained.seed, variant): c for variant, c in candidates(trained, bundle).items()}
            status.update("judging on the test set")
            # Nothing is left to choose: the models meet the test set here, and only here.
            names = {f"{seed} {variant}": candidate for (seed, variant), candidate in pairs.items()}
            judged = judge_on_test(given.data, given.subset, names)
            verdicts: dict[int, dict[str, Verdict]] = {trained.seed: {} for trained in models}
            for seed, variant in pairs:
                verdicts[seed][variant] = judged[f"{seed} {variant}"]
            status.update("writing the bundle")
            ship(shipped, given.output / "bundle", lambda model: verdicts[shipped.seed][model.variant].flat())
        numbers.write(given.output / "numbers.json", models, shipped.seed, verdicts)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{numbers.table(models, shipped.seed, verdicts)}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser(
        "turbofan",
        DESCRIPTION,
        EPILOG,
        data="train_*, test_* and RUL_*.txt[.gz]",
        seeds=range(5),
        rounds=("epochs", Recipe().epochs),
    )
    parser.add_argument("--subset", choices=SUBSETS, default="FD001", help="default: FD001")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
