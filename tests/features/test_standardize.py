"""standardize against plain loops, and against the recipe that trains with the same numbers."""

from typing import Any

import numpy as np
import pytest

from edgeseq.errors import ConfigError
from edgeseq.features.standardize import Standardize, nearest, reference
from edgeseq.types import Channel, Frames, StreamSpec
from zoo.turbofan import data

SPEC = StreamSpec((Channel("a", "V"), Channel("b", "A"), Channel("c")), 10.0)


def push(feature: Standardize, values: Frames) -> Frames:
    return feature.push(np.arange(len(values), dtype=np.int64), values)[1]


def samples(count: int = 50) -> Frames:
    return np.random.default_rng(0).normal(0, 5, (count, 3)).astype(np.float32)


def test_one_regime() -> None:
    feature = Standardize(mean=[1, 2, 3], std=[1, 2, 4])
    out = feature.open(SPEC)
    assert (out.names, out.rate_hz) == (SPEC.names, 10.0)
    assert {channel.unit for channel in out.channels} == {""}, "standard deviations"
    values = samples()
    expected = (values - np.float32([1, 2, 3])) / np.float32([1, 2, 4])
    np.testing.assert_array_equal(push(feature, values), expected)


def test_channels_come_out_in_the_order_named() -> None:
    feature = Standardize(mean=[0, 0], std=[1, 1], channels=["c", "a"])
    out = feature.open(SPEC)
    assert out.channels == (Channel("c"), Channel("a"))
    assert out.rate_hz == 10.0
    np.testing.assert_array_equal(push(feature, samples()), samples()[:, [2, 0]])


@pytest.mark.parametrize("clip", [None, 1.0])
def test_it_is_the_reference(clip: float | None) -> None:
    feature = Standardize(mean=[1, 2, 3], std=[0.5, 2, 40], clip=clip)
    feature.open(SPEC)
    values = samples() + np.float32(20)
    expected = reference(values, np.array([1, 2, 3]), np.array([0.5, 2, 40]), clip or np.inf)
    np.testing.assert_allclose(push(feature, values), expected, rtol=0, atol=1e-6 * np.abs(expected).max())


def test_it_is_the_reference_of_the_nearest_regime() -> None:
    random = np.random.default_rng(3)
    mean, std, centres = random.normal(size=(4, 2)), random.uniform(0.5, 2, (4, 2)), random.normal(0, 5, (4, 1))
    feature = Standardize(
        mean=mean.tolist(), std=std.tolist(), channels=["c", "a"],
        regime_channels=["b"], regime_centres=centres.tolist(), regime_scale=[3],
    )  # fmt: skip
    feature.open(SPEC)
    values = samples(200)
    values[7, 1] = np.nan
    regimes = nearest(values[:, 1:2], centres, np.array([3.0]))
    assert {*regimes} == {0, 1, 2, 3, None}
    found = push(feature, values)
    assert np.isnan(found[7]).all()
    for row, frame, regime in zip(values, found, regimes, strict=True):
        if regime is not None:
            expected = reference(row[None, [2, 0]], mean[regime], std[regime])
            np.testing.assert_allclose(frame, expected[0], rtol=1e-5, atol=1e-5)


def test_clip_holds_values() -> None:
    feature = Standardize(mean=[0, 0, 0], std=[0.1, 0.1, 0.1], clip=5)
    feature.open(SPEC)
    frames = push(feature, samples())
    assert frames.max() == 5
    assert frames.min() == -5


def test_each_sample_takes_its_nearest_regime() -> None:
    mean = np.random.default_rng(1).normal(size=(3, 1)).astype(np.float32)
    std = np.random.default_rng(2).uniform(0.5, 2, (3, 1)).astype(np.float32)
    centres = np.float32([[0, 0], [5, 1], [-5, 3]])
    scale = np.float32([2, 0.5])
    feature = Standardize(
        mean=mean.tolist(),
        std=std.tolist(),
        channels=["a"],
        regime_channels=["b", "c"],
        regime_centres=centres.tolist(),
        regime_scale=scale.tolist(),
    )
    feature.open(SPEC)
    values = samples(200)
    frames = push(feature, values)
    for row, frame in zip(values, frames, strict=True):
        away = [sum(((row[1 + k] - centre[k]) / scale[k]) ** 2 for k in range(2)) for centre in centres]
        regime = int(np.argmin(away))
        assert frame[0] == (row[0] - mean[regime, 0]) / std[regime, 0]


def test_of_equally_near_regimes_the_first_counts() -> None:
    feature = Standardize(
        mean=[[0], [100]], std=[[1], [1]], channels=["a"], regime_channels=["b"], regime_centres=[[-1], [1]]
    )
    feature.open(SPEC)
    assert push(feature, np.zeros((1, 3), np.float32))[0, 0] == 0


def test_a_nan_stays_in_its_channel_unless_it_hides_the_regime() -> None:
    plain = Standardize(mean=[0, 0, 0], std=[1, 1, 1], clip=5)
    plain.open(SPEC)
    values = samples(2)
    values[0, 1] = np.nan
    assert np.isnan(push(plain, values)).tolist() == [[False, True, False], [False] * 3]
    regimes = Standardize(**{**Standardize.example(), "regime_channels": ["b"]})
    regimes.open(SPEC)
    assert np.isnan(push(regimes, values)).tolist() == [[True, True], [False, False]]


def test_a_setting_infinitely_far_from_every_regime_hides_it() -> None:
    feature = Standardize(**{**Standardize.example(), "regime_channels": ["b"]})
    feature.open(SPEC)
    values = samples(2)
    values[0, 1] = 1e30
    assert np.isnan(push(feature, values)).tolist() == [[True, True], [False, False]]


@pytest.mark.filterwarnings("error")
def test_what_float32_does_not_hold_is_clipped_or_infinite_without_a_warning() -> None:
    for clip, expected in ((5.0, 5.0), (None, np.inf)):
        feature = Standardize(mean=[0, 0, 0], std=[0.1, 1, 1], clip=clip)
        feature.open(SPEC)
        assert push(feature, np.full((1, 3), 3e38, np.float32))[0, 0] == expected


@pytest.mark.parametrize("regimes", [1, 6])
def test_it_is_what_the_turbofan_recipe_trains_with(regimes: int) -> None:
    random = np.random.default_rng(regimes)
    spread = np.float32([[0, 0, 100], [10, 0.25, 100], [20, 0.7, 100], [25, 0.6, 60], [35, 0.8, 100], [42, 0.8, 100]])
    engines = []
    for number in range(4):
        values = random.normal(500, 50, (120, len(data.CHANNELS))).astype(np.float32)
        at = spread[random.integers(0, regimes, 120)] + random.normal(0, 0.001, (120, 3))
        values[:, :3] = at
        engines.append(data.Engine(number + 1, values))
    recipe = data.fit_standardizer(engines)
    assert len(recipe.centres) == regimes
    parameters: dict[str, Any] = {
        "channels": list(recipe.names),
        "mean": recipe.mean.tolist(),
        "std": recipe.std.tolist(),
        "clip": recipe.clip,
    }
    if regimes > 1:
        parameters |= {
            "regime_channels": [name for name, _ in data.SETTINGS],
            "regime_centres": recipe.centres.tolist(),
        }
    feature = Standardize(**parameters)
    feature.open(StreamSpec(tuple(Channel(*channel) for channel in data.CHANNELS), 1.0))
    for engine in engines:
        np.testing.assert_array_equal(push(feature, engine.values), recipe(engine.values))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"mean": [[0.0, 0.0]]}, "mean is 1 x 2 and std 2 x 2"),
        ({"mean": [0.0, 0.0], "std": [1.0, 1.0]}, "1 rows for 2 regimes"),
        ({"std": [[1, 2], [0, 1]]}, "std must be above 0"),
        ({"mean": [[1, 2], [3]]}, "mean: its lists are not equally long"),
        ({"mean": [[1, float("nan")], [3, 4]]}, "mean must be finite"),
        ({"regime_channels": None}, "come together"),
        ({"regime_centres": None}, "come together"),
        ({"regime_centres": [[1, 2], [3, 4]]}, "regime_centres have 2 numbers for 1"),
        ({"regime_scale": [1, 2]}, "regime_scale must be one number above 0"),
        ({"regime_scale": [0]}, "regime_scale must be one number above 0"),
        ({"clip": 0}, "clip must be above 0"),
    ],
)
def test_parameters_that_contradict_each_other(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Standardize(**{**Standardize.example(), **more})


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"channels": ["a", "bb"]}, "no channel 'bb'. Did you mean 'b'"),
        ({"regime_channels": ["altitude"]}, "no channel 'altitude'. Known here: a, b, c"),
        ({"channels": None}, "2 numbers for 3 channels"),
    ],
)
def test_parameters_that_do_not_fit_the_stream(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Standardize(**{**Standardize.example(), **more}).open(SPEC)
