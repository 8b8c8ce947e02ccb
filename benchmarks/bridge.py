"""How much of a core does the source `serial` take at 2 Mbaud, 200,000 bytes a second, and does anything get lost?

The C side of the wire, as a program on a pseudo-terminal, sends at that pace; the source reads, checks, dates and
scales. Counted is the processor time of the reading process, the system's share included.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.command import one_core
from edgeseq.sources.serial import Serial
from firmware_bridge import simulator

BYTES_PER_S = 200_000
"""2 Mbaud, of which a byte takes ten bits."""
OVERHEAD = 19
"""Bytes of a frame of samples besides them, on the wire."""
WIDTH = {"int16": 2, "int24": 3, "float32": 4}


@dataclass(frozen=True)
class Case:
    """What the device sends: a frame of so many rows of so many channels."""

    form: str
    channels: int
    rows: int

    @property
    def rate_hz(self) -> int:
        """Samples a second that fill the line."""
        return round(BYTES_PER_S / (OVERHEAD + self.rows * self.channels * WIDTH[self.form]) * self.rows)


CASES = (Case("int16", 3, 39), Case("int24", 3, 26), Case("float32", 1, 59), Case("int16", 3, 10), Case("int16", 3, 1))


@dataclass(frozen=True)
class Result:
    """core: share of one, from 0 to 1. bytes_per_s: as they were read. lost: samples missing in the ramp."""

    form: str
    channels: int
    rows: int
    seconds: float
    bytes_per_s: float
    core: float
    lost: int
    dropped: dict[str, int]


def measure(case: Case, folder: Path, seconds: float) -> Result:
    """Read a device for so long."""
    port = str(folder / "port")
    told = {"format": case.form, "channels": case.channels, "rows": case.rows, "rate": case.rate_hz, "signal": "ramp"}
    options = [word for key, value in told.items() for word in (f"--{key}", str(value))]
    command = [str(simulator.build(folder)), "--link", port, *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as device:
        try:
            if device.stdout is not None:
                device.stdout.readline()
            source = Serial(port=port, rate_hz=float(case.rate_hz), channels=["c0"])
            threading.Timer(seconds, source.close).start()
            first, last, samples, began, used = 0.0, 0.0, 0, 0.0, 0.0
            for chunk in source:
                if not samples:
                    first, began, used = float(chunk.values[0, 0]), time.perf_counter(), time.process_time()
                samples += len(chunk.t_ns)
                last = float(chunk.values[-1, 0])
            took, used = time.perf_counter() - began, time.process_time() - used
        finally:
            device.terminate()
    # The ramp goes up by a sample's number, modulo what its format holds.
    span = {"int16": 1 << 16, "int24": 1 << 20, "float32": 1 << 62}[case.form]
    lost = int(round(last - first - (samples - 1)) % span)
    wire_bytes = samples / case.rows * (OVERHEAD + case.rows * case.channels * WIDTH[case.form])
    dropped = {why: count for why, count in source.dropped.items() if count}
    return Result(case.form, case.channels, case.rows, took, wire_bytes / took, used / took, lost, dropped)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every case; exit status 1 where something was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each case (default 20)")
    parser.add_argument(
        "--core", type=int, help="which core the reader keeps to (default: the last one that may be used)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything here as well")
    given = parser.parse_args(arguments)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        simulator.build(Path(folder))
        for case in CASES:
            one_core(given.core)
            results.append(measure(case, Path(folder), given.seconds))
            each = results[-1]
            what = f"{each.rows} x {each.channels} {each.form}"
            losses = {**each.dropped, "samples": each.lost} if each.lost or each.dropped else "nothing"
            print(f"{what:16} {each.bytes_per_s:9,.0f} bytes/s  {100 * each.core:5.1f} % of a core  lost: {losses}")
    if given.json:
        given.json.write_text(json.dumps([asdict(each) for each in results], indent=2))
    return int(any(each.lost or each.dropped for each in results))


if __name__ == "__main__":
    sys.exit(main())
