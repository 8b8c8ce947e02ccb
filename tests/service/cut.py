"""Kills a process that writes one checkpoint after another, cuts the power under it, and looks what is left.

    LD_PRELOAD=power.so python cut.py --cuts 100 --power drop FOLDER

--without leaves a call out, to show that this sees what it is for. Prints one JSON document: how often what was left
was older than a checkpoint that had been written.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import NoReturn

import numpy as np
import power

from edgeseq.pipeline.snapshot import LaneState, Snapshot
from edgeseq.service.checkpoint import Checkpoint, encoded, write

NAME = "checkpoint"


def work(store: Path, pipe: int, number: int) -> NoReturn:
    """Write checkpoints, telling through the pipe of each that is written, until killed."""
    path = store / NAME
    while True:
        number += 1
        arrays = {"model.h": np.full(5000, number)}
        content = encoded(Snapshot({"number": number}, {"": LaneState(arrays, {}, None)}), {})
        write(path, path.with_name(f"{NAME}.before"), content)
        os.write(pipe, b"%d\n" % number)


def left(store: Path) -> int:
    """Return the number of the checkpoint that a service would take up; 0 for none."""
    snapshot = Checkpoint(store / NAME, {}, 1).last()
    return 0 if snapshot is None or snapshot.source is None else int(snapshot.source["number"])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cuts", type=int, required=True)
    parser.add_argument("--power", choices=["drop", "tear"], required=True)
    parser.add_argument("--without", choices=["fsync"])
    args = parser.parse_args()
    store, beside = args.folder / "store", args.folder / "beside"
    store.mkdir()
    beside.mkdir()
    if args.without:
        setattr(os, args.without, lambda _file: None)
    rng = np.random.default_rng(0)
    number = written = lost = 0
    for _ in range(args.cuts):
        # What was being written is written from its beginning; the ledger tells of files that are made, not emptied.
        (store / f"{NAME}.new").unlink(missing_ok=True)
        before = power.standing(store)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(out)
            power.watch(store, beside, 200)
            work(store, into, number)
        os.close(into)
        said = os.read(out, 100)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        while piece := os.read(out, 1 << 16):
            said += piece
        os.close(out)
        power.cut(store, beside, before, rng, tear=args.power == "tear")
        told = int(said.split()[-1])
        written += told - number
        number = left(store)
        lost += number < told
    sys.stdout.write(json.dumps({"written": written, "lost": lost}))


if __name__ == "__main__":
    main()
