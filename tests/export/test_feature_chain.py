"""A bundle that is exported with a feature chain comes with goldens of it, and with a chain that fits the model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
from test_exporter import resum

import export
from edgeseq import bundle as bundles
from edgeseq import feature_tables, plugins
from edgeseq.bundle import ChannelTable, StreamTable
from edgeseq.cli import main
from edgeseq.errors import ConfigError, EdgeseqError
from edgeseq.recordings import framing
from edgeseq.types import Channel, Frames, StreamSpec, TimesNs
from edgeseq.verification import feature_goldens, verify
from export import feature_goldens as made
from export import frames

STREAM = StreamTable(rate_hz=100.0, channels=[ChannelTable(name="a", unit="g")])
WINDOWS = {"type": "window_statistics", "window": 0.1, "statistics": ["mean", "std", "rms", "max", "crest"]}
ABOUT = """
name = "machine"
[source]
delimiter = ";"
[output]
kind = "regression"
names = ["y0", "y1"]
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
        (("window = 0.1", "window = 0.001"), "about.toml, line 11: features[0]: window = 0.001 s is less than one"),
        (
            ("window = 0.1", "wnidow = 0.1"),
            "about.toml, line 13: features[0].wnidow: unknown key 'wnidow'. Did you mean",
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


def frames_of(folder: Path, about: str, count: int = 6000) -> Path:
    """Make feature frames of a recording, by the stream and chain of an --about file."""
    (folder / "chain.toml").write_text(about, "utf-8")
    values = np.random.default_rng(1).normal(size=count).cumsum() / 30
    values[2000:2200] = 0  # whose crest factor is not a number
    (folder / "x.csv").write_text("t;a\n" + "".join(f"0;{value}\n" for value in values), "utf-8")
    output = folder / "frames.npz"
    paths = [str(path) for path in (folder / "chain.toml", folder / "x.csv", output)]
    assert main(["features", paths[0], "--input", paths[1], "--output", paths[2]]) == 0
    return output


def values_of(folder: Path) -> list[np.float32]:
    return [np.float32(line.partition(";")[2]) for line in (folder / "x.csv").read_text("utf-8").splitlines()[1:]]


def test_frames_made_for_training_calibrate_where_their_chain_is_the_bundle_s(tmp_path: Path) -> None:
    made_of = frames_of(tmp_path, ABOUT)  # the --about file itself
    sequences = frames.read(made_of)
    assert [len(sequence) for sequence in sequences] == [200, 380]
    with np.load(made_of) as file:
        np.testing.assert_array_equal(np.concatenate(sequences), file["frames"])
    module = models.gru(), models.example()
    bundle = export.export(
        module, tmp_path / "b", calibration=made_of, variants=("float32",), about=tmp_path / "chain.toml",
        samples=tmp_path / "x.csv",
    )  # fmt: skip
    assert feature_goldens.read(bundle, feature_tables.of_bundle(bundle)).samples[1] == values_of(tmp_path)[1]
    assert "calibrated on 580 frames in 2 sequences" in (bundle.path / "report.md").read_text("utf-8")
    other = export.About(stream=STREAM, features=[{**WINDOWS, "hop": 0.05}])
    with pytest.raises(export.ExportError, match=r"frames\.npz: its frames were made by another feature chain"):
        export.export(module, tmp_path / "b", calibration=made_of, variants=("float32",), about=other)


def test_streams_of_one_file_are_sequences_of_their_own(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "f.npz", frames=np.arange(6.0, dtype=np.float32)[:, None], gap=np.ones(6) == [0, 0, 0, 0, 1, 0],
        stream=np.array([0, 1, 0, 1, 0, 1], np.int32), chain="0",
    )  # fmt: skip
    assert [sequence.ravel().tolist() for sequence in frames.read(tmp_path / "f.npz")] == [[0, 2], [4], [1, 3, 5]]


def test_samples_without_a_chain_are_refused(tmp_path: Path) -> None:
    with pytest.raises(export.errors.OptionError, match="there are no"):
        exported(tmp_path / "b", None, samples=np.zeros((9, 1)))


def test_a_bundle_without_a_chain_has_no_goldens_of_it(gru_bundle: bundles.Bundle) -> None:
    assert not feature_goldens.there(gru_bundle)
    with pytest.raises(export.ExportError, match="it has no feature chain"):
        made.add(gru_bundle.path)


class FromFile:
    """Gives each channel times each of the factors in a file. factors: the file, a number a line."""

    def __init__(self, *, factors: Path) -> None:
        if not factors.is_file():
            raise ConfigError(f"{factors}: there is no such file.", "factors")
        self._factors = np.loadtxt(factors, np.float32, ndmin=1)

    def open(self, spec: StreamSpec) -> StreamSpec:
        names = [f"{name}.{place}" for name in spec.names for place in range(len(self._factors))]
        return StreamSpec(tuple(Channel(name) for name in names), spec.rate_hz)

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        return t_ns, (values[:, :, None] * self._factors).reshape(len(values), -1)

    def reset(self) -> None:
        """Nothing is remembered."""


def test_a_file_that_a_link_is_made_from_comes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = plugins.find
    monkeypatch.setattr(plugins, "find", lambda kind, name: FromFile if name == "from_file" else find(kind, name))
    (tmp_path / "at").mkdir()
    (tmp_path / "at/factors.txt").write_text("1\n2\n3\n4\n5\n")
    about = '[stream]\nrate_hz = 100\nchannels = [{ name = "a" }]\n[[features]]\ntype = "from_file"\n'
    (tmp_path / "at/about.toml").write_text(f'{about}factors = "factors.txt"\n', "utf-8")
    bundle = exported(tmp_path / "b", tmp_path / "at/about.toml")
    assert (bundle.path / "features.0.factors.txt").read_text() == "1\n2\n3\n4\n5\n"
    assert verify.features(bundle).passed
    digest = framing.read(tmp_path / "at/about.toml").chain.digest
    assert framing.read(bundle.path).chain.digest == digest
    (tmp_path / "at/factors.txt").write_text("1\n2\n3\n4\n6\n")
    assert framing.read(tmp_path / "at/about.toml").chain.digest != digest
    manifest = bundle.path / bundles.MANIFEST
    for outside in ("../at/factors.txt", str(tmp_path / "at/factors.txt"), "gone.txt"):
        manifest.write_text(manifest.read_text("utf-8").replace("features.0.factors.txt", outside), "utf-8")
        resum(bundle.path)
        with pytest.raises(EdgeseqError, match=r"features\[0\].factors: .* is no file of the bundle"):
            framing.read(bundle.path)
        manifest.write_text(manifest.read_text("utf-8").replace(outside, "features.0.factors.txt"), "utf-8")
