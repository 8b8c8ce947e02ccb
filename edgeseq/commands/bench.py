"""`edgeseq bench`: the latency of a bundle's step on this device."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeseq.commands import _comparison
from edgeseq.errors import ConfigError

HELP = """\
Measures how long one step of a bundle takes on this device, for every variant and backend that runs here.

Each is measured in a process of its own: `load` counts from a fresh Python to a model that is ready, `memory` is that
whole process. A step is one call from Python, one frame in and one output out, on one thread; `in run` is what a step
costs inside one call over 1,000 frames. A percentile stands only where at least 100 steps lie beyond it: 20,000 steps
give the 99th, 100,000 the 99.9th.

  edgeseq bench zoo/turbofan/bundle
  edgeseq bench BUNDLE --variant int8 --steps 100000
  edgeseq bench BUNDLE --rate 100         one step every 10 ms, as a sensor has it: caches and clocks go cold between
  edgeseq bench BUNDLE --json > here.json
  edgeseq bench BUNDLE --html here.html   a page with every histogram, which needs nothing beside it

--compare measures nothing: it sets documents that --json wrote against one another, from other devices too, and tells
what differs in how they were measured. Faster and slower are against the first. --html makes the page of it.

  edgeseq bench --compare here.json there.json --html both.html"""

MAX_STEPS = 100_000_000
"""Each is kept until the end, in 16 bytes."""
MIN_RATE_HZ, MAX_RATE_HZ = 0.001, 1e6
HEADINGS = ("variant", "backend", "median", "p90", "p99", "p99.9", "max", "in run", "first", "load ms", "memory MB")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("bundle", nargs="*", type=Path, metavar="BUNDLE", help="a folder that `edgeseq export` wrote")
    parser.add_argument("--variant", action="append", help="only this variant; may be given several times")
    parser.add_argument("--backend", action="append", help="only this backend; may be given several times")
    parser.add_argument("--steps", type=int, default=20_000, help="steps to measure of each (default: 20000)")
    parser.add_argument("--threads", type=int, choices=[1], default=1, help="threads of a step: one, on all backends")
    parser.add_argument("--rate", type=float, metavar="HZ", help="pace the steps at this rate (default: back to back)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    _comparison.arguments(parser)


def main(args: argparse.Namespace) -> int:
    """Measure and print."""
    from edgeseq import bench

    if _comparison.asked(args):
        return _comparison.main(args)
    if not 1 <= args.steps <= MAX_STEPS:
        raise ConfigError(f"--steps must lie between 1 and {MAX_STEPS:,}.")
    if args.rate is not None and not MIN_RATE_HZ <= args.rate <= MAX_RATE_HZ:
        raise ConfigError(f"--rate is in steps a second and must lie between {MIN_RATE_HZ:g} and {MAX_RATE_HZ:g}.")
    device = bench.device()
    cases = [
        bench.Case(bundle=str(path), backend=backend, variant=variant, steps=args.steps, rate_hz=args.rate)
        for path in args.bundle
        for backend, variant in _chosen(path, args.backend, args.variant)
    ]
    results = []
    for done, case in enumerate(cases):
        _progress(f"{done + 1} of {len(cases)}: {case.bundle}, {case.variant} on {case.backend} ...")
        results.append(bench.measure(case))
    _progress("")
    if args.json:
        print(json.dumps({"device": device, "results": results}, indent=2))
    else:
        _print(device, results)
    if args.html:
        _comparison.write_page(args.html, device, results)
    return 0


def _chosen(path: Path, backends: list[str] | None, variants: list[str] | None) -> Sequence[tuple[str, str]]:
    """Return the (backend, variant) pairs asked for. Raises ConfigError where the bundle has none of them."""
    from edgeseq import bundle
    from edgeseq.backends import absent, choices

    opened = bundle.read(path)
    if opened.encoder_decoder:
        raise ConfigError(f"{path}: holds an encoder and a decoder; bench measures bundles of a single step.")
    there, left_out = choices(opened), absent(opened)
    for backend, reason in left_out.items():
        print(f"{backend} was left out: {reason}", file=sys.stderr)
    for what, asked, known in (
        ("backend", backends, {backend for backend, _ in there}),
        ("variant", variants, {variant for _, variant in there}),
    ):
        for name in asked or ():
            if name not in known:
                from edgeseq.tables import suggest

                if name in left_out:
                    raise ConfigError(left_out[name])

                raise ConfigError(f"{path}: has no {what} '{name}' to run here. {suggest(name, known)}")
    chosen = [(b, v) for b, v in there if (not backends or b in backends) and (not variants or v in variants)]
    if not chosen:
        raise ConfigError(f"{path}: has no such variant for such a backend; it has {there}.")
    return chosen


def _progress(text: str) -> None:
    """Show what is being measured, on a terminal only; it is wiped at the end."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def _print(device: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Print a table for each bundle, in microseconds a step."""
    from edgeseq.text import number, table

    cores = f"{device['cores_usable']} of {device['cores']} cores"
    print(f"{device['cpu']}, {cores}, load {device['load_1min']}, Python {device['python']}, {device['system']}")
    for bundle in dict.fromkeys(result["bundle"] for result in results):
        mine = [result for result in results if result["bundle"] == bundle]
        rate = f", one every {1000 / mine[0]['rate_hz']:g} ms" if mine[0]["rate_hz"] else ", back to back"
        print(f"\n{mine[0]['name']} ({bundle}): µs a step, {mine[0]['steps']:,} steps{rate}, one thread\n")
        rows = [
            [
                result["variant"],
                result["backend"],
                *(number(result[key]) for key in ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")),
                *(number(result[key]) for key in ("run_us_per_step", "first_step_us")),
                *(number(result[key], 0) for key in ("load_ms", "rss_mb")),
            ]
            for result in mine
        ]
        print(table(HEADINGS, rows, left=2))
    if any(result["p99_us"] is None or result["p999_us"] is None for result in results):
        print("\n–: too few steps lie beyond that percentile; more --steps give it.")
