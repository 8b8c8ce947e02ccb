"""`edgeseq replay`: the same pipeline over recorded data, into a file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from edgeseq.errors import ConfigError

HELP = """\
Runs the pipeline of a configuration over recorded data as fast as it goes and writes what comes out to a file. The
configuration's sinks are not opened, so no alert leaves the machine. The source must be one that reads files; --input
names another file for it. Same data, same outputs, bit for bit, as `edgeseq run` would give.

  edgeseq replay pipeline.toml --output today.jsonl
  edgeseq replay pipeline.toml --input march.parquet --output march.csv

The ending of --output tells the format:
  .jsonl     one JSON document a line, in order: outputs ("type": "output") and events ("type": "event")
  .csv       outputs only: t_ns, stream, level, warming, then each output by name
  .parquet   the same columns

The file appears when it is complete. Exit status: 0 done, 1 failed, 2 configuration."""

FILE_SOURCES = {".csv": "csv", ".parquet": "parquet"}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the pipeline's TOML file")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read this file instead of the configured one")
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help=".jsonl, .csv or .parquet")
    parser.add_argument("--verbose", action="store_true", help="log events as they come, not only trouble")
    parser.add_argument("--json", action="store_true", help="what was done as one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Replay and write."""
    from edgeseq import config as configs
    from edgeseq.commands import _common
    from edgeseq.record import Record

    _common.log_to_stderr(verbose=args.verbose)
    record = Record(args.output)
    source: dict[str, Any] = {"pace": "fast"}
    if args.input is not None:
        if not args.input.is_file():
            raise ConfigError(f"--input: {args.input}: there is no such file.")
        source["path"] = str(args.input.resolve())
        if args.input.suffix in FILE_SOURCES:
            source["type"] = FILE_SOURCES[args.input.suffix]
    config = configs.load(args.config, source=source)
    if args.output.exists() and args.output.resolve() == Path(str(config.source_table["path"])).resolve():
        raise ConfigError(f"--output: {args.output} is the file that is read.")
    pipeline = config.pipeline(sinks=[record])
    try:
        with _common.stopped_by_signals(pipeline):
            summary = pipeline.run()
        # A replay that was stopped is no replay of the data: half a file would look like a whole one.
        if not summary.stopped:
            record.keep()
    finally:
        record.discard()
    if args.json:
        print(json.dumps({"output": None if summary.stopped else str(args.output), **summary.table()}, indent=2))
    else:
        print(_common.words(summary), file=sys.stderr)
        if summary.stopped:
            print(f"  stopped before the data ended: {args.output} was not written", file=sys.stderr)
    return int(summary.stopped)
