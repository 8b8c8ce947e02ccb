"""The device that is a program, c/host/device.c: built here, on the machine that runs it, by its C compiler."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

C = Path(__file__).parent / "c"
SOURCES = (C / "host" / "device.c", C / "edgeseq_bridge.c", C / "edgeseq_bridge.h")


class BuildError(Exception):
    """There is no C compiler, or it refused."""


def build(folder: Path, flags: Sequence[str] = ("-O2",)) -> Path:
    """Return the program, built into the folder unless this very source already has been. Raises BuildError."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise BuildError("the simulated device is built by a C compiler, and there is none: sudo apt-get install gcc.")
    parts = b"".join(path.read_bytes() for path in SOURCES)
    program = folder / f"device-{hashlib.sha256(repr(flags).encode() + parts).hexdigest()[:16]}"
    if program.exists():
        return program
    folder.mkdir(parents=True, exist_ok=True)
    # Built aside and renamed, since another process may be building it, too.
    with tempfile.TemporaryDirectory(dir=folder) as aside:
        made = Path(aside) / program.name
        sources = [str(path) for path in SOURCES[:2]]
        command = [compiler, "-std=c99", *flags, f"-I{C}", "-o", str(made), *sources, "-lm"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{' '.join(command)}: {done.stderr.strip()}")
        made.replace(program)
    return program
