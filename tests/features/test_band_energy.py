"""band_energy: Parseval's theorem, and SciPy's spectrum summed."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal
from vibration_streams import RATE_HZ, SPEC, agree, frames, noise, opened, push

from edgeseq.errors import ConfigError
from edgeseq.features.band_energy import BandEnergy, reference
from edgeseq.types import Channel, StreamSpec

BANDS = {"low": [0, 60.0], "middle": [60, 200.0], "high": [200, 500.0]}


def test_bands_are_the_sums_of_scipys_spectrum() -> None:
    values = noise(800)
    found = frames(BandEnergy(window=0.4, hop=0.4, segment=0.1, bands=BANDS, channels=["y", "x"]), values)
    assert found.shape == (2, 6)
    for k, frame in enumerate(found):
        for got, place in zip(frame.reshape(2, 3), (1, 0), strict=True):
            window = values[400 * k : 400 * k + 400, place].astype(np.float64)
            hz, psd = signal.welch(window, RATE_HZ, nperseg=100)
            edges = ((0, 60), (60, 200), (200, np.inf))
            expected = [psd[(hz >= low) & (hz < high)].sum() * 10 for low, high in edges]
            agree(got, np.sqrt(expected))
            agree(got[:2] ** 2, [reference(psd, hz, low, high) for low, high in edges[:2]])


@given(
    edges=st.lists(st.integers(1, 49), min_size=1, max_size=5, unique=True),
    size=st.sampled_from([100, 101, 250]),
    seed=st.integers(0, 99),
)
@settings(deadline=None, max_examples=30)
def test_bands_side_by_side_have_the_windows_energy(edges: list[int], size: int, seed: int) -> None:
    """Parseval: whatever the edges, nothing is counted twice or left out."""
    values = noise(size, seed)
    cuts = [0, *(10 * edge for edge in sorted(edges)), 500]
    bands = {f"b{low}": [float(low), float(high)] for low, high in itertools.pairwise(cuts)}
    feature = BandEnergy(
        window=size / 1000, bands=bands, measure="energy", taper="boxcar", detrend="none", channels=["x"]
    )
    energy = (values[:, 0].astype(np.float64) ** 2).mean()
    assert frames(feature, values).sum(dtype=np.float64) == pytest.approx(energy, rel=1e-5)


def test_a_sines_rms_is_in_its_band_alone() -> None:
    values = np.zeros((1000, 3), np.float32)
    values[:, 0] = 3 * np.sin(2 * np.pi * 100 * np.arange(1000) / RATE_HZ)
    (found,) = frames(BandEnergy(window=1, bands=BANDS, channels=["x"]), values)
    np.testing.assert_allclose(found, [0, 3 / 2**0.5, 0], atol=1e-5)


def test_names_units_and_times() -> None:
    feature = BandEnergy(window=0.1, bands={"a": [10, 100.0], "b": [50, 60.0]}, channels=["x", "y"])
    spec = feature.open(SPEC)
    assert spec.channels == (Channel("x.a", "g"), Channel("x.b", "g"), Channel("y.a", "m/s²"), Channel("y.b", "m/s²"))
    assert push(feature, noise(200))[0].tolist() == [99_000_000, 199_000_000]
    energy = BandEnergy(window=0.1, bands={"a": [10, 100.0]}, measure="energy").open(SPEC)
    assert [channel.unit for channel in energy.channels] == ["g²", "(m/s²)²", ""]


def test_zeros_constants_and_offsets() -> None:
    values = np.zeros((200, 3), np.float32)
    values[:, 1] = 9.81
    assert not frames(BandEnergy(window=0.1, bands=BANDS), values).any()
    plain = frames(BandEnergy(window=0.1, bands=BANDS), noise(200))
    agree(frames(BandEnergy(window=0.1, bands=BANDS), noise(200) + np.float32(10)), plain, 1e-5)


def test_what_is_no_number_or_clipped() -> None:
    values = np.clip(noise(300), -1, 1)
    clipped = frames(BandEnergy(window=0.1, bands=BANDS, channels=["x", "y"]), values)
    assert np.isfinite(clipped).all()
    assert (clipped**2).reshape(3, 2, 3).sum(axis=2).max() <= 1.6  # a Hann window weighs its middle more
    values[150, 0] = np.nan
    found = frames(BandEnergy(window=0.1, bands=BANDS, channels=["x", "y"]), values)
    assert np.isnan(found).tolist() == [[False] * 6, [True] * 3 + [False] * 3, [False] * 6]


def test_less_than_a_window_gives_no_frame() -> None:
    assert push(opened(BandEnergy(window=0.1, bands=BANDS)), noise(99))[1].shape == (0, 9)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"bands": {}}, "bands names no band"),
        ({"bands": {"a": [10.0]}}, "the band 'a' must go from a frequency up to a higher one"),
        ({"bands": {"a": [10.0, 5.0]}}, "the band 'a' must go"),
        ({"bands": {"a": [10.0, 501.0]}}, "the band 'a' ends at 501 Hz; samples at 1000 Hz have 500"),
        ({"bands": {"a": [11.0, 19.0]}}, "the band 'a' has no line of the spectrum: they lie 10 Hz apart"),
        ({"bands": BANDS, "channels": ["z"]}, "no channel 'z'"),
    ],
)
def test_errors(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BandEnergy(window=0.1, **more).open(SPEC)


def test_a_rate_too_low_for_its_bands_is_refused() -> None:
    with pytest.raises(ConfigError, match="samples at 800 Hz have 400"):
        BandEnergy(window=0.1, bands=BANDS).open(StreamSpec(SPEC.channels, 800.0))
