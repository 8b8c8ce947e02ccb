"""`edgeseq bridge`: microcontrollers on serial ports, watched, recorded and simulated."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeseq.errors import ConfigError, SourceError

if TYPE_CHECKING:
    from edgeseq.bridge.monitor import LineWatch, Moment, Watch
    from firmware_bridge.link import Description

HELP = """\
Devices on serial ports that speak edgeseq's wire (docs/wire.md), or write lines of text.

  edgeseq bridge ports                         the ports there are, by the names that stay with the devices
  edgeseq bridge monitor PORT                  who the device is, what it sends, what is lost, how its clock runs
  edgeseq bridge record PORT FILE              its samples into FILE, .csv or .parquet: t_ns, then the channels
  edgeseq bridge simulate --link /tmp/sensor   a device that is a program: the C side of the wire on a pseudo-terminal

monitor and record end by Ctrl-C, or after --seconds. A device that writes lines has no name for its channels and no
rate: --protocol csv, json or regex, with --channels, and --rate to record.

  edgeseq bridge monitor /dev/ttyACM0 --protocol csv --channels ms,x,y,z
  edgeseq bridge record /dev/ttyACM0 run.csv --protocol regex --pattern 'T=(?P<t>\\S+)' --channels t --rate 10

simulate needs a C compiler; `edgeseq bridge simulate --help` lists what the device can do, such as losing frames.
Exit status: 0 done, 1 failed, 2 usage."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    ports = actions.add_parser("ports", help="list the serial ports")
    ports.add_argument("--json", action="store_true", help="one JSON document on stdout")
    monitor = actions.add_parser("monitor", help="watch a device")
    record = actions.add_parser("record", help="write a device's samples into a file")
    for each in (monitor, record):
        each.add_argument("port", metavar="PORT", help="the device's path")
        each.add_argument("--baud", type=int, default=115_200, help="bits a second (default 115200); USB has none")
        each.add_argument("--seconds", type=float, metavar="S", help="end after so long")
        lines = each.add_argument_group("devices that write lines of text")
        lines.add_argument("--protocol", choices=["csv", "json", "regex"], help="what a line is; default: frames")
        lines.add_argument(
            "--channels", metavar="A,B,C", help="which values to take; default: all of a device's frames"
        )
        lines.add_argument("--header", metavar="A,B,C", help="csv: names of all cells; default: the channels")
        lines.add_argument("--delimiter", default=",", help="csv: between cells (default: a comma)")
        lines.add_argument("--pattern", metavar="RE", help="regex: with a group (?P<name>...) for each channel")
        each.add_argument("--json", action="store_true", help="what was seen as one JSON document on stdout at the end")
    record.add_argument("file", type=Path, metavar="FILE", help=".csv or .parquet")
    record.add_argument("--rate", type=float, metavar="HZ", help="samples a second; default: as the device says")
    record.add_argument("--samples", type=int, metavar="N", help="end after so many")
    record.add_argument("--streams", metavar="0,1", help="ids of the device's streams (default 0)")
    # Its options are the program's own: to argparse they are words like any other.
    simulate = actions.add_parser("simulate", help="start a device that is a program", add_help=False, prefix_chars="+")
    simulate.add_argument("options", nargs="*")


def main(args: argparse.Namespace) -> int:
    """Do it."""
    from edgeseq.commands import _common
    from firmware_bridge.port import PortError
    from firmware_bridge.simulator import BuildError

    for name in ("seconds", "rate", "baud"):
        value = getattr(args, name, None)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"--{name} must be above 0, not {value:g}.")
    _common.log_to_stderr(verbose=False)
    try:
        return {"ports": _ports, "monitor": _monitor, "record": _record, "simulate": _simulate}[args.action](args)
    except (PortError, BuildError) as cause:
        raise SourceError(str(cause)) from cause


def _ports(args: argparse.Namespace) -> int:
    from firmware_bridge.port import ports

    found = ports()
    if args.json:
        print(
            json.dumps(
                {"ports": [{"path": p.path, "device": p.device, "what": p.description} for p in found]}, indent=2
            )
        )
    elif not found:
        print("no serial port is there")
    else:
        for port in found:
            print(f"{port.path}  {port.device}  {port.description}")
    return 0


def _simulate(args: argparse.Namespace) -> int:
    from edgeseq import cache
    from firmware_bridge import simulator

    folder = cache.folder("simulator")
    if folder is None:
        raise ConfigError("there is no home to build the simulated device in. Set EDGESEQ_CACHE to a folder.")
    try:
        program = simulator.build(folder)
    except OSError as cause:
        raise ConfigError(
            f"{folder}: no device can be built there: {cause.strerror}. EDGESEQ_CACHE names another folder."
        ) from cause
    sys.stdout.flush()
    # The program takes this process's place, so that signals and its exit status are its own.
    os.execv(program, ["edgeseq bridge simulate", *args.options])  # noqa: S606 - no shell, and a program of ours


def _monitor(args: argparse.Namespace) -> int:
    from edgeseq.bridge.monitor import LineWatch, Moment, Watch
    from edgeseq.commands import _common
    from firmware_bridge.port import Port

    watch: Watch | LineWatch
    watch = Watch() if args.protocol is None else LineWatch(_reader(args))
    known: dict[int, Description] = {}
    with Port(args.port, args.baud) as port, _common.stopped_by_signals(watch):
        for each in watch.run(port, args.seconds):
            if args.json:
                continue
            if isinstance(watch, Watch):
                _tell_streams(watch, known)
            print(_moment(watch, each) if isinstance(each, Moment) else f"{each.level}: {each.line}", flush=True)
    if args.json:
        print(json.dumps({"port": args.port, **watch.table()}, indent=2))
    return 0


def _tell_streams(watch: Watch, known: dict[int, Description]) -> None:
    """Say who the device is, as soon as it has said so."""
    for number, found in sorted(watch.link.streams.items()):
        if known.get(number) != found:
            known[number] = found
            channels = ", ".join(f"{c.name} [{c.unit or '-'}] x {c.scale:g}" for c in found.channels)
            print(f"stream {number}: {float(found.rate):g} Hz, {found.format}: {channels}")


def _moment(watch: Watch | LineWatch, moment: Moment) -> str:
    """Return a second in a line."""
    parts = [f"{moment.seconds:6.0f} s  {moment.bytes_per_s / 1000:.1f} kB/s"]
    for number, rate in sorted(moment.rates.items()):
        values = " ".join(f"{value:g}" for value in moment.last.get(number, []))
        parts.append(f"stream {number}: {rate:,.0f} samples/s  {values}")
    table = watch.table()
    counts = table.get("frames") or table["lines"]
    parts.append(
        ", ".join(f"{count:,} {name}" for name, count in counts.items() if count and name != "good") or "no loss"
    )
    clock = table.get("clock")
    if clock and clock["synchronized"]:
        parts.append(f"drift {clock['drift_ppm']:+.0f} ppm, round trip {clock['round_trip_us']:.0f} µs")
    return "  |  ".join(parts)


def _record(args: argparse.Namespace) -> int:
    from edgeseq.bridge.record import Recorder, Recording
    from edgeseq.commands import _common
    from edgeseq.sources.serial import Serial

    if args.samples is not None and args.samples < 1:
        raise ConfigError(f"--samples must be at least 1, not {args.samples}.")
    streams = None if args.streams is None else _ids(args.streams)
    source = Serial(**_source(args, streams or [0]), reconnect=True)
    recorder = Recorder(source, samples=args.samples, seconds=args.seconds)
    with (
        Recording(args.file, source.spec, streams=len(streams or []) > 1) as recording,
        _common.stopped_by_signals(recorder),
    ):
        for chunk in recorder.chunks():
            recording.write(chunk)
    dropped = {reason: count for reason, count in source.dropped.items() if count}
    done = {"file": str(args.file), "samples": recorder.samples, "gaps": recorder.gaps, "dropped": dropped}
    if args.json:
        print(json.dumps(done, indent=2))
    else:
        words = ", ".join(f"{count:,} {reason}" for reason, count in dropped.items())
        print(f"{recorder.samples:,} samples, {recorder.gaps:,} gaps{', ' + words if words else ''}", file=sys.stderr)
    return 0 if recorder.samples else 1


def _source(args: argparse.Namespace, streams: list[int]) -> dict[str, Any]:
    """Return the source's parameters; what was not said of a device with frames is asked of it."""
    channels = _names(args.channels)
    told: dict[str, Any] = {"port": args.port, "baud": args.baud, "rate_hz": args.rate, "channels": channels}
    if args.protocol is not None:
        _said(args.rate, "--rate", "lines of text have none of their own")
        _said(channels, "--channels", "lines of text have no names for their values")
        more = {"header": _names(args.header), "pattern": args.pattern}
        return {**told, "protocol": args.protocol, "delimiter": args.delimiter, **more}
    from edgeseq.sources._device import described
    from firmware_bridge.port import Port

    with Port(args.port, args.baud) as port:
        found = described(port, streams)
    if channels is None:
        from edgeseq.sources._table import Column

        told["channels"] = [Column(name=channel.name, unit=channel.unit) for channel in found.channels]
    return {**told, "rate_hz": args.rate or float(found.rate), "streams": streams}


def _reader(args: argparse.Namespace) -> Any:
    from edgeseq.sources._device_lines import reader

    channels = _names(args.channels)
    _said(channels, "--channels", "lines of text have no names for their values")
    return reader(channels or [], args.protocol, _names(args.header), args.delimiter, args.pattern)


def _said(value: object, option: str, why: str) -> None:
    if value is None:
        raise ConfigError(f"--protocol needs {option}: {why}.")


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",")]


def _ids(text: str) -> list[int]:
    try:
        return [int(each) for each in text.split(",")]
    except ValueError as cause:
        raise ConfigError(f"--streams lists numbers, such as 0,1, not {text!r}.") from cause
