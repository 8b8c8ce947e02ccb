"""Reads C-MAPSS and standardizes it with statistics of training engines only.

Source: Saxena, Goebel, Simon & Eklund, "Damage propagation modeling for aircraft engine run-to-failure simulation",
PHM 2008. The cap on the label: Heimes, "Recurrent neural networks for remaining useful life estimation", PHM 2008.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

SUBSETS: Final = ("FD001", "FD002", "FD003", "FD004")

# (name, unit) in the order of the file's columns 3 to 26; columns 1 and 2 are the engine's number and the cycle.
SETTINGS: Final = (("altitude", "kft"), ("mach", "1"), ("TRA", "deg"))
SENSORS: Final = (
    ("T2", "degR"),  # total temperature at fan inlet
    ("T24", "degR"),  # total temperature at low-pressure compressor outlet
    ("T30", "degR"),  # total temperature at high-pressure compressor outlet
    ("T50", "degR"),  # total temperature at low-pressure turbine outlet
    ("P2", "psia"),  # pressure at fan inlet
    ("P15", "psia"),  # total pressure in bypass duct
    ("P30", "psia"),  # total pressure at high-pressure compressor outlet
    ("Nf", "rpm"),  # physical fan speed
    ("Nc", "rpm"),  # physical core speed
    ("epr", "1"),  # engine pressure ratio P50 / P2
    ("Ps30", "psia"),  # static pressure at high-pressure compressor outlet
    ("phi", "pps/psi"),  # fuel flow / Ps30
    ("NRf", "rpm"),  # corrected fan speed
    ("NRc", "rpm"),  # corrected core speed
    ("BPR", "1"),  # bypass ratio
    ("farB", "1"),  # burner fuel-air ratio
    ("htBleed", "1"),  # bleed enthalpy
    ("Nf_dmd", "rpm"),  # demanded fan speed
    ("PCNfR_dmd", "rpm"),  # demanded corrected fan speed
    ("W31", "lbm/s"),  # high-pressure turbine coolant bleed
    ("W32", "lbm/s"),  # low-pressure turbine coolant bleed
)
CHANNELS: Final = SETTINGS + SENSORS
COLUMNS: Final = 2 + len(CHANNELS)

CAP: Final = 125
"""Cycles: above it a healthy engine shows no wear yet, so the label stays there (Heimes 2008, as used since)."""

CLIP: Final = 5.0
"""Standard deviations: a frame's values are held to +-CLIP, which bounds what int8 has to span."""

REGIME_RADIUS: Final = 1.0
"""Settings (kft, Mach, degrees) this far apart are other operating conditions; real ones lie at least 5 apart."""


class DataError(ValueError):
    """A C-MAPSS file is missing or is not what it should be."""


@dataclass(frozen=True)
class Engine:
    """One engine's history.

    number: as in the file. values: float32[cycles, 24], the channels of CHANNELS in their units, cycle 1 first.
    """

    number: int
    values: Floats

    @property
    def cycles(self) -> int:
        """Length of the history in flight cycles."""
        return len(self.values)


@dataclass(frozen=True)
class Standardizer:
    """What the runtime's `standardize` feature computes, and its parameters.

    channels: places in CHANNELS of what the model sees: sensors only.
    mean, std: float32[regimes, features]. centres: float32[regimes, 3], the settings of each operating condition.
    """

    channels: tuple[int, ...]
    mean: Floats
    std: Floats
    centres: Floats
    clip: float = CLIP

    @property
    def names(self) -> tuple[str, ...]:
        """Channel names, in order."""
        return tuple(CHANNELS[place][0] for place in self.channels)

    @property
    def units(self) -> tuple[str, ...]:
        """Channel units, in order."""
        return tuple(CHANNELS[place][1] for place in self.channels)

    def __call__(self, values: Floats) -> Floats:
        """Give frames, float32[cycles, features], for raw values, float32[cycles, 24]."""
        regime = nearest(values[:, : len(SETTINGS)], self.centres)
        frames = (values[:, self.channels] - self.mean[regime]) / self.std[regime]
        clipped: Floats = np.clip(frames, -np.float32(self.clip), np.float32(self.clip))
        return clipped


def find(folder: Path, name: str) -> Path:
    """Give the path of `name`.txt or `name`.txt.gz in the folder."""
    for ending in (".txt", ".txt.gz"):
        path = folder / (name + ending)
        if path.is_file():
            return path
    raise DataError(
        f"{folder} holds neither {name}.txt nor {name}.txt.gz. Download NASA's C-MAPSS data set ('Turbofan engine "
        "degradation simulation'), unpack it and give its folder with --data."
    )


def read_engines(folder: Path, part: str, subset: str) -> list[Engine]:
    """Read all engines of part 'train' or 'test' of a subset, 'FD001' to 'FD004'."""
    path = find(folder, f"{part}_{subset}")
    table = _table(path, COLUMNS)
    starts = np.flatnonzero(np.diff(table[:, 0], prepend=np.nan) != 0)
    engines = []
    for rows in np.split(table, starts[1:]):
        if not np.array_equal(rows[:, 1], np.arange(1, len(rows) + 1)):
            raise DataError(
                f"{path}: the cycles of engine {rows[0, 0]:g} do not count 1, 2, 3, ... Rows are missing or out of "
                "order; restore the file from the original archive."
            )
        engines.append(Engine(int(rows[0, 0]), rows[:, 2:].astype(np.float32)))
    return engines


def read_rul(folder: Path, subset: str, engines: int) -> Floats:
    """Read the true remaining life after each test engine's last cycle: float32[engines], cycles, not capped."""
    path = find(folder, f"RUL_{subset}")
    rul = _table(path, 1)[:, 0]
    if len(rul) != engines:
        raise DataError(f"{path} has {len(rul)} lines for {engines} test engines: they are not of the same subset.")
    return rul.astype(np.float32)


def labels(cycles: int, cap: int = CAP) -> Floats:
    """Piecewise remaining life at each cycle of an engine run to failure: float32[cycles], min(cap, cycles to go).

    Source: Heimes 2008.
    """
    return np.minimum(np.arange(cycles - 1, -1, -1), cap).astype(np.float32)


def fit_standardizer(engines: Sequence[Engine]) -> Standardizer:
    """Find regimes, telling channels, means and standard deviations in these engines, which must be training ones.

    1. Regimes: `find_regimes` on the settings.
    2. A sensor is kept if it takes more than two values within some regime; the others carry (next to) no information.
    3. Where a kept sensor is constant within one regime, its standard deviation there is set to 1.
    """
    values = np.concatenate([engine.values for engine in engines])
    settings = values[:, : len(SETTINGS)]
    centres = find_regimes(settings)
    regime = nearest(settings, centres)
    groups = [values[regime == place].astype(np.float64) for place in range(len(centres))]

    def varies(channel: int) -> bool:
        return any(len(np.unique(group[:, channel])) > 2 for group in groups)  # noqa: PLR2004 (see 2)

    channels = tuple(place for place in range(len(SETTINGS), len(CHANNELS)) if varies(place))
    if not channels:
        raise DataError("No sensor varies within any operating condition: these engines teach nothing.")
    mean = np.stack([group[:, channels].mean(axis=0) for group in groups])
    std = np.stack([group[:, channels].std(axis=0) for group in groups])
    std[std < 1e-6 * np.maximum(1.0, np.abs(mean))] = 1.0
    return Standardizer(channels, mean.astype(np.float32), std.astype(np.float32), centres)


def find_regimes(settings: Floats) -> Floats:
    """Cluster the settings, float32[n, 3], into operating conditions: float32[regimes, 3], lowest altitude first.

    Deterministic: the farthest row from all centres becomes a centre for as long as it is REGIME_RADIUS or more away;
    then each centre moves to the mean of its rows. FD001 and FD003 have one condition, FD002 and FD004 have six.
    """
    centres = settings[:1]
    while True:
        away = _squared_distances(settings, centres).min(axis=1)
        if away.max() < REGIME_RADIUS**2:
            break
        centres = np.concatenate([centres, settings[[int(away.argmax())]]])
    regime = nearest(settings, centres)
    means = np.stack([settings[regime == k].mean(axis=0, dtype=np.float64) for k in range(len(centres))])
    return means[np.lexsort(means.T[::-1])].astype(np.float32)


def nearest(settings: Floats, centres: Floats) -> NDArray[np.intp]:
    """Give for each row of settings, float32[n, 3], the place of its nearest centre: int[n]."""
    place: NDArray[np.intp] = _squared_distances(settings, centres).argmin(axis=1)
    return place


def _squared_distances(settings: Floats, centres: Floats) -> Floats:
    """Squared Euclidean distances, float32[n, regimes]."""
    away: Floats = ((settings[:, None] - centres) ** 2).sum(axis=2)
    return away


def _table(path: Path, columns: int) -> NDArray[np.float64]:
    """Read a file of blank-separated numbers: float64[lines, columns]."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("ascii")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}. Restore it from the original archive.") from error
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != columns:
            raise DataError(
                f"{path}, line {number}: {len(fields)} columns instead of {columns}. Give the file as NASA distributes "
                "it, one flight cycle a line, without a header."
            )
        try:
            row = [float(field) for field in fields]
        except ValueError as error:
            raise DataError(
                f"{path}, line {number}: {error}. Every column is a number; correct the line or restore the file from "
                "the original archive."
            ) from error
        if not np.isfinite(row).all():
            raise DataError(f"{path}, line {number}: a value is not finite. Restore the original file.")
        rows.append(row)
    if not rows:
        raise DataError(f"{path} is empty. Restore it from the original archive.")
    return np.array(rows)
