"""The step of a Transformer and of a TCN against onnxruntime on the very step that edgeseq exports.

python -m benchmarks.networks
"""

from __future__ import annotations

import sys

from benchmarks import command, models, ours
from benchmarks.measure import agree, interleave
from benchmarks.ours import INTO, STEP
from benchmarks.peers import AbsentError, litert, ort, stepfile
from benchmarks.report import Report

STEPS = 300
TARGET = 5.0


def measure(options: command.Options) -> None:
    """Measure both networks in turn."""
    report = Report("networks", options.blocks, options.seed, options.cpu_time)
    for name in (models.TRANSFORMER, models.TCN):
        rows = models.rows(name, STEPS)
        bundle = models.bundle(name, options.models)
        frames = [row[None, None].copy() for row in rows]
        ways = ours.contenders(bundle, options.backend, rows)
        contenders = [ways[STEP], ways[INTO], *ort.stepping(stepfile.held(bundle, "float32", "onnx"), frames)]
        try:
            contenders.append(litert.stepping(stepfile.held(bundle, "float32", "tflite"), frames))
        except AbsentError as reason:
            report.note(str(reason))
        agree(contenders)
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        report.compare(name, f"edgeseq {STEP}", (ort.RUN, ort.BINDING), TARGET)
        report.compare(name, f"edgeseq {STEP}", (litert.NAME,), None)
    report.show(options.json)


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
