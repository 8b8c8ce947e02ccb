"""A bundle that is exported with a feature chain comes with goldens of it, and with a chain that fits the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest

import export
from edgeseq import bundle as bundles
from edgeseq import feature_goldens, feature_tables, verify
from edgeseq.bundle import ChannelTable, StreamTable
from edgeseq.errors import EdgeseqError
from export import feature_goldens as made

STREAM = StreamTable(rate_hz=100.0, channels=[ChannelTable(name="a", unit="g")])
WINDOWS = {"type": "window_statistics", "window": 0.1, "statistics": ["mean", "std", "rms", "max", "crest"]}
ABOUT = """
[stream]
rate_hz = 100
channels = [{ name = "a", unit = "g" }]
[[features]]
type = "window_statistics"
window = 0.1
statistics = ["mean", "std", "rms", "max", "crest"]
"""


def exported(output: Path, about: Any, **more: Any) -> bundles.Bundle:
    return export.export(
        (models.gru(), models.example()), output, calibration=models.walks(), variants=("float32",), about=about, **more
    )


def test_the_samples_given_are_its_goldens(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).normal(2, 3, (1500, 1)).astype(np.float32)
    bundle = exported(tmp_path / "b", export.About(stream=STREAM, features=[WINDOWS]), samples=samples)
    known = feature_goldens.read(bundle, feature_tables.of_bundle(bundle))
    np.testing.assert_array_equal(known.samples, samples[:512])  # of 256 there were too few frames
    assert len(known.links[0].frames) == 51
    found = verify.verify(bundle)
    assert [verdict.variant for verdict in found if verdict.passed][-1] == "features"
    assert made.NOISE not in (bundle.path / "report.md").read_text("utf-8")


def test_noise_stands_in_and_the_report_says_so(tmp_path: Path) -> None:
    (tmp_path / "about.toml").write_text(ABOUT, "utf-8")
    bundle = exported(tmp_path / "b", tmp_path / "about.toml")
    assert feature_goldens.there(bundle)
    assert made.NOISE in (bundle.path / "report.md").read_text("utf-8")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("window = 0.1", "window = 0.001"), "about.toml, line 5: features[0]: window = 0.001 s is less than one"),
        (
            ("window = 0.1", "wnidow = 0.1"),
            "about.toml, line 7: features[0].wnidow: unknown key 'wnidow'. Did you mean",
        ),
        (('"mean", ', ""), "[[features]] give 4 values a frame; the model takes 5."),
    ],
)
def test_a_chain_that_does_not_fit_is_refused_before_anything_is_made(
    change: tuple[str, str], said: str, tmp_path: Path
) -> None:
    (tmp_path / "about.toml").write_text(ABOUT.replace(*change), "utf-8")
    with pytest.raises(EdgeseqError) as told:
        exported(tmp_path / "b", tmp_path / "about.toml")
    assert said in str(told.value)
    assert not (tmp_path / "b").exists()


def test_a_chain_from_python_is_refused_by_table_and_key(tmp_path: Path) -> None:
    wrong = {**WINDOWS, "channels": ["z"]}
    with pytest.raises(EdgeseqError, match=r"about: features\[0\]: the stream has no channel 'z'"):
        exported(tmp_path / "b", export.About(stream=STREAM, features=[wrong]))


def test_a_bundle_without_a_chain_has_no_goldens_of_it(gru_bundle: bundles.Bundle) -> None:
    assert not feature_goldens.there(gru_bundle)
    with pytest.raises(export.ExportError, match="it has no feature chain"):
        made.add(gru_bundle.path)
