"""`edgeseq verify`: does the bundle compute here what it computed where it was exported?"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from edgeseq import backends, text
from edgeseq import bundle as bundles
from edgeseq.verification import feature_goldens, first_load, verify

HELP = """\
Replays a bundle's golden frames on this device, on every variant and backend, and compares the outputs with those of
the model as it was trained. A variant passes if its error stays within the tolerance that the export derived. So does
the feature chain, `features`, on raw golden samples.

examples:
  edgeseq verify zoo/turbofan/bundle
  edgeseq verify my-bundle --json"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("bundle", type=Path, help="the folder that `edgeseq export` wrote")
    parser.add_argument("--json", action="store_true", help="one JSON document instead of the table")


def main(args: argparse.Namespace) -> int:
    """Verify; exit status 1 if any variant fails."""
    opened = bundles.read(args.bundle)
    verdicts = verify.verify(opened)
    first_load.remember(opened, verdicts)
    for backend, reason in backends.absent(opened).items():
        print(f"{backend} was left out: {reason}", file=sys.stderr)
    if opened.manifest.features and not feature_goldens.there(opened):
        print(f"features were left out: the bundle has no {feature_goldens.FILE}; export it again", file=sys.stderr)
    if args.json:
        print(json.dumps({"bundle": str(args.bundle), "variants": [asdict(verdict) for verdict in verdicts]}, indent=2))
    else:
        _show(opened, verdicts)
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _show(opened: bundles.Bundle, verdicts: list[verify.Verdict]) -> None:
    """Print a line a verdict, whole also where the terminal is narrow: half a number is another number."""
    from rich.console import Console
    from rich.text import Text

    rows = [
        [
            *(v.variant, v.backend, f"{v.steps:,}", f"{v.max_abs_err:.2g}", f"{v.rms_err:.2g}"),
            *(f"{v.metric} {v.tolerance:.2g}", "passed" if v.passed else "FAILED"),
        ]
        for v in verdicts
    ]
    headings = ("variant", "backend", "steps", "max error", "rms error", "tolerance", "verdict")
    lines = Text(f"{opened.manifest.name} {opened.manifest.version}\n\n{text.table(headings, rows, left=2)}")
    lines.highlight_words(["passed"], "green")
    lines.highlight_words(["FAILED"], "bold red")
    console = Console(highlight=False)
    console.print(lines, soft_wrap=True)
    for v in verdicts:
        if v.reason is not None:
            console.print(f"{v.variant} on {v.backend}: {v.reason}", markup=False, soft_wrap=True)
