"""What `edgeseq bench` does with documents: --compare, and --html for what was measured just now."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeseq.errors import ConfigError

MAX_DOCUMENTS = 16


def arguments(parser: argparse.ArgumentParser, measuring: Sequence[str]) -> None:
    """Add the arguments. measuring: the names of those that say what to measure, and how: none goes with --compare."""
    add = parser.add_argument
    add("--html", type=Path, metavar="FILE", help="also write a page with the histograms")
    add("--compare", nargs="+", type=Path, metavar="JSON", help="documents of --json to set side by side")
    parser.set_defaults(measuring=measuring)


def asked(args: argparse.Namespace) -> bool:
    """Return whether documents are to be compared; see that the arguments fit together. Raises ConfigError."""
    from edgeseq import whole

    if args.compare and args.bundle:
        raise ConfigError(
            "--compare reads documents and measures nothing; leave BUNDLE out, or measure with --json first."
        )
    if args.compare:
        for name in args.measuring:
            if getattr(args, name) is not None:
                raise ConfigError(f"--{name} says what to measure; --compare reads documents and measures nothing.")
    if not args.compare and not args.bundle:
        raise ConfigError("name a BUNDLE to measure, or documents to --compare.")
    if args.html:
        # Seen before anything is measured, which may take long.
        whole.check(args.html, "--html")
        if args.html.exists() and any(path.exists() and path.samefile(args.html) for path in args.compare or ()):
            raise ConfigError(f"--html {args.html}: is one of the documents that are compared.")
    return bool(args.compare)


def main(args: argparse.Namespace) -> int:
    """Read the documents, compare and print."""
    from edgeseq.comparison import documents, runs, table

    if len(args.compare) > MAX_DOCUMENTS:
        raise ConfigError(f"--compare takes at most {MAX_DOCUMENTS} documents; these are {len(args.compare)}.")
    compared = runs.named([(path.stem, documents.read(path)) for path in args.compare])
    if args.json:
        print(json.dumps({"files": [str(path) for path in args.compare], **table.document(compared)}, indent=2))
    else:
        print(table.text(compared))
    if args.html:
        _write(args.html, compared)
    return 0


def write_page(path: Path, device: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write the page of what was measured just now."""
    from edgeseq.comparison import documents, runs

    _write(path, runs.named([("this device", documents.measured(device, results))]))


def _write(path: Path, compared: Any) -> None:
    from edgeseq import whole
    from edgeseq.comparison.page import page

    whole.write(path, page(compared), "--html")
    print(f"page: {path}", file=sys.stderr)
