"""`edgeseq demo`: the main job on bundled data, with a bundled model and an embedded broker."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from edgeseq.errors import ConfigError

HELP = """\
Shows edgeseq at its work: recorded machines wear out, or people say words; one frame at a time passes through a
quantized model, alerts go out over MQTT. It is the pipeline that `edgeseq run` runs, with a broker of its own on this
machine; it ends by itself with a summary and an HTML report of the predictions against the truth.

  edgeseq demo                             about 40 seconds, drawn live in a terminal
  edgeseq demo keyword                     spoken commands, in real time
  edgeseq demo --speed 4 --report r.html   four times as fast
  edgeseq demo --no-dashboard              lines instead of a drawing, as also in a pipe
  edgeseq demo --json                      one JSON document at the end"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("name", nargs="?", default="turbofan", metavar="NAME", help="turbofan (default) or keyword")
    speed = "times the usual pace (default: 1 in a terminal, elsewhere as fast as it goes)"
    parser.add_argument("--speed", type=float, metavar="X", help=speed)
    parser.add_argument("--no-dashboard", action="store_true", help="plain lines, also in a terminal")
    parser.add_argument("--port", type=int, help="the broker's port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="the HTML report (default: in a temporary folder)")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")


def main(args: argparse.Namespace) -> int:
    """Run the demo and print what it came to."""
    from edgeseq.demo import run as demo
    from edgeseq.demo import scene as scenes
    from edgeseq.demo.plain import Plain
    from edgeseq.demo.view import View

    terminal = sys.stdout.isatty()
    speed = args.speed if args.speed is not None else 1.0 if terminal and not args.json else None
    if speed is not None and not (math.isfinite(speed) and speed > 0):
        raise ConfigError("--speed must be above 0: 2 is twice as fast.")
    if args.port is not None and not 1 <= args.port <= 65_535:  # noqa: PLR2004 - TCP's
        raise ConfigError("--port must lie between 1 and 65535.")
    scene = scenes.read(args.name)
    report = args.report or Path(tempfile.mkdtemp(prefix="edgeseq-demo-")) / f"{scene.name}.html"
    demo.check_report(report)

    stage: Plain | View
    with ExitStack() as stack:
        if terminal and not args.no_dashboard and not args.json:
            from rich.console import Console

            stage = stack.enter_context(View(Console(highlight=False), scene))
        else:
            stage = Plain(sys.stderr if args.json else sys.stdout, scene)
        result = demo.run(scene, stage, speed=speed, port=args.port, report=report)
    if args.json:
        print(json.dumps(result.table(), indent=2))
    else:
        stage.ended(result)
    return 0
