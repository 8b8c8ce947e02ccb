"""The vibration features on a real bearing that wears out, against SciPy and against what is known of it."""

import io
import tarfile
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import signal, stats
from shared_files import data
from vibration_streams import agree

from edgeseq.features.band_energy import BandEnergy
from edgeseq.features.envelope import Envelope
from edgeseq.features.welch import Welch
from edgeseq.features.window_statistics import WindowStatistics
from edgeseq.types import Channel, Feature, Frames, StreamSpec

SPEC = StreamSpec((Channel("horizontal", "g"), Channel("vertical", "g")), 25_600.0)
WINDOW = 0.1
"""A record's length: 2,560 samples."""


@cache
def records() -> tuple[Frames, ...]:
    """Bearing1_1's records in order, float32[2560, 2] each, every fortieth of those there are."""
    with tarfile.open(data("femto") / "Bearing1_1.tar.xz") as archive:
        names = sorted(name for name in archive.getnames() if "/acc_" in name)
        wanted = {*names[::40], names[-1]}
        found = {}
        for member in archive:
            if member.name in wanted and (file := archive.extractfile(member)) is not None:
                found[member.name] = np.loadtxt(io.BytesIO(file.read()), np.float32, delimiter=",", usecols=(4, 5))
    return tuple(found[name] for name in sorted(found))


def frame(feature: Feature, record: Frames) -> NDArray[np.float32]:
    feature.open(SPEC)
    t_ns = np.round(np.arange(len(record)) * 1e9 / SPEC.rate_hz).astype(np.int64)
    (found,) = feature.push(t_ns, record)[1]
    return found


def test_they_are_scipys_on_every_record() -> None:
    sections = signal.butter(4, [2000, 8000], "bandpass", fs=SPEC.rate_hz, output="sos")
    weights = signal.get_window("hann", 2560)
    for record in records():
        x = record[:, 0].astype(np.float64)
        agree(frame(Welch(window=WINDOW, segment=0.01, channels=["horizontal"]), record),
              signal.welch(x, SPEC.rate_hz, nperseg=256)[1])  # fmt: skip
        kurtosis = frame(WindowStatistics(window=WINDOW, statistics=["kurtosis"], channels=["horizontal"]), record)
        agree(kurtosis, [stats.kurtosis(x, fisher=False)])
        passed = signal.sosfilt(sections, x, zi=signal.sosfilt_zi(sections) * x[0])[0]
        envelope = np.abs(signal.hilbert(passed))
        lines = np.abs(np.fft.rfft((envelope - envelope.mean()) * weights)) * 2 / weights.sum()
        found = frame(Envelope(window=WINDOW, band=[2000, 8000], channels=["horizontal"]), record)
        agree(found[1:-1], lines[1:-1])


def test_a_worn_bearing_shakes_more() -> None:
    first, *_, last = records()
    for feature in (
        WindowStatistics(window=WINDOW, statistics=["rms", "peak"]),
        BandEnergy(window=WINDOW, bands={"resonance": [2000, 8000]}),
    ):
        assert (frame(feature, last) > 2 * frame(feature, first)).all()
