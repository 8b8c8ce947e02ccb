"""`edgeseq run`: a pipeline as a service."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from pathlib import Path

HELP = """\
Runs the pipeline that a configuration describes: samples from the source, through the bundle's features and model, to
the decider, and its alerts to the sinks. It ends when the source does. SIGTERM or Ctrl-C ends it in good order: what
was read is finished, sinks deliver what they hold; a second one ends it at once. With a place for checkpoints it goes
on where it was, however it ended: [checkpoint] in the configuration, or systemd's StateDirectory=.

  edgeseq run pipeline.toml
  edgeseq run pipeline.toml --verbose           every event and connection as a line on stderr
  edgeseq run pipeline.toml --json              at the end, what was done as one JSON document on stdout

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


def main(args: argparse.Namespace) -> int:
    """Run until the source ends or a signal comes."""
    from edgeseq import config as configs
    from edgeseq.commands import _common
    from edgeseq.service import checkpoint_table

    _common.log_to_stderr(verbose=args.verbose)
    config = configs.load(args.config)
    sinks = config.sinks
    if args.json:
        from edgeseq.sinks.stdout import Stdout

        sinks = [sink for sink in sinks if not isinstance(sink, Stdout)]
    pipeline = config.pipeline(sinks=sinks)
    about, model = config.about, pipeline.model
    pipeline.memory.keeper = checkpoint_table.keeper(config, model)
    logging.getLogger(__name__).info(
        "%s on %s starts: %s, %s on %s", about.pipeline, about.device, about.model, model.variant, model.backend
    )
    with _common.stopped_by_signals(pipeline):
        summary = pipeline.run()
    if args.json:
        print(json.dumps(summary.table(), indent=2))
    else:
        print(_common.words(summary), file=sys.stderr)
    return 0
