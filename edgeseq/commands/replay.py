"""`edgeseq replay`: the same pipeline over recorded data, into a file."""

from __future__ import annotations

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from edgeseq.errors import ConfigError

HELP = """\
Runs the pipeline of a configuration over recorded data as fast as it goes and writes what comes out to a file. The
configuration's sinks are not opened, so no alert leaves the machine. --input names a file to read instead of the
configured source: .csv, .parquet, .wav, .flac or .ogg, with the same columns and keys. Same data, same outputs, bit for
bit, as `edgeseq run` would give.

  edgeseq replay pipeline.toml --output today.jsonl
  edgeseq replay pipeline.toml --input march.parquet --output march.csv
  edgeseq replay dtln.toml --input noisy.wav --output clean.wav

The ending of --output tells the format:
  .jsonl     one JSON document a line, in order: outputs ("type": "output") and events ("type": "event")
  .csv       outputs only: t_ns, stream, level, warming, then each output by name
  .parquet   the same columns
  .wav       the signal, where the model gives one; sample for sample in line with the input

The file appears when it is complete. Exit status: 0 done, 1 failed, 2 configuration."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("config", type=Path, metavar="CONFIG", help="the pipeline's TOML file")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read this file instead of the configured one")
    parser.add_argument("--output", type=Path, metavar="FILE", required=True, help=".jsonl, .csv, .parquet or .wav")
    parser.add_argument("--verbose", action="store_true", help="log events as they come, not only trouble")
    parser.add_argument("--json", action="store_true", help="what was done as one JSON document on stdout")


def _source(config: Path, data: Path | None) -> dict[str, Any]:
    """Return the keys that make the configured source read a file as fast as it goes."""
    from edgeseq import plugins, tables
    from edgeseq.recordings import files

    source: dict[str, Any] = {}
    if data is not None:
        if not data.is_file():
            raise ConfigError(f"--input: {data}: there is no such file.")
        source["path"] = str(data.resolve())
        if data.suffix in files.SOURCES:
            source["type"] = files.SOURCES[data.suffix]
    configured = tables.read(config).table.get("source")
    name = source.get("type") or (configured.get("type") if isinstance(configured, dict) else None)
    try:
        known = inspect.signature(plugins.find("sources", str(name))).parameters
    except KeyError:
        # Said better, with its line, when the configuration is loaded.
        return source
    if "path" not in known:
        raise ConfigError(
            f"a source of type '{name}' reads no file; replay takes --input FILE ({', '.join(files.SOURCES)})."
        )
    if "device" in known and data is not None:
        source["device"] = None  # the file is heard in its place
    return {**source, "pace": "fast"} if "pace" in known else source


def main(args: argparse.Namespace) -> int:
    """Replay and write."""
    from edgeseq import config as configs
    from edgeseq import tables
    from edgeseq.commands import _common
    from edgeseq.recordings.record import Record
    from edgeseq.types import Live

    _common.log_to_stderr(verbose=args.verbose)
    record = Record(args.output)
    config = configs.load(args.config, source=_source(args.config, args.input))
    if isinstance(config.source, Live) and config.source.live:
        raise ConfigError("the source measures now, and is not recorded data; replay takes --input FILE.")
    read = config.source_table.get("path")
    if read and args.output.resolve() == tables.path(config.document.path.parent, str(read)).resolve():
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
