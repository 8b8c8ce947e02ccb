"""A GRU's step and run in float32, against everybody on the same weights.

python -m benchmarks.gru
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from benchmarks import command, gru_op, models, ours
from benchmarks.measure import Contender, agree, interleave
from benchmarks.ours import INTO, RUN, STEP
from benchmarks.peers import AbsentError, litert, ort, pytorch, stepfile, tract
from benchmarks.report import Report

STEPS = 1000
ONE_BY_ONE = (ort.RUN, ort.BINDING)
TARGETS = {
    "GRU 16/32": {STEP: 9.0, INTO: 13.0, RUN: 1.8, litert.NAME: 4.0},
    "GRU 32/64": {STEP: 6.0, INTO: 8.0, RUN: 1.6, litert.NAME: 3.0},
    "GRU 40/128": {STEP: 4.0, INTO: 4.5, RUN: 1.3, litert.NAME: 2.0},
    "GRU 64/256": {STEP: 1.8, INTO: 1.9, RUN: 1.1, litert.NAME: 1.4},
}


def measure(options: command.Options) -> None:
    """Measure every size in turn."""
    report = Report("gru", options.blocks, options.seed, options.cpu_time)
    for name, targets in TARGETS.items():
        contenders, absent = field(name, options)
        for line in absent:
            report.note(line)
        agree(contenders)
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        step, into, run = (f"edgeseq {way}" for way in (STEP, INTO, RUN))
        report.compare(name, step, ONE_BY_ONE, targets[STEP])
        report.compare(name, into, ONE_BY_ONE, targets[INTO])
        report.compare(name, run, (ort.WHOLE,), targets[RUN])
        report.compare(name, step, (litert.NAME,), targets[litert.NAME])
        report.compare(name, step, (pytorch.NAME,), None)
        report.compare(name, step, (tract.NAME,), None)
    report.show(options.json)


def field(name: str, options: command.Options) -> tuple[list[Contender], list[str]]:
    """Return everybody who runs a GRU here, and why somebody does not."""
    gru = models.gru(name)
    rows = models.rows(name, STEPS)
    frames = [row[None, None].copy() for row in rows]
    bundle = models.bundle(name, options.models)
    folder = options.scratch / bundle.path.name / "peers"
    folder.mkdir(parents=True)
    step = gru_op.write(gru, folder / "ort.onnx")
    whole = gru_op.write(gru, folder / "whole.onnx", length=STEPS, every=True)
    # Over a bare GRU the output is the state as it leaves: the peer need not fetch it twice.
    tflite = stepfile.held(bundle, "float32", "tflite")
    tflite = replace(tflite, output=tflite.states[0].output)
    found = [
        *ours.contenders(bundle, options.backend, rows).values(),
        *ort.stepping(step, frames),
        ort.whole(whole, np.ascontiguousarray(rows[:, None])),
        pytorch.stepping(gru, [x[0] for x in frames]),
    ]
    absent = []
    others: list[Callable[[], Contender]] = [
        lambda: litert.stepping(tflite, frames),
        lambda: tract.stepping(gru, frames, folder),
    ]
    for peer in others:
        try:
            found.append(peer())
        except AbsentError as reason:
            absent.append(str(reason))
    return found, absent


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(command.main(__doc__, measure))
