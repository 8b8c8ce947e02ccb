"""`edgeseq run`: a pipeline as a service."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeseq.service import logs

HELP = """\
Runs the pipeline that a configuration describes: samples from the source, through the bundle's features and model, to
the decider, and its alerts to the sinks. It ends when the source does. SIGTERM or Ctrl-C ends it in good order: what
was read is finished, sinks deliver what they hold; a second one ends it at once. With a place for checkpoints it goes
on where it was, however it ended: [checkpoint] in the configuration, or systemd's StateDirectory=.

  edgeseq run pipeline.toml
  edgeseq run pipeline.toml --verbose           every event and connection as a line on stderr
  edgeseq run pipeline.toml --json              at the end, what was done as one JSON document on stdout
  edgeseq run pipeline.toml --log json          logs, errors and the summary as lines of JSON on stderr

A configuration:

  name = "turbofan"
  [source]
  type = "csv"
  path = "engines.csv"                          relative to the configuration
  stream_column = "unit"                        many machines in one file, each with its own state
  pace = "real-time"                            or "fast", or 60 for a minute a second
  [model]
  bundle = "turbofan.bundle"
  [[sinks]]
  type = "mqtt"
  host = "localhost"

`edgeseq check` says what a configuration would do. Exit status: 0 ended or stopped, 1 failed, 2 configuration."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the pipeline's TOML file")
    parser.add_argument("--verbose", action="store_true", help="log events and connections, not only trouble")
    parser.add_argument(
        "--json", action="store_true", help="one JSON document on stdout at the end; a stdout sink is then silent"
    )
    parser.add_argument(
        "--log",
        choices=("text", "json"),
        help="what stderr is written in; default: text on a terminal, else JSON lines",
    )


def main(args: argparse.Namespace) -> int:
    """Run until the source ends or a signal comes."""
    from edgeseq.service import logs

    form = args.log or logs.default()
    with logs.errors_in(form):
        return _run(args, form)


def _run(args: argparse.Namespace, form: logs.Form) -> int:
    """Run, and write to stderr in a form."""
    from edgeseq import config as configs
    from edgeseq.commands import _common
    from edgeseq.service import checkpoint_table, logs, outbox_table
    from edgeseq.service.notify import Notify
    from edgeseq.service.warm import warm
    from edgeseq.service.watchdog import Watchdog

    _common.log_to_stderr(verbose=args.verbose, form=form)
    config = configs.load(args.config)
    sinks = list(config.sinks)
    if args.json:
        from edgeseq.sinks.stdout import Stdout

        sinks = [sink for sink in sinks if not isinstance(sink, Stdout)]
    sinks, delivery = outbox_table.behind(config, sinks)
    pipeline = config.pipeline(sinks=sinks)
    warm(pipeline.model, len(config.frame.channels))
    pipeline.turn = Watchdog(Notify(), pipeline).turn
    if delivery is not None:
        pipeline.memory.told = delivery.told
        delivery.summary = lambda: pipeline.summary().table()
    about, model = config.about, pipeline.model
    pipeline.memory.keeper = checkpoint_table.keeper(config, model)
    logging.getLogger(__name__).info(
        "%s on %s starts: %s, %s on %s", about.pipeline, about.device, about.model, model.variant, model.backend
    )
    with _common.stopped_by_signals(pipeline):
        summary = pipeline.run()
    if args.json:
        print(json.dumps(summary.table(), indent=2))
    elif form == "json":
        logs.say("info", _common.words(summary).splitlines()[0], **summary.table())
    else:
        print(_common.words(summary), file=sys.stderr)
    return 0
