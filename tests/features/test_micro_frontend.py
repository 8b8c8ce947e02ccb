"""micro_frontend against TensorFlow's own C code and against plain integers, to the last bit."""

import ctypes
import ctypes.util
from typing import Any

import numpy as np
import pymicro_features
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sounds import RATE_HZ, SPEC, pushed, sweep

from edgeseq.errors import ConfigError
from edgeseq.features import _fixed_fft, _micro, _micro_reference
from edgeseq.features.micro_frontend import MicroFrontend
from edgeseq.types import Channel, StreamSpec

GIVEN: dict[str, Any] = {"window": 0.03, "hop": 0.01, "bands": 40}
STEP = 0.0390625
LIMITS = -(2**15), 2**15 - 1


@pytest.fixture
def this_log1pf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ours take the logarithm of this machine's C library, as theirs does: see _micro.log1p."""
    log1pf = ctypes.CDLL(ctypes.util.find_library("m")).log1pf
    log1pf.argtypes, log1pf.restype = (ctypes.c_float,), ctypes.c_float
    monkeypatch.setattr(_micro, "log1p", lambda x: np.float32(log1pf(x)))


def theirs(x: NDArray[np.int16]) -> NDArray[np.float64]:
    frontend = pymicro_features.MicroFrontend()
    rows = [frontend.process_samples(x[k : k + 160].tobytes()).features for k in range(0, len(x) - 159, 160)]
    return np.array([row for row in rows if row]) / STEP


def shorts(x: NDArray[Any]) -> NDArray[np.int16]:
    return np.clip(np.rint(np.asarray(x, np.float64) * 32768), -32768, 32767).astype(np.int16)


def steps(seconds: float = 2.0) -> NDArray[np.float64]:
    """Full scale to silence and back, in noise: what the integers overflow on if they do."""
    rng = np.random.default_rng(2)
    loudness = np.repeat(10.0 ** rng.uniform(-5, 0.5, round(seconds * 20)), RATE_HZ // 20)
    return rng.normal(size=len(loudness)) * loudness


@pytest.mark.usefixtures("this_log1pf")
@pytest.mark.parametrize("x", [
    pytest.param(sweep(3.0), id="sweep"),
    pytest.param(steps(), id="steps"),
    pytest.param(np.zeros(4800), id="silence"),
    pytest.param(np.full(4800, -1.0), id="lowest"),
    pytest.param(np.sign(sweep(1.0)) * 1.0, id="clipped"),
    pytest.param(np.arange(9600) % 2 * 2.0 - 1, id="half the rate"),
    pytest.param(np.arange(9600) % 16 // 8 * 2.0 - 1, id="square"),
    pytest.param(np.where(np.arange(9600) % 700 == 0, 1.0, 0), id="clicks"),
    pytest.param(np.where(np.arange(9600) % 700 == 0, 1 / 32768, 0), id="last bit"),
])  # fmt: skip
def test_the_last_bit(x: NDArray[Any]) -> None:
    x = shorts(x)
    expected = theirs(x)
    np.testing.assert_array_equal(pushed(MicroFrontend(**GIVEN), x / 32768), expected)
    np.testing.assert_array_equal(pushed(MicroFrontend(**GIVEN, gain=1.0), x), expected)
    np.testing.assert_array_equal(plain(x[:4800]), expected[: (4800 - 480) // 160 + 1])


def plain(x: NDArray[Any], **more: Any) -> list[list[int]]:
    framing: dict[str, Any] = {"size": 480, "hop": 160, "bands": 40, "low_hz": 125.0, "high_hz": 7500.0}
    return _micro_reference.reference(x.astype(int).tolist(), RATE_HZ, **{**framing, **more})


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    loudness=st.sampled_from([0.3, 30, 3e3, 3e4, 1e6]),
    size=st.integers(4, 700),
    hop=st.integers(1, 300),
    bands=st.integers(1, 60),
)
def test_any_window_is_the_reference(seed: int, loudness: float, size: int, hop: int, bands: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.clip(np.rint(rng.normal(size=size + 5 * hop) * loudness * rng.choice([0.01, 1], size + 5 * hop)), *LIMITS)
    limits = {"low_hz": rng.uniform(0, 500), "high_hz": rng.uniform(600, 7900)}
    try:
        found = pushed(MicroFrontend(window=size / RATE_HZ, hop=hop / RATE_HZ, bands=bands, gain=1.0, **limits), x)
    except ConfigError:
        return  # bands that this few points cannot tell apart
    np.testing.assert_array_equal(found, plain(x, size=size, hop=hop, bands=bands, **limits))


@pytest.mark.parametrize("points", [4, 8, 32, 1024, 2048])
def test_the_transform_is_the_references(points: int) -> None:
    tables = _fixed_fft.tables(points)
    z = np.zeros((points // 2 + 1, 2), np.int64)
    for x in (np.random.default_rng(points).integers(*LIMITS, points), np.full(points, LIMITS[0])):
        _fixed_fft.forward(x, tables.order, tables.stages, tables.turn, tables.last, z)
        np.testing.assert_array_equal(z, _micro_reference.transform(x.tolist()))


def test_any_other_log1pf_is_hardly_seen() -> None:
    apart = pushed(MicroFrontend(**GIVEN), shorts(steps()) / 32768) - theirs(shorts(steps()))
    assert np.count_nonzero(apart) <= len(apart) // 10
    assert np.abs(apart).max() <= 5


def test_reset_is_as_new_and_splits_do_not_matter() -> None:
    x = shorts(sweep(1.0)).astype(np.float32)[:, None]
    feature = MicroFrontend(**GIVEN, gain=1.0)
    feature.open(SPEC)
    whole = feature.push(np.arange(len(x), dtype=np.int64), x)[1]
    feature.reset()
    parts = [feature.push(np.arange(k, k + 777), x[k : k + 777])[1] for k in range(0, len(x) - 777, 777)]
    np.testing.assert_array_equal(np.concatenate(parts), whole[: sum(map(len, parts))])


def test_a_nan_is_told_and_forgotten() -> None:
    x = sweep(1.0)
    for bad in (np.nan, np.inf):
        spoiled = x.copy()
        spoiled[7000] = bad
        frames = pushed(MicroFrontend(**GIVEN), spoiled)
        holds = np.array([k * 160 <= 7000 < k * 160 + 480 for k in range(len(frames))])
        np.testing.assert_array_equal(np.isnan(frames).all(axis=1), holds)
        assert np.isfinite(frames[~holds]).all()


@pytest.mark.usefixtures("this_log1pf")
def test_offset_and_clipping() -> None:
    quiet = sweep(1.0) / 8
    frames, lifted = pushed(MicroFrontend(**GIVEN), quiet), pushed(MicroFrontend(**GIVEN), quiet + np.float32(0.25))
    # A larger sample leaves the transform fewer bits.
    assert np.median(np.abs(frames - lifted)) < 8
    loud = sweep(1.0) * 10
    np.testing.assert_array_equal(pushed(MicroFrontend(**GIVEN), loud), theirs(shorts(loud)))


@pytest.mark.parametrize("points", [4, 8, 16, 32, 512, 1024])
def test_the_transform_is_one(points: int) -> None:
    tables = _fixed_fft.tables(points)
    x = np.rint(np.random.default_rng(points).uniform(-(2**15), 2**15 - 1, points)).astype(np.int64)
    z = np.zeros((points // 2 + 1, 2), np.int64)
    _fixed_fft.forward(x, tables.order, tables.stages, tables.turn, tables.last, z)
    exact = np.fft.rfft(x) / points
    np.testing.assert_allclose(z[:, 0] + 1j * z[:, 1], exact, atol=2 * np.log2(points))


def test_the_bands_are_triangles_that_meet() -> None:
    bands = _micro.bands(16_000.0, 512, 40, 125.0, 7500.0)
    inside = slice(bands.starts[0], bands.starts[-1])
    assert set(bands.rising[inside] + bands.falling[inside]) <= {2**12, 2**12 + 1}
    assert not bands.rising[bands.starts[-1] :].any()


def test_names_rate_and_times() -> None:
    feature = MicroFrontend(**{**GIVEN, "hop": 0.02})
    spec = feature.open(SPEC)
    assert (spec.channels[3], len(spec.channels), spec.rate_hz) == (Channel("x.micro3"), 40, 50.0)
    t_ns, frames = feature.push(np.arange(1000, dtype=np.int64), np.zeros((1000, 1), np.float32))
    assert t_ns.tolist() == [479, 799]
    assert not frames.any()
    assert pushed(feature, np.zeros(479)).shape == (0, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": 0}, "bands must be at least 1"),
        ({"bands": 513}, "bands = 513 are more than the transform's 512 points"),
        ({"gain": 0.0}, "gain must be a number other than 0"),
        ({"window": 0.00011}, "1.76 samples at 16000 Hz"),
        ({"high_hz": 8000.0}, "high_hz = 8000 leaves no bin above the bands"),
        ({"high_hz": 9000.0}, "half the stream's rate: was the model trained at another rate"),
        ({"channels": ["left"]}, "no channel 'left'"),
    ],
)
def test_what_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        MicroFrontend(**{**GIVEN, **change}).open(SPEC)


def test_another_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 4000 Hz"):
        MicroFrontend(**GIVEN).open(StreamSpec(SPEC.channels, 8000.0))
