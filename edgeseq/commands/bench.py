"""`edgeseq bench`: the latency of a bundle's step on this device."""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeseq.commands import _comparison
from edgeseq.errors import ConfigError

if TYPE_CHECKING:
    from edgeseq.bench import Case, Measured

HELP = """\
Measures how long one step of a bundle takes on this device, for every variant and backend that runs here: back to back,
which is full speed, and at every --rate besides.

Each is measured in a process of its own: `load` counts from a fresh Python to a model that is ready, `memory` is that
whole process once it is warm. A step is one call from Python, one frame in and one output out; `in run` is what a step
costs inside one call over 1,000 frames. A percentile stands only where at least 100 steps lie beyond it: 20,000 steps
give the 99th, 100,000 the 99.9th.

At a rate, step k is due at k / rate after the start, on CLOCK_MONOTONIC, whenever the ones before it ended; until then
the process sleeps, so that clocks and caches go cold as they do between a sensor's frames. `missed` counts the steps
that ended after the next one was due.

`least` is what a step takes at least on this core: until its weights and states are read once, and its float products
added up, at the rates that this core was just seen to reach; for integers, until they are read. `P50 is` so many times
that.

  edgeseq bench zoo/turbofan/bundle
  edgeseq bench BUNDLE --variant int8 --steps 100000
  edgeseq bench BUNDLE --rate 100 --duration 60     one step every 10 ms for a minute, besides full speed
  edgeseq bench BUNDLE --cpu 3 --fifo 80 --histogram here.hist
  edgeseq bench BUNDLE --json > here.json
  edgeseq bench BUNDLE --html here.html             a page with every histogram, which needs nothing beside it

--compare measures nothing: it sets documents that --json wrote against one another, from other devices too, and tells
what differs in how they were measured. Faster and slower are against the first. --html makes the page of it.

  edgeseq bench --compare here.json there.json --html both.html"""

STEPS = 20_000
MIN_RATE_HZ, MAX_RATE_HZ = 0.001, 1e6
MIN_DURATION_S, MAX_DURATION_S = 0.001, 7 * 86_400


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add = parser.add_argument
    add("bundle", nargs="*", type=Path, metavar="BUNDLE", help="a folder that `edgeseq export` wrote")
    measuring = [
        add("--variant", action="append", help="only this variant; may be given several times"),
        add("--backend", action="append", help="only this backend; may be given several times"),
        add("--steps", type=int, metavar="N", help=f"steps to measure of each (default: {STEPS})"),
        add("--duration", type=float, metavar="S", help="as many steps as take so many seconds, instead of --steps"),
        add("--rate", type=float, action="append", metavar="HZ", help="also at this rate; may be given several times"),
        add("--threads", type=int, metavar="N", help="threads of a step on ort and litert (default: 1)"),
        add("--cpu", type=int, action="append", metavar="N", help="stay on this core; may be given several times"),
        add("--fifo", type=int, metavar="PRIORITY", help="run as SCHED_FIFO with this priority, 1 to 99"),
        add("--histogram", type=Path, metavar="FILE", help="also write histograms as `cyclictest --histofile` does"),
    ]
    add("--json", action="store_true", help="one JSON document on stdout")
    _comparison.arguments(parser, [action.dest for action in measuring])


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    if _comparison.asked(args):
        return _comparison.main(args)
    from edgeseq import bench, whole
    from edgeseq.bench import report, scheduling

    _check(args)
    scheduling.check(args.cpu or [], args.fifo)
    if args.histogram:
        whole.check(args.histogram, "--histogram")
    device = bench.device()
    measured = _measured([case for path in args.bundle for case in _cases(path, args)])
    results = [each.result for each in measured]
    if args.json:
        print(json.dumps({"device": device, "results": results}, indent=2))
    else:
        print(report.text(device, results), end="")
    if args.histogram:
        _write_histogram(args.histogram, measured)
    if args.html:
        _comparison.write_page(args.html, device, results)
    return 0


def _check(args: argparse.Namespace) -> None:
    """See that the numbers can be measured by. Raises ConfigError."""
    from edgeseq.bench.timed import MAX_STEPS

    if args.steps is not None and args.duration is not None:
        raise ConfigError("--steps and --duration both say when to stop; give one of them.")
    if args.steps is not None and not 1 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps must lie between 1 and {MAX_STEPS:,}.")
    if args.duration is not None and not MIN_DURATION_S <= args.duration <= MAX_DURATION_S:
        raise ConfigError(f"--duration is in seconds and must lie between {MIN_DURATION_S:g} and {MAX_DURATION_S:,}.")
    if not all(MIN_RATE_HZ <= rate <= MAX_RATE_HZ for rate in args.rate or ()):
        raise ConfigError(f"--rate is in steps a second and must lie between {MIN_RATE_HZ:g} and {MAX_RATE_HZ:g}.")
    cores = os.cpu_count() or 1
    if args.threads is not None and not 1 <= args.threads <= cores:
        raise ConfigError(f"--threads must lie between 1 and {cores}, the cores of this machine.")


def _cases(path: Path, args: argparse.Namespace) -> Iterator[Case]:
    """Give what is to be measured of one bundle: of each variant on each backend, full speed, then every rate."""
    from edgeseq.bench import Case

    for backend, variant in _chosen(path, args):
        for rate in (None, *dict.fromkeys(args.rate or ())):
            yield Case(
                bundle=str(path),
                backend=backend,
                variant=variant,
                steps=args.steps or (None if args.duration else STEPS),
                duration_s=args.duration,
                rate_hz=rate,
                threads=args.threads or 1,
                cpus=sorted(set(args.cpu or ())),
                fifo_priority=args.fifo,
            )


def _chosen(path: Path, args: argparse.Namespace) -> list[tuple[str, str]]:
    """Return the (backend, variant) pairs asked for. Raises ConfigError where the bundle has none of them."""
    from edgeseq import bundle
    from edgeseq.backends import NATIVE, absent, choices
    from edgeseq.tables import suggest

    opened = bundle.read(path)
    if opened.encoder_decoder:
        raise ConfigError(f"{path}: holds an encoder and a decoder; bench measures bundles of a single step.")
    there, left_out = choices(opened), absent(opened)
    if (args.threads or 1) > 1 and any(backend == NATIVE for backend, _ in there):
        there = [(backend, variant) for backend, variant in there if backend != NATIVE]
        left_out[NATIVE] = (
            f"--threads {args.threads}: the backend 'native' steps on one thread; ort and litert take more."
        )
    for what, asked, known in (
        ("backend", args.backend, {backend for backend, _ in there}),
        ("variant", args.variant, {variant for _, variant in there}),
    ):
        for name in asked or ():
            if name in left_out:
                raise ConfigError(left_out[name])
            if name not in known:
                raise ConfigError(f"{path}: has no {what} '{name}' to run here. {suggest(name, known)}")
    for backend, reason in left_out.items():
        print(f"{backend} was left out: {reason}", file=sys.stderr)
    wanted = [
        (backend, variant)
        for backend, variant in there
        if (not args.backend or backend in args.backend) and (not args.variant or variant in args.variant)
    ]
    if not wanted:
        raise ConfigError(f"{path}: has no such variant for such a backend; it has {there}.")
    return wanted


def _measured(cases: list[Case]) -> list[Measured]:
    """Measure one after the other, and show on a terminal which; that is wiped at the end."""
    from edgeseq import bench

    shown, measured = sys.stderr.isatty(), []
    for done, case in enumerate(cases, start=1):
        if shown:
            lasts = case.duration_s or (case.steps or 0) / (case.rate_hz or math.inf)
            at = ("" if case.rate_hz is None else f" at {case.rate_hz:g} Hz") + (f", {lasts:,.0f} s" if lasts else "")
            what = f"{done} of {len(cases)}: {case.bundle}, {case.variant} on {case.backend}{at} ..."
            print(f"\r\033[K{what}", end="", file=sys.stderr, flush=True)
        measured.append(bench.measure(case))
    if shown:
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    return measured


def _write_histogram(path: Path, measured: list[Measured]) -> None:
    """Write cyclictest's file and say which of its columns is what."""
    from edgeseq import whole
    from edgeseq.bench import cyclictest

    whole.write(path, cyclictest.text([each.microseconds for each in measured]), "--histogram")
    legend = "".join(f"\n  {index}  {_title(each)}" for index, each in enumerate(measured))
    print(f"histogram: {path}, its columns:{legend}", file=sys.stderr)


def _title(measured: Measured) -> str:
    row = measured.result
    cadence = "" if row["rate_hz"] is None else f" at {row['rate_hz']:g} Hz"
    return f"{row['name']}, {row['variant']} on {row['backend']}{cadence}"
