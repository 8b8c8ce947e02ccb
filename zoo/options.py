"""What the recipes' command lines have in common."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path


def parser(
    recipe: str, description: str, epilog: str, *, data: str, seeds: Sequence[int], rounds: tuple[str, int]
) -> argparse.ArgumentParser:
    """Return a recipe's parser: --data, --seeds, --output, and how long to train.

    data: what its folder holds. seeds: by default. rounds: what training counts in, `updates` or `epochs`, and how many
    of them there are by default.
    """
    made = argparse.ArgumentParser(
        prog=f"python -m zoo.{recipe}.train",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what, count = rounds
    default = " ".join(map(str, seeds))
    made.add_argument("--data", type=Path, required=True, metavar="DIR", help=f"folder with {data}")
    made.add_argument(
        "--seeds", type=int, nargs="+", default=[*seeds], metavar="N", help=f"one model each; default: {default}"
    )
    made.add_argument(
        f"--{what}", type=_positive, default=count, metavar="N", help="default: %(default)s; fewer to try it out"
    )
    made.add_argument("--output", type=Path, default=Path("build") / recipe, metavar="DIR", help="default: %(default)s")
    return made


def _positive(text: str) -> int:
    """Read a whole number above 0."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value
