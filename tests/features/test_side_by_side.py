"""side_by_side: what it joins, what it leaves out, and whose mistake it tells."""

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vibration_streams import SPEC, noise, opened, push

from edgeseq import plugins, tables
from edgeseq.errors import ConfigError
from edgeseq.features import side_by_side
from edgeseq.features.band_energy import BandEnergy
from edgeseq.features.side_by_side import SideBySide
from edgeseq.features.window_statistics import WindowStatistics

STATISTICS = {"type": "window_statistics", "window": 0.5, "hop": 0.2, "channels": ["y"], "statistics": ["rms", "crest"]}
BANDS = {"type": "band_energy", "window": 0.3, "hop": 0.2, "bands": {"low": [5, 200]}, "channels": ["x", "y"]}


def without_type(table: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in table.items() if key != "type"}


def test_a_frame_has_the_values_of_all_at_its_time() -> None:
    values = noise(2000)
    feature = SideBySide(features=[STATISTICS, BANDS])
    spec = feature.open(SPEC)
    assert [(channel.name, channel.unit) for channel in spec.channels] == [
        ("y.rms", "m/s²"), ("y.crest", ""), ("x.low", "g"), ("y.low", "m/s²"),
    ]  # fmt: skip
    assert spec.rate_hz == pytest.approx(5)
    t_ns, frames = push(feature, values)
    statistics = push(opened(WindowStatistics(**without_type(STATISTICS))), values)
    bands = push(opened(BandEnergy(**without_type(BANDS))), values)
    np.testing.assert_array_equal(t_ns, statistics[0])
    np.testing.assert_array_equal(t_ns, bands[0][1:])  # the first one ends before there are any statistics
    np.testing.assert_array_equal(frames, np.concatenate([statistics[1], bands[1][1:]], axis=1))


@given(cuts=st.lists(st.integers(1, 1499), max_size=12))
@settings(max_examples=30, deadline=None)
def test_any_split_gives_the_same(cuts: list[int]) -> None:
    """The velocity of every sample beside its moving level: frames wait for each other."""
    tables_ = [{"type": "velocity", "low": 5, "high": 100, "unit": "g", "channels": ["x"]}]
    tables_ += [{"type": "window_statistics", "window": 0.02, "hop": 0.001, "statistics": ["rms"], "channels": ["x"]}]
    values, at = noise(1500), np.arange(1500) * 10**6
    whole = opened(SideBySide(features=tables_)).push(at, values)
    feature = opened(SideBySide(features=tables_))
    edges = sorted({0, 1500, *cuts})
    parts = [feature.push(at[i:j], values[i:j]) for i, j in itertools.pairwise(edges)]
    np.testing.assert_array_equal(np.concatenate([part[0] for part in parts]), whole[0])
    np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole[1])
    assert len(whole[0]) == 1500 - 19
    alone = (plugins.find("features", table["type"])(**without_type(table)) for table in tables_)
    expected = side_by_side.reference([opened(each).push(at, values) for each in alone])
    assert whole[0].tolist() == [*expected]
    assert whole[1].tolist() == [*expected.values()]


def test_windows_that_never_end_together_give_nothing_and_keep_nothing() -> None:
    feature = opened(SideBySide(features=[STATISTICS, {**BANDS, "window": 0.35}]))
    for start in range(0, 50_000, 1000):
        t_ns, frames = feature.push(np.arange(start, start + 1000) * 10**6, noise(1000))
        assert t_ns.shape == (0,)
        assert frames.shape == (0, 4)
    assert sum(map(len, feature._times)) < 10


def test_a_nan_of_one_is_in_the_frame() -> None:
    values = noise(2000)
    values[900, 0] = np.nan
    frames = push(opened(SideBySide(features=[STATISTICS, BANDS])), values)[1]
    assert np.isnan(frames[:, 2]).any()
    assert np.isfinite(frames[:, [0, 1, 3]]).all()


@pytest.mark.parametrize(
    ("features", "says"),
    [
        ([], "features: features lists none"),
        ([STATISTICS, {**BANDS, "hop": 0.1}], r"features\[1\]: it gives 10 frames a second and the first 5"),
        ([STATISTICS, {**BANDS, "channels": ["z"]}], r"features\[1\]: the stream has no channel 'z'"),
        ([{**STATISTICS, "window": "long"}], r"features\[0\]\.window: expected a number, got text"),
        ([STATISTICS, {**BANDS, "type": "band_enemy"}], r"features\[1\]\.type: there is no feature of type"),
        ([{**STATISTICS, "statistics": ["mode"]}], r"features\[0\]: statistics are some of"),
        ([{"window": 1}], r"features\[0\]: the key 'type' is missing"),
    ],
)  # fmt: skip
def test_mistakes_name_the_feature_inside(features: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SideBySide(features=features).open(SPEC)
    assert re.match(says, f"{tables.dotted(caught.value.keys)}: {caught.value}")


class OfAFile(WindowStatistics):
    """A feature that is made from a file."""

    def __init__(self, *, file: Path) -> None:
        super().__init__(window=0.1)
        self.file = file


def test_one_made_from_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "find", lambda *_: OfAFile)
    with pytest.raises(ConfigError, match="a feature made from a file stands in") as caught:
        SideBySide(features=[{"type": "words", "file": "words.txt"}])
    assert caught.value.keys == ("features", 0, "file")
