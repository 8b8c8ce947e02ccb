"""w8a16 against our own float32, and its step against LiteRT's int8.

python -m benchmarks.quantized_speed
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from benchmarks import command, models, ours
from benchmarks.measure import Contender, agree, interleave, rms
from benchmarks.ours import RUN, STEP
from benchmarks.peers import AbsentError, litert, stepfile
from benchmarks.report import Report

STEPS = 1000
FLOAT, QUANTIZED, PEER = "float32", "w8a16", "LiteRT int8"
RUN_TARGET, STEP_TARGET = 2.0, 1.0
OF_SPREAD = 0.05
"""How far quantized outputs may be off, rms, as a share of the output's spread."""


def measure(options: command.Options) -> None:
    """Measure both networks in turn."""
    report = Report("quantized speed", options.blocks, options.seed, options.cpu_time)
    for name in ("GRU 64/256", models.LSTMS):
        contenders = field(name, options, report)
        agree(contenders, OF_SPREAD * float(np.std(contenders[0].outputs())), rms)
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        report.compare(name, f"{QUANTIZED} {RUN}", (f"{FLOAT} {RUN}",), RUN_TARGET)
        report.compare(name, f"{QUANTIZED} {STEP}", (f"{FLOAT} {STEP}",), None)
        report.compare(name, f"{QUANTIZED} {STEP}", (PEER,), STEP_TARGET if name in models.GRUS else None)
    report.show(options.json)


def field(name: str, options: command.Options, report: Report) -> list[Contender]:
    """Return our two variants and LiteRT's int8 step where it is installed."""
    rows = models.rows(name, STEPS)
    bundle = models.bundle(name, options.models)
    found: list[Contender] = []
    for variant in (FLOAT, QUANTIZED):
        ways = ours.contenders(bundle, options.backend, rows, variant)
        found.extend(replace(ways[way], name=f"{variant} {way}") for way in (STEP, RUN))
    file = stepfile.held(bundle, "int8", "tflite")
    try:
        found.append(litert.stepping(file, [row[None, None].copy() for row in rows], PEER))
    except AbsentError as reason:
        report.note(str(reason))
    return found


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
