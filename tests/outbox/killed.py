"""Kills a process that puts, delivers and acknowledges events, again and again, and counts what was lost or came twice.

    LD_PRELOAD=power.so python killed.py --kills 1000 --power drop FOLDER

Each round forks a child on the store that the last one left, lets it do some work and kills it. --power
cuts the power as well: "drop" loses every write that was not synced, "tear" keeps pieces of them. --without leaves a
call out, to show that this sees what it is for. Prints one JSON document.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import NoReturn

import numpy as np
import power

from edgeseq.outbox import Outbox

WINDOW = 10
"""Events that are delivered and not acknowledged at any moment, at most."""
LINES = 100
"""A child is killed before it has said this many things."""
BACKLOG = 200
"""With so many pending nothing more is put, so that nothing is ever dropped for want of room."""


def opened(folder: Path) -> Outbox:
    return Outbox(folder, ("sink",), max_bytes=1 << 20)


def work(folder: Path, pipe: int, round_: int) -> NoReturn:
    """Put from two threads and deliver from a third, telling through the pipe what is certain, until killed."""
    outbox = opened(folder)
    waiting = [BACKLOG]

    def put(name: str) -> None:
        for number in range(10**9):
            while waiting[0] >= BACKLOG:
                time.sleep(0.0005)
            event_id = f"{round_}.{name}.{number}"
            # Of many keys, so that what is delivered is rewritten to what they stand at, not only removed.
            key = f"{name}{number % 50}"
            state = event_id.encode()
            outbox.put(state + b" " + b"x" * (number % 300), key=key, event_id=event_id, state=state)
            os.write(pipe, b"put %s\n" % state)

    for name in "ab":
        threading.Thread(target=put, args=(name,), daemon=True).start()
    while True:
        batch = outbox.pending(WINDOW, "sink")
        waiting[0] = outbox.stats()["events"]
        for _, _, payload in batch:
            os.write(pipe, b"sent %s\n" % payload.split()[0])
        outbox.ack([number for number, _, _ in batch], "sink")
        for _, _, payload in batch:
            os.write(pipe, b"done %s\n" % payload.split()[0])


def behind(put: set[str], states: dict[str, bytes]) -> int:
    """Return how many keys stand at less than their last event that was put."""
    newest: dict[str, tuple[int, int]] = {}
    for event_id in put:
        round_, name, number = event_id.split(".")
        key = f"{name}{int(number) % 50}"
        newest[key] = max(newest.get(key, (0, 0)), (int(round_), int(number)))
    stand = {key: (int(state.split(b".")[0]), int(state.split(b".")[2])) for key, state in states.items()}
    return sum(stand.get(key, (-1, -1)) < last for key, last in newest.items())


def read(pipe: int, lines: int | None = None) -> bytes:
    """Read until so many lines have come, or the other end is closed."""
    data = b""
    while (lines is None or data.count(b"\n") < lines) and (piece := os.read(pipe, 1 << 16)):
        data += piece
    return data


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--power", choices=["drop", "tear"])
    parser.add_argument("--without", choices=["fdatasync", "fsync"])
    args = parser.parse_args()
    store, beside = args.folder / "store", args.folder / "beside"
    store.mkdir()
    beside.mkdir()
    if args.without:
        setattr(os, args.without, lambda _file: None)
    rng = np.random.default_rng(0)
    put: set[str] = set()
    sent: Counter[str] = Counter()
    done: set[str] = set()
    twice = late = 0
    for round_ in range(args.kills):
        before = power.standing(store)
        out, into = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(out)
            if args.power:
                power.watch(store, beside, 500)
            work(store, into, round_)
        os.close(into)
        # After so much work, not so much time: a machine may be busy with other things.
        # One in five dies while it takes up what is there.
        lines = max(0, int(rng.integers(-LINES // 4, LINES)))
        said = read(out, lines)
        time.sleep(rng.uniform(0, 0.001 if lines else 0.01))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        said += read(out)
        os.close(out)
        again = 0
        for line in said.decode().splitlines():
            word, _, event_id = line.partition(" ")
            if word == "put":
                put.add(event_id)
            elif word == "sent":
                again += sent[event_id] > 0
                late += event_id in done
                sent[event_id] += 1
            elif word == "done":
                done.add(event_id)
        twice = max(twice, again)
        if args.power:
            power.cut(store, beside, before, rng, tear=args.power == "tear")
    outbox = opened(store)
    left = {payload.split()[0].decode() for _, _, payload in outbox.pending(10**9, "sink")}
    stats = outbox.stats()
    lost = put - set(sent) - left
    sys.stdout.write(
        json.dumps(
            {
                "kills": args.kills,
                "put": len(put),
                "lost": len(lost),
                "states_behind": behind(put, outbox.states()),
                "most_twice_after_a_kill": twice,
                "window": WINDOW,
                "twice_though_acknowledged": late,
                "dropped": sum(stats["dropped"].values()),
                "waiting": len(left),
            }
        )
    )


if __name__ == "__main__":
    main()
