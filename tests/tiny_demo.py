"""Demos small enough for a test: machines that wear out by one channel, and one word that is heard in another."""

import csv
from pathlib import Path

import numpy as np
import tiny_bundle

MACHINES = {"7": (60, 8), "<u>9": (45, 30), "11": (120, 60)}
"""Stream -> frames, true life at the last of them. One name is what HTML must escape."""
CAP = 125


def write(zoo: Path) -> Path:
    """Write the demo `tiny` into a zoo folder and return that."""
    folder = zoo / "tiny"
    tiny_bundle.write(folder / "bundle")
    noise = np.random.default_rng(7)
    with (folder / "data.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["unit", "life"])
        for unit, (frames, life) in MACHINES.items():
            rows.writerows(
                [unit, f"{min(CAP, life + frames - 1 - i) + noise.normal(0, 1.5):.2f}"] for i in range(frames)
            )
    with (folder / "truth.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["stream", "frames", "rul"], *([u, n, r] for u, (n, r) in MACHINES.items())])
    (folder / "pipeline.toml").write_text(
        """
name = "tiny"
device = "bench"
[source]
type = "csv"
path = "data.csv"
stream_column = "unit"
interleave = true
[model]
bundle = "bundle"
[[sinks]]
type = "mqtt"
"""
    )
    (folder / "demo.toml").write_text(
        f"""
title = "Tiny machines wear out"
about = "Made up."
source = "Nobody's."
pipeline = "pipeline.toml"
[life]
truth = "truth.csv"
thing = "machine"
things = "machines"
step = "cycle"
unit = "cycles"
cap = {CAP}
"""
    )
    return zoo


SOUNDS, SPOKEN = ((20, 26), (40, 46)), ((19, 26), (50, 52))
"""When the word `yes` can be heard, and when it was said, in seconds at one frame a second."""
HEARD = 60


def write_spoken(zoo: Path) -> Path:
    """Write the demo `said` into a zoo folder and return that."""
    folder = zoo / "said"
    tiny_bundle.write(folder / "bundle")
    rows = ["life", *(str(int(any(begin <= i < end for begin, end in SOUNDS))) for i in range(HEARD))]
    (folder / "data.csv").write_text("\n".join(rows) + "\n")
    truth = ["begin,end,word", *(f"{begin},{end},yes" for begin, end in SPOKEN), "10,11,unknown"]
    (folder / "truth.csv").write_text("\n".join(truth) + "\n")
    (folder / "pipeline.toml").write_text(
        """
name = "said"
[source]
type = "csv"
path = "data.csv"
[model]
bundle = "bundle"
[decider]
type = "classes"
names = ["yes"]
threshold = 0.8
[[sinks]]
type = "mqtt"
"""
    )
    (folder / "demo.toml").write_text(
        f"""
title = "One word"
about = "Made up."
source = "Nobody's."
pipeline = "pipeline.toml"
[spoken]
truth = "truth.csv"
words = {{ yes = 0 }}
rate_hz = 1
frames = {HEARD}
"""
    )
    return zoo
