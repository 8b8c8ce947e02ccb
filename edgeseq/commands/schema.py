"""`edgeseq schema`: what subscribers are sent, as JSON Schema."""

from __future__ import annotations

import argparse
from importlib.resources import files

HELP = """\
Prints the JSON Schema (2020-12) of all that sinks send: under $defs `event`, `state`, `status` and `health`.

  edgeseq schema > edgeseq.schema.json

Under one schema number, which every payload carries, fields are only ever added. Exit status: 0."""


def arguments(_parser: argparse.ArgumentParser) -> None:
    """Add nothing: there is one schema."""


def main(_args: argparse.Namespace) -> int:
    """Print it."""
    print(files("edgeseq").joinpath("schema.json").read_text("utf-8"), end="")
    return 0
