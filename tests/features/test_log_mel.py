"""log_mel in three dialects, each against those whose numbers they are."""

import itertools
from typing import Any

import kaldi_native_fbank as knf
import librosa
import numpy as np
import pytest
import tf_signal
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sounds import FRAMING, RATE_HZ, SPEC, near, opened, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import _mel, _recipe, _spectra
from edgeseq.features.log_mel import LogMel
from edgeseq.types import Channel, StreamSpec

KALDI: dict[str, Any] = {**FRAMING, "dialect": "kaldi", "bands": 40}
LIBROSA: dict[str, Any] = {**FRAMING, "dialect": "librosa", "bands": 40, "points": 512}
TENSORFLOW: dict[str, Any] = {**FRAMING, "dialect": "tensorflow", "bands": 40}


def librosa_mel(x: NDArray[Any], rate_hz: int = RATE_HZ, **keyword: Any) -> NDArray[np.float64]:
    given: dict[str, Any] = {"n_fft": 512, "win_length": 400, "hop_length": 160, "n_mels": 40, **keyword}
    # All of it in float64: librosa's bank is float32 by itself.
    mel = librosa.feature.melspectrogram(y=x.astype(np.float64), sr=rate_hz, center=False, dtype=np.float64, **given)
    assert mel.dtype == np.float64
    return np.asarray(mel.T)


def kaldi(x: NDArray[np.float32], rate_hz: int = RATE_HZ, **mel: float) -> NDArray[np.float32]:
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq = rate_hz
    options.mel_opts.num_bins = 40
    for name, value in mel.items():
        setattr(options.mel_opts, name, value)
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(rate_hz, x.tolist())
    bank.input_finished()
    return np.array([bank.get_frame(k) for k in range(bank.num_frames_ready)])


def test_librosa() -> None:
    x = sweep()
    expected = librosa.power_to_db(librosa_mel(x), top_db=None)
    near(pushed(LogMel(**LIBROSA), x), expected)
    expected = librosa.amplitude_to_db(librosa_mel(x, power=1), top_db=None)
    near(pushed(LogMel(**LIBROSA, spectrum="magnitude"), x), expected)
    near(pushed(LogMel(**LIBROSA, logarithm="none"), x), librosa_mel(x))
    near(pushed(LogMel(**LIBROSA, logarithm="log_offset", floor=1e-6), x), np.log(librosa_mel(x) + 1e-6))


def test_librosa_without_points_takes_those_of_the_window() -> None:
    without = {key: value for key, value in LIBROSA.items() if key != "points"}
    expected = librosa.power_to_db(librosa_mel(sweep(), n_fft=400), top_db=None)
    near(pushed(LogMel(**without), sweep()), expected)


def as_near_as_float32(found: NDArray[Any], theirs: NDArray[Any]) -> None:
    """Hold log energies to 1e-4 where they lie within 50 dB of the window's loudest.

    kaldi-native-fbank transforms in float32: 100 dB below a tone some thousandths are rounding, its and not ours.
    test_mel_goldens.py holds all bands to 1e-4 and less, against Kaldi's computation in float64.
    """
    loud = theirs > theirs.max(axis=1, keepdims=True) - np.log(1e5)
    assert loud.mean() > 0.05
    np.testing.assert_allclose(found[loud], theirs[loud], rtol=0, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 32768.0])
@pytest.mark.parametrize("noise", [1e-3, 0.1])
def test_kaldi(scale: float, noise: float) -> None:
    x = sweep(noise=noise)
    theirs = kaldi(x * np.float32(scale))
    as_near_as_float32(pushed(LogMel(**KALDI, gain=scale), x), theirs)


def test_kaldi_far_below_a_tone() -> None:
    x = sweep(noise=1e-3) * np.float32(32768)
    exact = _recipe.reference(x, LogMel(**KALDI)._bands.recipe(SPEC))
    near(pushed(LogMel(**KALDI), x), exact, 1e-6)
    assert np.abs(kaldi(x) - exact).max() > 1e-3


@pytest.mark.parametrize("rate_hz", [8000, 16_000])
@pytest.mark.parametrize(("low", "high", "bands"), [(20, 0, 23), (0, 3600, 80), (300, 3900, 7)])
def test_kaldi_bands(rate_hz: int, low: float, high: float, bands: int) -> None:
    x = np.random.default_rng(0).normal(0, 3000, rate_hz).astype(np.float32)
    feature = LogMel(**{**KALDI, "bands": bands}, low_hz=low, high_hz=high or None)
    spec = StreamSpec(SPEC.channels, float(rate_hz))
    expected = kaldi(x, rate_hz, low_freq=low, high_freq=high, num_bins=bands)
    as_near_as_float32(pushed(feature, x, spec), expected)


@pytest.mark.parametrize("window", [0.025, 0.0249375])
def test_tensorflow(window: float) -> None:
    size = round(window * RATE_HZ)
    near(pushed(LogMel(**{**TENSORFLOW, "window": window}), sweep()), tf_signal.log_mel(sweep(), size, 160, 40))


@pytest.mark.parametrize("rate_hz", [8000.0, 16_000.0, 22_050.0])
@pytest.mark.parametrize(
    ("points", "bands", "low", "high"), [(512, 40, 0, None), (2048, 128, 30, 3900), (255, 9, 0, 4000)]
)
def test_banks(rate_hz: float, points: int, bands: int, low: float, high: float | None) -> None:
    top = high or rate_hz / 2
    slaney = librosa.filters.mel(sr=rate_hz, n_fft=points, n_mels=bands, fmin=low, fmax=top, dtype=np.float64)
    np.testing.assert_allclose(_mel.librosa_bank(rate_hz, points, bands, low, top), slaney, atol=1e-12)
    bins = points // 2 + 1
    if points % 2 == 0:
        expected = tf_signal.mel_weights(bands, bins, rate_hz, low, top).T
        np.testing.assert_allclose(_mel.htk_bank(rate_hz, points, bands, low, top), expected, atol=1e-12)


@given(cuts=st.lists(st.integers(1, 3999), max_size=12), dialect=st.sampled_from(["librosa", "kaldi", "tensorflow"]))
@settings(max_examples=30, deadline=None)
def test_any_split_gives_the_same(cuts: list[int], dialect: Any) -> None:
    x = sweep(0.25)[:, None]
    given = {**FRAMING, "dialect": dialect, "bands": 40}
    feature, places = opened(LogMel(**given)), [0, *sorted(cuts), len(x)]
    t_ns = np.arange(len(x), dtype=np.int64)
    parts = [feature.push(t_ns[a:b], x[a:b]) for a, b in itertools.pairwise(places)]
    whole = opened(LogMel(**given)).push(t_ns, x)
    for place in (0, 1):
        np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), whole[place])


@given(
    size=st.integers(2, 70), hop=st.integers(1, 90), more=st.integers(0, 30), centred=st.booleans(),
    emphasis=st.sampled_from([0.0, 0.97]), magnitude=st.booleans(), logarithm=st.sampled_from(_recipe.LOGARITHMS),
    energy=st.booleans(), bands=st.sampled_from([0, 3]), rows=st.sampled_from([0, 2]),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_the_kernel_is_the_reference(size: int, hop: int, more: int, bands: int, rows: int, **keyword: Any) -> None:
    rng = np.random.default_rng(size)
    points = size + more
    recipe = _recipe.Recipe(
        hop=hop,
        window=rng.uniform(0.1, 1, size),
        points=points,
        gain=2.0,
        floor=1e-3,
        bank=rng.uniform(0, 1, (bands, points // 2 + 1)),
        matrix=rng.normal(size=(rows, bands)) if bands else _recipe.NONE,
        **keyword,
    )
    x = rng.normal(size=300).astype(np.float32)
    spectra = _spectra.Spectra()
    spectra._begin(recipe, np.array([0]))
    found = spectra.push(np.arange(300), x[:, None])[1]
    expected = _recipe.reference(x, recipe)
    assert found.shape == expected.shape
    near(found, expected, 1e-6)


def test_names_units_rate_and_times() -> None:
    units = {"db": "dB", "log": "", "log_offset": "", "none": "Pa²"}
    for logarithm, unit in units.items():
        spec = LogMel(**LIBROSA, logarithm=logarithm).open(SPEC)
        assert (spec.channels[3], len(spec.channels), spec.rate_hz) == (Channel("x.mel3", unit), 40, 100.0)
    assert LogMel(**TENSORFLOW, logarithm="none").open(SPEC).channels[0].unit == "Pa"
    t_ns = np.arange(800, dtype=np.int64)
    first = {
        name: opened(LogMel(**keys)).push(t_ns, np.zeros((800, 1), np.float32))[0][0] for name, keys in ALL.items()
    }
    assert first == {"kaldi": 399, "librosa": 455, "tensorflow": 399}


ALL = {"kaldi": KALDI, "librosa": LIBROSA, "tensorflow": TENSORFLOW}


@pytest.mark.parametrize(
    ("dialect", "silence"),
    [("kaldi", np.log(np.finfo(np.float32).eps)), ("librosa", -100), ("tensorflow", np.log(1e-6))],
)
def test_bad_input(dialect: str, silence: float) -> None:
    def frames(x: NDArray[Any]) -> NDArray[np.float32]:
        return pushed(LogMel(**ALL[dialect]), x)

    np.testing.assert_allclose(frames(np.zeros(1000)), silence, rtol=1e-6)
    x = sweep()
    # A steady offset: Kaldi does not hear it.
    lifted = np.abs(frames(x + np.float32(0.25)) - frames(x)).max()
    assert (lifted < 1e-3) == (dialect == "kaldi")
    clean = frames(x)
    clipped = np.clip(4 * x, -1, 1)
    assert np.isfinite(frames(clipped)).all()
    for bad in (np.nan, np.inf):
        x = sweep()
        x[5000] = bad
        spoiled = ~np.isfinite(frames(x))
        assert 2 <= spoiled.all(axis=1).sum() == spoiled.any(axis=1).sum() <= 3
        np.testing.assert_array_equal(frames(x)[~spoiled], clean[~spoiled])
    assert frames(sweep()[:399]).shape == (0, 40)


def test_a_band_without_a_bin_is_silent() -> None:
    frames = pushed(LogMel(**{**LIBROSA, "bands": 200}), sweep())
    empty = ~_mel.librosa_bank(RATE_HZ, 512, 200, 0, RATE_HZ / 2).any(axis=1)
    assert empty.any()
    assert (frames[:, empty] == -100).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"center": True}, "center = true pads both ends of a recording"),
        ({"top_db": 80.0}, "top_db = 80 cuts off what lies so far below the loudest moment.*set 'floor'"),
        ({"bands": 0}, "bands must be at least 1"),
        ({"floor": 0.0}, "floor must be a number above 0"),
        ({"gain": 0.0}, "gain must be a number other than 0"),
        ({"high_hz": 9000.0}, "between 0 and 8000 Hz.*another rate"),
        ({"low_hz": 500.0, "high_hz": 500.0}, "in this order"),
        ({"points": 256}, "points = 256 must be the window's 400 samples at least"),
        ({"points": 1 << 30}, "points = 1073741824 must be .* at most 1048576"),
        ({"bands": 513}, "bands = 513 are more than the transform's 512 points can tell apart"),
        ({"low_hz": float("nan")}, "in this order"),
        ({"gain": float("nan")}, "gain must be a number"),
        ({"window": 0.02501}, r"400.16 samples at 16000 Hz.*0.025 \(400 samples\) or 0.0250625 \(401 samples\)"),
        ({"channels": ["left"]}, "no channel 'left'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LogMel(**{**LIBROSA, **change}).open(SPEC)


def test_another_rate_than_the_bands_were_made_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="3800 must lie in this order between 0 and 2000 Hz"):
        LogMel(**TENSORFLOW).open(StreamSpec(SPEC.channels, 4000.0))
