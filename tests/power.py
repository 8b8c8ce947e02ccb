"""Cuts the power: makes a folder what a disk may hold that kept what was synced, and of the rest whatever it liked."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

import numpy as np

SOURCE = Path(__file__).with_name("power.c")


def compile_layer(folder: Path) -> Path:
    """Compile the layer that notes what a program writes; return the library for LD_PRELOAD."""
    library = folder / "power.so"
    command = ["gcc", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(library)]
    subprocess.run([*command, str(SOURCE), "-ldl"], check=True)
    return library


def watch(folder: Path, beside: Path, delay_us: int) -> None:
    """Begin to note what this process does to the folder; it must run under the layer."""
    failed = ctypes.CDLL(None).power_watch(os.fsencode(folder), os.fsencode(beside), delay_us)
    assert failed == 0


def standing(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the inode and size of every file in a folder, by name: what is there before it is watched."""
    return {path.name: (path.stat().st_ino, path.stat().st_size) for path in folder.iterdir()}


def cut(
    folder: Path, beside: Path, before: dict[str, tuple[int, int]], rng: np.random.Generator, *, tear: bool
) -> None:
    """Make the folder what it may be after a power cut, and empty `beside`, where the ledger is.

    before: what stood there when the ledger began. tear: of what was not synced some stays: a beginning of the names
    that came and went, and of each file's bytes a beginning, of which a piece may be zeros; else none does.
    """
    if not (beside / "ledger").exists():
        # It was killed before it was watched, and had done nothing.
        return
    kept = [path for path in beside.iterdir() if path.name != "ledger"]
    contents = {path.stat().st_ino: path.read_bytes() for path in (*folder.iterdir(), *kept)}
    disk = Disk(before)
    for line in (beside / "ledger").read_text().splitlines():
        disk.take(*line.split())
    names = disk.names[int(rng.integers(len(disk.names)))] if tear else disk.names[0]
    files = {}
    for name, number in names.items():
        # A file that was about to be made and never was has no contents.
        data = contents.get(number, b"")
        safe = min(disk.synced[number], len(data))
        end = int(rng.integers(safe, len(data) + 1)) if tear else safe
        torn = bytearray(data[:end])
        if end > safe and rng.integers(2):
            begin = int(rng.integers(safe, end))
            torn[begin : begin + 64] = bytes(len(torn[begin : begin + 64]))
        files[name] = bytes(torn)
    for path in (*folder.iterdir(), *beside.iterdir()):
        path.unlink()
    for name, data in files.items():
        (folder / name).write_bytes(data)


class Disk:
    """What a ledger says of a folder: which names it may have, the oldest possibility first, and what is safe of each.

    synced, length: of each inode, how many bytes are durable and how many there are.
    """

    def __init__(self, before: dict[str, tuple[int, int]]) -> None:
        self.names = [{name: number for name, (number, _) in before.items()}]
        self.synced = dict(before.values())
        self.length = dict(self.synced)

    def take(self, what: str, number: str = "0", *words: str) -> None:
        """Take a line of the ledger."""
        inode, live = int(number), dict(self.names[-1])
        if what == "C":
            live[words[0]], self.length[inode], self.synced[inode] = inode, 0, 0
        elif what == "R":
            live.pop(words[0])
            live[words[1]] = inode
        elif what == "U":
            live.pop(words[0])
        elif what == "D":
            self.names.clear()
        else:
            self._change(what, inode, *map(int, words))
            return
        self.names.append(live)

    def _change(self, what: str, inode: int, *numbers: int) -> None:
        """Take a line about a file's bytes."""
        if what == "S":
            self.synced[inode] = self.length[inode]
        else:
            # Written from one place on, so many bytes; or cut to a size.
            self.length[inode] = sum(numbers)
            self.synced[inode] = min(self.synced[inode], self.length[inode])
