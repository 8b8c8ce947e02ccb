"""`edgeseq doctor`: what this machine has and lacks for running well."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

HELP = """\
Says what this machine has and lacks for running edgeseq well: the processor and its clock, libraries that do not go
together, where things are kept and whether there is room, what this user may open, systemd.

  edgeseq doctor
  edgeseq doctor --json

`!` marks what could be better, `X` what keeps it from working. Exit status: 0 nothing does, 1 something does."""

SIGNS = {"ok": " ", "note": "!", "bad": "X"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Look, and say what there is."""
    from edgeseq import __version__, doctor

    found = [*doctor.findings()]
    healthy = not any(finding.level == "bad" for finding in found)
    if args.json:
        document = {"edgeseq": __version__, "healthy": healthy, "findings": [asdict(finding) for finding in found]}
        print(json.dumps(document, indent=2))
        return 0 if healthy else 1
    width = max(len(finding.topic) for finding in found)
    for finding in found:
        print(f"{SIGNS[finding.level]} {finding.topic:<{width}}  {finding.says}")
        if finding.do:
            print(f"  {'':<{width}}  -> {finding.do}")
    return 0 if healthy else 1
