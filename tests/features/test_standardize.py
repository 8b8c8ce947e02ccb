"""standardize against plain loops, and against the recipe that trains with the same numbers."""

from typing import Any

import numpy as np
import pytest

from edgeseq.errors import ConfigError
from edgeseq.features.standardize import Standardize
from edgeseq.types import Channel, Frames, StreamSpec
from zoo.turbofan import data

SPEC = StreamSpec((Channel("a", "V"), Channel("b", "A"), Channel("c")), 10.0)


def push(feature: Standardize, values: Frames) -> Frames:
    return feature.push(np.arange(len(values), dtype=np.int64), values)[1]


def samples(count: int = 50) -> Frames:
    return np.random.default_rng(0).normal(0, 5, (count, 3)).astype(np.float32)


def test_one_regime() -> None:
    feature = Standardize(mean=[1, 2, 3], std=[1, 2, 4])
    assert feature.open(SPEC) == SPEC
    values = samples()
    expected = (values - np.float32([1, 2, 3])) / np.float32([1, 2, 4])
    np.testing.assert_array_equal(push(feature, values), expected)


def test_channels_come_out_in_the_order_named() -> None:
    feature = Standardize(mean=[0, 0], std=[1, 1], channels=["c", "a"])
    out = feature.open(SPEC)
    assert out.channels == (Channel("c"), Channel("a", "V"))
    assert out.rate_hz == 10.0
    np.testing.assert_array_equal(push(feature, samples()), samples()[:, [2, 0]])


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
