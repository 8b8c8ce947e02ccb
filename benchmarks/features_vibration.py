"""Features of vibration beside SciPy and NumPy: windows of 2,560 samples at 25.6 kHz, one channel, one window a call.

python -m benchmarks.features_vibration
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import command
from benchmarks.measure import Contender, agree, interleave
from benchmarks.peers import scipy_signal
from benchmarks.report import Report
from edgeseq.features.cepstrum import Cepstrum
from edgeseq.features.envelope import Envelope
from edgeseq.features.spectral_kurtosis import SpectralKurtosis
from edgeseq.features.velocity import Velocity
from edgeseq.features.welch import Welch
from edgeseq.features.window_statistics import WindowStatistics
from edgeseq.types import Channel, Feature, StreamSpec

RATE_HZ, SIZE, WINDOWS = 25_600.0, 2560, 20
SPEC = StreamSpec((Channel("x", "g"),), RATE_HZ)
OURS = "edgeseq"
AGREES = 1e-5
"""Of the greatest number that is given."""
_WINDOW = SIZE / RATE_HZ
_SEGMENT = 256 / RATE_HZ
Case = tuple[Feature, scipy_signal.Peer, float | None]
"""A feature, who gives the same, and how many times faster it should be."""
CASES: dict[str, Callable[[], Case]] = {
    "14 statistics": lambda: (WindowStatistics(window=_WINDOW), scipy_signal.Statistics(), 20.0),
    "envelope spectrum": lambda: (
        Envelope(window=_WINDOW, band=list(scipy_signal.BAND)), scipy_signal.Envelope(RATE_HZ), 3.0,
    ),
    "rectified envelope": lambda: (
        Envelope(window=_WINDOW, band=list(scipy_signal.BAND), method="rectified"),
        scipy_signal.Envelope(RATE_HZ, analytic=False), None,
    ),
    "Welch": lambda: (Welch(window=_WINDOW, segment=_SEGMENT), scipy_signal.Welch(RATE_HZ), None),
    "spectral kurtosis": lambda: (
        SpectralKurtosis(window=_WINDOW, segment=_SEGMENT), scipy_signal.SpectralKurtosis(RATE_HZ), None,
    ),
    "cepstrum": lambda: (Cepstrum(window=_WINDOW), scipy_signal.Cepstrum(), None),
    "velocity RMS": lambda: (Velocity(window=_WINDOW), scipy_signal.Velocity(RATE_HZ), None),
}  # fmt: skip


def measure(options: command.Options) -> None:
    """Measure every feature and its peer in turn."""
    report = Report("features of vibration", options.blocks, options.seed, options.cpu_time, unit="window")
    windows = np.random.default_rng(options.seed).normal(size=(WINDOWS, SIZE)).astype(np.float32)
    windows[0, 0] = 0  # a filter of ours takes up the first value as if it had always been there; SciPy's starts at 0
    for name, case in CASES.items():
        feature, peer, target = case()
        contenders = [theirs(peer, windows), ours(feature, windows)]
        agree(contenders, AGREES * float(np.abs(contenders[0].outputs()).max()))
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        report.compare(name, OURS, (scipy_signal.NAME,), target)
    report.show(options.json)


def ours(feature: Feature, windows: NDArray[np.float32]) -> Contender:
    """Return a feature that is given a window a call, as float32[samples, 1]."""
    feature.open(SPEC)
    t_ns = np.round(np.arange(SIZE) * 1e9 / RATE_HZ).astype(np.int64)
    arguments: list[tuple[Any, ...]] = [(t_ns, np.ascontiguousarray(window[:, None])) for window in windows]
    return Contender(OURS, lambda t, x: feature.push(t, x)[1], arguments, feature.reset)


def theirs(peer: scipy_signal.Peer, windows: NDArray[np.float32]) -> Contender:
    """Return a peer that is given a window a call, as float64[samples], which spares it the conversion."""
    arguments: list[tuple[Any, ...]] = [(window.astype(np.float64),) for window in windows]
    return Contender(scipy_signal.NAME, peer.push, arguments, peer.reset)


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
