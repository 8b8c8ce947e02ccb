"""stft against librosa, and what it does with bad input."""

from typing import Any

import librosa
import numpy as np
import pytest
from numpy.lib.stride_tricks import as_strided
from sounds import FRAMING, RATE_HZ, SPEC, near, opened, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import _recipe
from edgeseq.features._fft import taper
from edgeseq.features.stft import Stft
from edgeseq.types import Channel, StreamSpec


@pytest.mark.parametrize("spectrum", ["magnitude", "power"])
@pytest.mark.parametrize("shape", ["hann", "hamming", "boxcar"])
@pytest.mark.parametrize(("window", "hop", "points"), [(0.025, 0.01, 512), (0.025, 0.01, None), (0.01, 0.02, 255)])
def test_librosa(window: float, hop: float, points: int | None, shape: Any, spectrum: Any) -> None:
    x, size = sweep(), round(window * RATE_HZ)
    found = pushed(Stft(window=window, hop=hop, points=points, shape=shape, spectrum=spectrum), x)
    expected = librosa.stft(
        x.astype(np.float64),
        n_fft=points or size,
        win_length=size,
        hop_length=round(hop * RATE_HZ),
        window=shape,
        center=False,
    )
    near(found, np.abs(expected.T) ** (1 if spectrum == "magnitude" else 2))
    assert len(found) - len(expected.T) in {0, 1}  # no waiting for samples whose weight is zero


@pytest.mark.parametrize("hop", [400, 700, 1300])
def test_a_hop_longer_than_the_window_leaves_samples_out(hop: int) -> None:
    x, recipe = sweep(), _recipe.Recipe(hop, taper("hann", 400), 400, magnitude=True)
    feature = opened(Stft(window=0.025, hop=hop / RATE_HZ))
    parts = [feature.push(np.arange(k, k + 500), x[k : k + 500, None]) for k in range(0, len(x), 500)]
    near(np.concatenate([part[1] for part in parts]), _recipe.reference(x, recipe))
    assert np.concatenate([part[0] for part in parts]).tolist() == [*range(399, len(x), hop)]


def test_names_units_rate_and_times() -> None:
    feature = Stft(**FRAMING, points=512, spectrum="power")
    spec = feature.open(SPEC)
    assert (spec.channels[3], len(spec.channels), spec.rate_hz) == (Channel("x.bin3", "Pa²"), 257, 100.0)
    t_ns, frames = feature.push(np.arange(1000, dtype=np.int64), np.zeros((1000, 1), np.float32))
    # The window of 400 lies in the middle of 512 points.
    assert t_ns.tolist() == [455, 615, 775, 935]
    assert frames.shape == (4, 257)
    assert opened(Stft(**FRAMING)).push(np.arange(400), np.zeros((400, 1), np.float32))[0].tolist() == [399]


def test_channels_are_apart() -> None:
    spec = StreamSpec((Channel("a"), Channel("b"), Channel("c")), float(RATE_HZ))
    x = np.random.default_rng(1).normal(size=(2000, 3)).astype(np.float32)
    feature = opened(Stft(**FRAMING, channels=["c", "a"]), spec)
    frames = feature.push(np.arange(2000, dtype=np.int64), x)[1]
    alone = [pushed(Stft(**FRAMING), x[:, place]) for place in (2, 0)]
    np.testing.assert_array_equal(frames, np.concatenate(alone, axis=1))


def test_samples_may_lie_anyhow_in_memory() -> None:
    x = sweep()
    expected = pushed(Stft(**FRAMING), x)
    frozen = x[:, None].copy()
    frozen.flags.writeable = False
    apart = np.repeat(x, 3)[::3][:, None]
    columns = np.asfortranarray(np.stack([x, x], axis=1))[:, :1]
    for values in (frozen, apart, columns, as_strided(x, (len(x), 1), (4, 0))):
        frames = opened(Stft(**FRAMING)).push(np.arange(len(x), dtype=np.int64), values)[1]
        np.testing.assert_array_equal(frames, expected)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_in_the_windows_that_hold_it_alone(bad: float) -> None:
    x = sweep()
    clean = pushed(Stft(**FRAMING), x)
    x[1000] = bad
    frames = pushed(Stft(**FRAMING), x)
    spoiled = [start <= 1000 < start + 400 for start in range(0, 160 * len(frames), 160)]
    # A Hann window's first weight is zero, and zero times NaN is NaN.
    np.testing.assert_array_equal((~np.isfinite(frames)).all(axis=1), spoiled)
    np.testing.assert_array_equal(frames[~np.array(spoiled)], clean[~np.array(spoiled)])


def test_zeros_offset_clipping_and_too_little() -> None:
    assert not pushed(Stft(**FRAMING), np.zeros(800)).any()
    constant = pushed(Stft(**FRAMING), np.ones(800))
    assert (constant.argmax(axis=1) == 0).all()
    assert constant[0, 0] == pytest.approx(200)
    x = np.clip(10 * sweep(), -1, 1)
    near(pushed(Stft(**FRAMING), x), _recipe.reference(x, _recipe.Recipe(160, taper("hann", 400), 400, magnitude=True)))
    assert pushed(Stft(**FRAMING), sweep()[:399]).shape == (0, 201)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center": True}, "center = true pads both ends of a recording.*train with center=False"),
        ({"points": 256}, "points = 256 must be the window's 400 samples at least"),
        ({"points": 0}, "points = 0 must be the window's 400 samples at least"),
        ({"points": 1 << 30}, "points = 1073741824 must be .* at most 1048576"),
        ({"window": 1e6}, "is 16,000,000,000 samples; 16,777,216 is the most"),
        ({"window": float("nan")}, "less than one sample"),
        ({"window": 1e300}, r"is 1.6e\+304 samples at 16000 Hz"),
        ({"window": 1 / RATE_HZ}, "1 sample at 16000 Hz; it takes 2"),
        ({"hop": 0.0001}, r"hop = 0.0001 s is 1.6 samples at 16000 Hz, no whole number.*6.25e-05 \(1 samples\)"),
        ({"hop": 0.0}, "less than one sample"),
        ({"channels": ["y"]}, "no channel 'y'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Stft(**{**FRAMING, **change}).open(SPEC)
