"""Reads FEMTO's bearings, run to failure on the test rig PRONOSTIA, as they were recorded.

Source: Nectoux et al., "PRONOSTIA: an experimental platform for bearings accelerated degradation tests", IEEE PHM 2012.
"""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

RATE_HZ: Final = 25_600.0
SAMPLES: Final = 2560
"""Of a record, a tenth of a second."""
CHANNELS: Final = (("horizontal", "g"), ("vertical", "g"), ("speed", "rpm"))
RECORD_S: Final = 10
"""Seconds from one record of the rig to the next; record 1 is taken at 0 s."""
SPEEDS_RPM: Final = {1: 1800, 2: 1650, 3: 1500}
"""Speed of the shaft in each of the three conditions, the first digit of a bearing's name; the load is another, too."""
BEARING: Final = {"balls": 13.0, "ball_diameter": 3.5, "pitch_diameter": 25.6}
"""Geometry, diameters in mm (Nectoux et al., table 2)."""

_COLUMNS = 6
_RECORD = re.compile(r"(?:^|/)acc_(\d{5})\.csv$")
_BEARING = re.compile(r"^Bearing([123])_\d$")
_MAX_BYTES = 1 << 20


class DataError(ValueError):
    """A file of FEMTO's is missing or is not what it should be."""


@dataclass(frozen=True)
class Run:
    """One bearing's life.

    t_s: int64[records], seconds since the first record. samples: float32[records, 2560, 3], CHANNELS in their units;
    the last record is the last before the rig was stopped, at more than 20 g.
    """

    name: str
    t_s: NDArray[np.int64]
    samples: Floats

    @property
    def life_s(self) -> int:
        """Seconds from the first record to the last."""
        return int(self.t_s[-1])


def read_runs(folder: Path) -> list[Run]:
    """Read every bearing in a folder, as BearingC_N.tar.xz or as folders BearingC_N of acc_*.csv, by name.

    Raises DataError where there is none, or one is damaged.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        name = path.name.removesuffix(".tar.xz")
        if _BEARING.match(name) and (path.is_dir() or path.name != name):
            found[name] = path
    if not found:
        raise DataError(
            f"{folder} holds no bearing: neither BearingC_N.tar.xz nor a folder BearingC_N of acc_00001.csv and so on. "
            "Download the PHM 2012 challenge's learning set and give its folder with --data."
        )
    return [_run(name, path) for name, path in found.items()]


def _run(name: str, path: Path) -> Run:
    match = _BEARING.match(name)
    speed = SPEEDS_RPM[int(match.group(1))] if match else 0
    records = dict(_packed(path) if path.is_file() else _loose(path))
    if not records:
        raise DataError(f"{path} holds no acc_NNNNN.csv. Restore it from the original archive.")
    numbers = sorted(records)
    samples = np.empty((len(numbers), SAMPLES, len(CHANNELS)), np.float32)
    for place, number in enumerate(numbers):
        samples[place, :, :2] = _record(records[number], f"{path}: acc_{number:05}.csv")
    samples[:, :, 2] = speed
    t_s = (np.array(numbers, np.int64) - numbers[0]) * RECORD_S
    return Run(name, t_s, samples)


def _packed(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and text of each record in an archive; nothing is unpacked to disk."""
    try:
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                match = _RECORD.search(member.name)
                if match and member.isfile() and member.size <= _MAX_BYTES:
                    file = archive.extractfile(member)
                    if file is not None:
                        yield int(match.group(1)), file.read()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise DataError(f"{path} cannot be read: {error}. Restore it from the original archive.") from error


def _loose(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield the number and text of each record in a folder."""
    for file in sorted(path.iterdir()):
        match = _RECORD.search(file.name)
        if match:
            yield int(match.group(1)), file.read_bytes()


def _record(text: bytes, where: str) -> Floats:
    """Read one record: hour, minute, second, microsecond, horizontal, vertical; commas or semicolons between them."""
    try:
        table = np.loadtxt(io.BytesIO(text.replace(b";", b",")), delimiter=",", ndmin=2)
    except ValueError as error:
        raise DataError(f"{where}: {error}. Restore it from the original archive.") from error
    if table.shape != (SAMPLES, _COLUMNS) or not np.isfinite(table).all():
        raise DataError(
            f"{where}: {table.shape[0]} rows of {table.shape[1]} numbers, all of which must be finite; a record has "
            f"{SAMPLES} of {_COLUMNS}. Restore it from the original archive."
        )
    return table[:, 4:].astype(np.float32)
