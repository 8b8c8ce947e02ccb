"""Every setting of the runtimes against its alternatives: which are the best ones?

python -m benchmarks.settings
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks import command, models
from benchmarks.measure import Contender, Measured, agree, interleave, rms
from benchmarks.ratios import Ratio, ratio
from benchmarks.report import write
from edgeseq import backends, bench, libraries
from edgeseq.backends import settings
from edgeseq.backends.litert import open_with
from edgeseq.backends.ort import OrtStep, open_session
from edgeseq.bundle import Bundle
from edgeseq.text import number, table
from edgeseq.types import StepModel

STEPS = 100
NAMES = ("GRU 32/64", "GRU 64/256", models.TCN, models.TRANSFORMER)
OURS, AGAIN = "as set", "as set, once more"
MARGIN = 0.02
"""What is faster by less is not called better: so much the very same settings differ from one session to another."""
OF_SPREAD = 0.05
"""How far outputs may be off, rms, as a share of their spread: no setting may change what is computed."""
Steps = dict[str, StepModel]
"""What the settings are called -> a step model so set."""
Change = Callable[[ort.SessionOptions], None]


def _set(**changed: Any) -> Change:
    """Return what sets attributes of options."""

    def change(options: ort.SessionOptions) -> None:
        for name, value in changed.items():
            setattr(options, name, value)

    return change


def _spin(options: ort.SessionOptions) -> None:
    ort.set_default_logger_severity(4)  # it warns of an entry that is made twice
    options.intra_op_num_threads = 2
    options.add_session_config_entry("session.intra_op.allow_spinning", "1")


LEVEL = ort.GraphOptimizationLevel
SESSIONS: Mapping[str, Change] = {
    OURS: _set(),
    AGAIN: _set(),
    "with the memory arena": _set(enable_cpu_mem_arena=True),
    "memory used again within a step": _set(enable_mem_reuse=True),
    "no layout of memory ahead": _set(enable_mem_pattern=False),
    "extended optimizations only": _set(graph_optimization_level=LEVEL.ORT_ENABLE_EXTENDED),
    "basic optimizations only": _set(graph_optimization_level=LEVEL.ORT_ENABLE_BASIC),
    "no optimizations": _set(graph_optimization_level=LEVEL.ORT_DISABLE_ALL),
    "operations side by side": _set(execution_mode=ort.ExecutionMode.ORT_PARALLEL),
}
THREADS: Mapping[str, Change] = {
    OURS: _set(),
    AGAIN: _set(),
    "two threads": _set(intra_op_num_threads=2),
    "two threads that spin": _spin,
}


@dataclass
class Trial:
    """One table: the alternatives for a runtime and variant, measured on several networks."""

    title: str
    found: dict[str, Mapping[str, Measured]] = field(default_factory=dict)

    def ratios(self, name: str) -> dict[str, Ratio]:
        """Return how many times as long as ours a step takes on each network with other settings."""
        return {model: ratio(each[name].blocks_ns, each[OURS].blocks_ns) for model, each in self.found.items()}

    @property
    def over_all(self) -> dict[str, float]:
        """The geometric means of those."""
        names = next(iter(self.found.values()))
        return {name: float(np.exp(np.mean([np.log(r.value) for r in self.ratios(name).values()]))) for name in names}

    @property
    def best(self) -> str:
        """The settings with the least of those; ours unless others are faster by a margin."""
        least = min(self.over_all, key=self.over_all.__getitem__)
        return least if self.over_all[least] < 1 - MARGIN else OURS

    def lines(self) -> str:
        """Return it in words."""
        ours = [number(each[OURS].median_ns / 1000, 1) + " µs" for each in self.found.values()]
        rows = [[OURS, *ours, ""]]
        for name, mean in self.over_all.items():
            if name != OURS:
                cells = [f"{r.value:.2f} ({r.low:.2f} to {r.high:.2f})" for r in self.ratios(name).values()]
                rows.append([name, *cells, f"{mean:.2f}"])
        return f"{self.title}\n\n{table(('', *self.found, 'mean'), rows)}\n\n  Best by the mean: {self.best}."

    def json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "title": self.title,
            "best": self.best,
            "over_all": self.over_all,
            "ratios": {name: {m: asdict(r) for m, r in self.ratios(name).items()} for name in self.over_all},
            "median_ns": {m: {name: each.median_ns for name, each in f.items()} for m, f in self.found.items()},
        }


def sessions(bundle: Bundle, variant: str, changes: Mapping[str, Change] = SESSIONS) -> Steps:
    """Return onnxruntime's steps, with our options and with each change of them."""
    file = bundle.file(variant, "onnx")
    found: Steps = {}
    for name, change in changes.items():
        options = settings.session_options()
        change(options)
        found[name] = OrtStep(open_session(bundle.path / file.path, options), bundle.graph(), file)
    return found


def interpreters(bundle: Bundle, variant: str, changes: Mapping[str, Mapping[str, Any]]) -> Steps:
    """Return LiteRT's steps, so too."""
    file = bundle.file(variant, "tflite")
    path, graph = bundle.path / file.path, bundle.graph()
    return {
        name: open_with(settings.interpreter_options() | dict(change), path, graph, file)
        for name, change in changes.items()
    }


def kernels() -> dict[str, Mapping[str, Any]]:
    """Return which kernels LiteRT may take."""
    kinds = importlib.import_module(libraries.litert().__module__).OpResolverType
    return {
        OURS: {},
        AGAIN: {},
        "without XNNPACK": {"experimental_op_resolver_type": kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES},
    }


def measure(options: command.Options) -> None:
    """Measure every setting of both runtimes."""
    absent = backends.absence("litert")
    trials = [trial(f"onnxruntime, {variant}", variant, sessions, options) for variant in models.VARIANTS]
    if absent is None:
        steps = partial(interpreters, changes=kernels())
        trials.extend(trial(f"LiteRT, {variant}", variant, steps, options) for variant in models.VARIANTS)
    with every_core():
        clocked = replace(options, cpu_time=False)  # CPU time would be one thread's
        steps = partial(sessions, changes=THREADS)
        trials.append(trial("onnxruntime, float32, on every core", "float32", steps, clocked))
        if absent is None:
            steps = partial(interpreters, changes={OURS: {}, AGAIN: {}, "two threads": {"num_threads": 2}})
            trials.append(trial("LiteRT, float32, on every core", "float32", steps, clocked))
    device = bench.device()
    head = (
        f"settings: {device['cpu']}, load {device['load_1min']}; how many times as long as ours a step takes, with the "
        f"95 % interval; {options.blocks} blocks in turn{options.cpu_time * ', CPU time'}"
    )
    lines = [head, *(each.lines() for each in trials), *([absent] if absent else [])]
    sys.stdout.write("\n\n".join(lines) + "\n")
    write(options.json, {"benchmark": "settings", "device": device, "trials": [each.json() for each in trials]})


def trial(title: str, variant: str, steps: Callable[[Bundle, str], Steps], options: command.Options) -> Trial:
    """Measure the step of every network under each of several settings, in turn."""
    made = Trial(title)
    for model in NAMES:
        frames = [(row.copy(),) for row in models.rows(model, STEPS)]
        found = steps(models.bundle(model, options.models), variant)
        contenders = [Contender(name, step.step, frames, step.reset) for name, step in found.items()]
        agree(contenders, OF_SPREAD * float(np.std(contenders[0].outputs())), rms)
        made.found[model] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
    return made


@contextmanager
def every_core() -> Iterator[None]:
    """Leave the one core that is measured on otherwise."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
