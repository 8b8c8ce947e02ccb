"""The recipe's command line: train, choose, save, and only then hear the test's speakers, once."""

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
from zoo.keyword import numbers
from zoo.keyword.data import Clip, DataError, part, read_clips
from zoo.keyword.fit import Recipe, Trained, hearing, train
from zoo.keyword.judge import Candidate, Verdict, judge_on_test
from zoo.keyword.ship import VARIANTS, ship, stepping
from zoo.keyword.store import load, save
from zoo.networks import runner

DESCRIPTION = """\
Trains a small causal network that recognizes ten spoken commands in a stream of sound. It learns from endless streams:
words of many people over noise, one after another, never reset. A quarter of the speakers are kept for the test; each
seed holds out others, on which its threshold is set. The test is heard once, after all that, and judges every seed."""

EPILOG = """\
Writes to the output folder: seed-N.npz (weights, statistics, calibration sound, threshold) and the bundle seed-N for
each seed, the bundle that ships as bundle, and numbers.json.
Example: python -m zoo.keyword.train --data ~/speech_commands_test"""


def train_seeds(clips: Sequence[Clip], seeds: Sequence[int], recipe: Recipe, output: Path) -> list[Trained]:
    """Train one model a seed, with a progress bar on standard error; save each as soon as it is trained."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total} updates"))
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=recipe.updates * len(seeds))
        models = []
        for seed in seeds:
            bar.update(task, description=f"seed {seed}")
            models.append(train(clips, seed, recipe, lambda: bar.advance(task)))
            save(models[-1], saved(output, seed))
    return models


def trained_before(seeds: Sequence[int], output: Path) -> list[Trained]:
    """Load what `train_seeds` saved. Raises DataError where a seed is missing."""
    missing = [str(saved(output, seed)) for seed in seeds if not saved(output, seed).is_file()]
    if missing:
        raise DataError(f"{missing[0]}: there is no such file; train that seed first, without --again.")
    return [load(saved(output, seed)) for seed in seeds]


def saved(output: Path, seed: int) -> Path:
    """Where a seed's trained model is kept."""
    return output / f"seed-{seed}.npz"


def candidates(trained: Trained, bundle: Bundle) -> dict[str, Candidate]:
    """Give what is judged of one seed: the network as trained, and every variant of its bundle as a device runs it."""
    runs = {"trained": runner(trained.module)}
    runs |= {variant: stepping(edgeseq.load(bundle, variant=variant)) for variant in VARIANTS}
    return {name: Candidate(hearing(run, trained.mean, trained.std), trained.threshold) for name, run in runs.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; give the exit status."""
    given = parse(arguments)
    torch.set_num_threads(1)  # the same sums in the same order on every machine of one kind; faster, too, at this size
    try:
        clips = read_clips(given.data)
        if given.again:
            models = trained_before(given.seeds, given.output)
        else:
            given.output.mkdir(parents=True, exist_ok=True)
            recipe = dataclasses.replace(Recipe(), updates=given.updates)
            models = train_seeds(part(clips, "train"), given.seeds, recipe, given.output)
    except DataError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    shipped = max(models, key=lambda trained: trained.accuracy_held_out)
    found: dict[str, Candidate] = {}
    with Console(stderr=True).status("exporting") as status:
        for trained in models:
            status.update(f"exporting seed {trained.seed}")
            bundle = ship(trained, given.output / f"seed-{trained.seed}")
            found |= {f"{trained.seed} {name}": one for name, one in candidates(trained, bundle).items()}
        status.update("judging on the test's speakers")
        # Nothing is left to choose: the models meet the test here, and only here.
        judged = judge_on_test(part(clips, "test"), found)
        verdicts: dict[int, dict[str, Verdict]] = {trained.seed: {} for trained in models}
        for name, verdict in judged.items():
            seed, _, variant = name.partition(" ")
            verdicts[int(seed)][variant] = verdict
        status.update("writing the bundle")
        ship(shipped, given.output / "bundle", lambda model: verdicts[shipped.seed][model.variant].flat())
    numbers.write(given.output / "numbers.json", models, shipped.seed, verdicts)
    sys.stdout.write(f"{numbers.table(models, shipped.seed, verdicts)}\n")
    return 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = options.parser(
        "keyword",
        DESCRIPTION,
        EPILOG,
        data="_silence_, _unknown_, down, go … of clips",
        seeds=range(5),
        rounds=("updates", Recipe().updates),
    )
    again = "export and judge the seeds saved in the output folder again, without training"
    parser.add_argument("--again", action="store_true", help=again)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
