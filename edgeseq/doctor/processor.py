"""The processor: its instructions, its clock, its temperature."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from pathlib import Path

from edgeseq import machine
from edgeseq.bench import board
from edgeseq.doctor.finding import Finding

WIDE = {
    "x86_64": ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni"),
    "aarch64": ("asimd", "asimddp", "asimdhp", "i8mm", "sve"),
    "armv7l": ("neon", "vfpv4"),
}
"""What kernels gain from, the first of each first."""
STEADY = "performance"


def findings(root: Path = Path("/")) -> Iterator[Finding]:
    """Look at instructions, governor and throttling. root: where /proc and /sys stand."""
    kind = platform.machine()
    flags = {
        flag
        for line in machine.lines(root / "proc/cpuinfo")
        if line.startswith(("flags", "Features"))
        for flag in line.partition(":")[2].split()
    }
    known = WIDE.get(kind, ())
    there = [flag for flag in known if flag in flags]
    says = f"{machine.cpu()}, {kind}, with {', '.join(there) or 'no vector instructions that are known here'}"
    if known and known[0] not in there:
        yield Finding("processor", "note", says, f"without {known[0]} a model takes several times as long")
    else:
        yield Finding("processor", "ok", says)
    yield from _governor(root)
    yield from _throttled(root)


def _governor(root: Path) -> Iterator[Finding]:
    folder = root / "sys/devices/system/cpu"
    names = {machine.first_line(file) for file in folder.glob("cpu[0-9]*/cpufreq/scaling_governor")} - {""}
    if names and names != {STEADY}:
        yield Finding(
            "governor",
            "note",
            f"the clock follows the load ({', '.join(sorted(names))}): a step after a pause takes longer",
            f"cpupower frequency-set --governor {STEADY}, where latency matters more than power",
        )
    elif names:
        yield Finding("governor", "ok", STEADY)


def _throttled(root: Path) -> Iterator[Finding]:
    cores = [int(path.name[3:]) for path in (root / "sys/devices/system/cpu").glob("cpu[0-9]*")]
    reading = board.read(cores, root)
    degrees = "" if reading.temperature_c is None else f", {reading.temperature_c:.0f} °C"
    if reading.throttled:
        yield Finding(
            "throttling", "note", f"the board slows itself down{degrees}", "cool it, or mend its power supply"
        )
    elif reading.throttled is not None:
        yield Finding("throttling", "ok", f"none now{degrees}")
