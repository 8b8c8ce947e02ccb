"""Which machine this is, as far as it decides how fast and with which instructions a model is computed."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")


def cpu() -> str:
    """Return the processor's name: of the processor on x86, of the board on Arm."""
    for line in lines(CPUINFO):
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return first_line(Path("/proc/device-tree/model")) or platform.processor() or platform.machine()


def identity() -> str:
    """Return what a verdict on kernels holds for: architecture, processor, and a sum over its instruction sets.

    Two virtual machines may name one processor and yet have other instructions, by which libraries choose kernels.
    """
    sets = (line.partition(":")[2] for line in lines(CPUINFO) if line.startswith(("flags", "Features")))
    instructions = hashlib.sha256(next(sets, "").encode()).hexdigest()[:16]
    return f"{platform.machine()}, {cpu()}, {instructions}"


def lines(path: Path) -> list[str]:
    """Return a file's lines, none where it cannot be read."""
    try:
        return path.read_text("utf-8", "replace").replace("\0", "").splitlines()
    except OSError:
        return []


def first_line(path: Path) -> str:
    """Return a file's first line, nothing where it cannot be read."""
    return next(iter(lines(path)), "")
