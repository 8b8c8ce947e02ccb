"""A chain of several features, files of every kind for it, and the frames that a pipeline's model sees of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from plain_step import PlainStep

from edgeseq import cli
from edgeseq.pipeline import Pipeline
from edgeseq.recordings import framing
from edgeseq.types import About, Frames, Output

RATE = 1000
CHAIN = """\
[stream]
rate_hz = 1000
channels = [{ name = "a", unit = "g" }, { name = "b", unit = "V" }]

[[features]]
type = "window_statistics"
window = 0.05
hop = 0.02
statistics = ["mean", "std", "crest"]

[[features]]
type = "standardize"
mean = [0, 0.5, 2, 0, 0.5, 2]
std = [1, 0.25, 1, 1, 0.25, 1]
clip = 3

[[features]]
type = "window_statistics"
window = 0.06
hop = 0.04
statistics = ["max", "rms"]
channels = ["a.std", "b.crest"]
"""
NAMES = ["a.std.max", "a.std.rms", "b.crest.max", "b.crest.rms"]
KINDS = [".csv", ".parquet", ".wav", ".flac", ".ogg"]


def samples(count: int = 5000, seed: int = 0) -> Frames:
    """Noise of changing loudness within full scale, with silence in it, whose crest factor is not a number."""
    rng = np.random.default_rng(seed)
    loud = 0.1 + 0.05 * np.sin(np.arange(count) / 300)
    values = (rng.normal(size=(count, 2)) * loud[:, None]).clip(-1, 1).astype(np.float32)
    values[1000:1400] = 0
    return values


def write(path: Path, values: Frames, names: tuple[str, ...] = ("a", "b"), rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        lines = [",".join(str(value) for value in row) for row in values]
        path.write_text("\n".join([",".join(names), *lines]) + "\n", "utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.table(dict(zip(names, values.T, strict=True))), path)
    else:
        soundfile.write(path, values, rate, subtype="FLOAT" if path.suffix == ".wav" else None)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["features", *(str(argument) for argument in arguments)])
    said = capsys.readouterr()
    return status, said.out, said.err


def load(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as file:
        return dict(file)


class Seeing(PlainStep):
    """A model that keeps the frames that it is given."""

    seen: list[Frames]

    def fork(self) -> Seeing:
        forked = Seeing(self.features)
        forked.seen = self.seen
        return forked

    def run(self, x: Frames) -> Frames:
        self.seen.append(x.copy())
        return super().run(x)


class Times:
    """A sink that keeps the outputs' times."""

    def __init__(self) -> None:
        self.dropped: dict[str, int] = {}
        self.t_ns: list[int] = []

    def open(self, about: About) -> None: ...

    def output(self, output: Output, level: str) -> None:
        del level
        self.t_ns.append(output.t_ns)

    def event(self, event: Any) -> None: ...

    def end(self, stream: str) -> None: ...

    def close(self) -> None: ...


def as_a_pipeline_sees(chain: Path, data: Path) -> tuple[list[int], Frames, dict[str, int]]:
    """Run the chain where a device runs it; return times, frames and what was dropped."""
    recipe = framing.read(chain)
    source, columns = recipe.open(data)
    model, times = Seeing(len(recipe.frame.channels)), Times()
    model.seen = []
    pipeline = Pipeline(
        source=source, model=model, sinks=[times], about=About("d", "p"), columns=columns,
        features=lambda: recipe.chain.open()[0],
    )  # fmt: skip
    summary = pipeline.run()
    return times.t_ns, np.concatenate(model.seen), dict(summary.dropped)


MANY = CHAIN + '[source]\nstream_column = "unit"\ntime_column = "t"\nmissing = "drop"\n'


def many(path: Path, period: float = 0.001, hole: int | None = None) -> Path:
    values = samples(900)
    rows = [
        f"{unit},{step * period + (5 if hole is not None and step >= hole else 0):.6f},{row[0]},{row[1]}"
        for step, row in enumerate(values)
        for unit in ("p", "q")
    ]
    path.write_text("\n".join(["unit,t,a,b", *rows]) + "\n", "utf-8")
    return path
