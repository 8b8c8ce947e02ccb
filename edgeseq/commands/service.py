"""`edgeseq service`: a configuration as a service of systemd."""

from __future__ import annotations

import argparse
import json
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeseq.service.steps import Step

HELP = """\
Makes a service of systemd out of a configuration: it starts with the system, is started anew when it ends or hangs, and
may do nothing but its work.

  sudo edgeseq service install /etc/edgeseq/pump.toml        as often as you like; after every change, too
  edgeseq service install /etc/edgeseq/pump.toml --dry-run   say what would be done
  edgeseq service unit /etc/edgeseq/pump.toml                print the unit that would be written
  sudo edgeseq service uninstall /etc/edgeseq/pump.toml      what the service remembers stays, without --purge

`install` makes the user edgeseq, /var/lib/edgeseq/<pipeline> and /var/cache/edgeseq, compiles there what the model
needs, replays its goldens, writes edgeseq-<pipeline>.service and starts it: it returns once the service is ready. Then:

  systemctl status edgeseq-pump
  journalctl --unit edgeseq-pump

The configuration's table [service] says more: docs/service.md. Exit status: 0 done, 1 failed, 2 configuration."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    install = actions.add_parser("install", help="make the service, or make it anew, and start it")
    uninstall = actions.add_parser("uninstall", help="stop it and take it away")
    unit = actions.add_parser("unit", help="print the unit")
    for action in (install, uninstall, unit):
        action.add_argument("config", type=Path, metavar="CONFIG", help="the pipeline's TOML file")
    uninstall.add_argument(
        "--purge", action="store_true", help="remove what it remembers; with the last service its user and cache, too"
    )
    for action in (install, uninstall):
        action.add_argument("--dry-run", action="store_true", help="only say what would be done")
        action.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Do it, and say what was done."""
    from edgeseq.service import install

    if args.action != "unit" and not args.dry_run:
        install.require_systemd()
    if args.action == "uninstall":
        return _carry_out(args, install.uninstalling(args.config, purge=args.purge))
    from edgeseq import config as configs
    from edgeseq.service import paths
    from edgeseq.service.unit import unit

    config, executable = configs.load(args.config), Path(sysconfig.get_path("scripts")) / "edgeseq"
    needed = paths.needed(config, executable)
    made = unit(config, executable, paths.shown(needed))
    if args.action == "unit":
        print(made.text, end="")
        return 0
    paths.check(needed)
    paths.check_written(config, made.state)
    return _carry_out(args, install.installing(made, executable))


def _carry_out(args: argparse.Namespace, steps: Sequence[Step]) -> int:
    from edgeseq.service.steps import carried_out

    outcomes = []
    for says, outcome in carried_out(steps, dry=args.dry_run):
        outcomes.append({"step": says, "outcome": outcome})
        if not args.json:
            print(f"{outcome:<8} {says}", flush=True)
    if args.json:
        print(json.dumps({"config": str(args.config), "steps": outcomes}, indent=2))
    return 0
