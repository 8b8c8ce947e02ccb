"""The feature chain, one frame a record, run by the code that a device runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeseq import tables
from edgeseq.bundle import ChannelTable, StreamTable
from edgeseq.errors import ConfigError
from edgeseq.feature_chain import FeatureChain
from edgeseq.feature_tables import FeatureTables
from edgeseq.types import Chunk
from zoo.bearing.data import BEARING, CHANNELS, RATE_HZ, SAMPLES, Floats, Run

WINDOW_S: Final = SAMPLES / RATE_HZ
AXES: Final = ["horizontal", "vertical"]
CLIP: Final = 5.0
"""Standard deviations: a frame's values are held to +-CLIP, which bounds what int8 has to span."""
STREAM: Final = StreamTable(rate_hz=RATE_HZ, channels=[ChannelTable(name=n, unit=u) for n, u in CHANNELS])

LEVELS: Final[list[dict[str, Any]]] = [
    {
        "type": "side_by_side",
        "features": [
            {
                "type": "window_statistics",
                "window": WINDOW_S,
                "statistics": ["rms", "crest", "kurtosis"],
                "channels": AXES,
            },
            {
                "type": "band_energy",
                "window": WINDOW_S,
                "bands": {
                    "to_500": [20, 500],
                    "to_1k": [500, 1000],
                    "to_2k": [1000, 2000],
                    "to_4k": [2000, 4000],
                    "to_8k": [4000, 8000],
                    "to_12k": [8000, 12800],
                },
                "channels": AXES,
            },
            {
                "type": "envelope",
                "window": WINDOW_S,
                "band": [2000, 8000],
                "order": 2,
                "bearing": BEARING,
                "speed_channel": "speed",
                "width": 0.03,
                "channels": AXES,
            },
        ],
    },
    {"type": "decibels"},
]
"""Everything up to standardization: a level in dB of each statistic, band and fault, of both axes."""


def standardize(mean: Floats, std: Floats) -> dict[str, Any]:
    """Give the table of the chain's last link."""
    return {"type": "standardize", "mean": mean.tolist(), "std": std.tolist(), "clip": CLIP}


def names(chain: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Give the names of a frame's values."""
    return _declared(chain).open()[1][-1].names


def frames(run: Run, chain: Sequence[dict[str, Any]]) -> Floats:
    """Give a frame a record, float32[records, features]; between two records there is a gap, as on a device."""
    pushed = FeatureChain(_declared(chain).open()[0])
    rows = []
    for t_s, samples in zip(run.t_s.tolist(), run.samples, strict=True):
        t_ns = t_s * 1_000_000_000 + np.round(np.arange(len(samples)) * (1e9 / RATE_HZ)).astype(np.int64)
        rows.append(pushed.push(Chunk(t_ns, samples, gap=True))[1])
    return np.concatenate(rows)


def _declared(chain: Sequence[dict[str, Any]]) -> FeatureTables:
    return FeatureTables(tables.Document(Path("zoo/bearing"), "", {}, ConfigError), STREAM.spec(), list(chain))
