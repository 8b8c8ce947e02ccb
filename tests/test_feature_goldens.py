"""features.npz: what a feature chain gave at export is replayed before it first runs on a device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_bundle

import edgeseq
from edgeseq import bundle as bundles
from edgeseq import checksums, feature_tables, plugins, sums
from edgeseq.cli import main
from edgeseq.errors import BundleError, ModelError
from edgeseq.features import standardize, window_statistics
from edgeseq.verification import feature_goldens as goldens
from edgeseq.verification import verify
from edgeseq.verification.feature_goldens import FILE

exported = pytest.importorskip(
    "export.feature_goldens", reason="needs the extra 'export': pip install 'edgeseq[export]'"
)
from export.errors import ExportError  # noqa: E402 - after what says whether it is there

CHAIN = """\
[[features]]
type = "window_statistics"
window = 4
hop = 1
statistics = ["std"]

[[features]]
type = "standardize"
mean = [1.0]
std = [0.5]

[output]
"""
CONFIG = 'name = "p"\n[source]\ntype = "csv"\npath = "x.csv"\n[model]\nbundle = "b"\n'
Arrays = dict[str, np.ndarray[Any, Any]]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGESEQ_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with a chain and its goldens, and a pipeline that runs it."""
    path = tiny_bundle.write(tmp_path / "b")
    manifest = path / bundles.MANIFEST
    manifest.write_text(manifest.read_text("utf-8").replace("[output]\n", CHAIN), "utf-8")
    resum(path)
    exported.add(path, np.random.default_rng(0).normal(3, 2, (300, 1)))
    (tmp_path / "x.csv").write_text("life\n" + "".join(f"{7 * step % 5}\n" for step in range(20)), "utf-8")
    (tmp_path / "p.toml").write_text(CONFIG, "utf-8")
    return path


def resum(path: Path) -> None:
    names = sorted(file.name for file in path.iterdir() if file.name != checksums.SUMS)
    (path / checksums.SUMS).write_text("".join(f"{checksums.sha256(path / name)}  {name}\n" for name in names), "utf-8")


def changed(path: Path, change: Callable[[Arrays], Any]) -> bundles.Bundle:
    with np.load(path / FILE) as file:
        arrays = dict(file)
    change(arrays)
    np.savez(path / FILE, **arrays)
    resum(path)
    return bundles.read(path)


@pytest.mark.parametrize("changed_file", ["features/standardize.py", "direct.py"])
def test_another_version_of_the_features_is_another_library(
    changed_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = goldens.library()
    assert all(f", {name} " in before for name in ("numba", "llvmlite", "rocket-fft"))
    shutil.copytree(Path(edgeseq.__file__).parent, tmp_path / "edgeseq")
    monkeypatch.setattr(sums, "_ROOT", tmp_path / "edgeseq")
    assert goldens.library() == before
    with (tmp_path / "edgeseq" / changed_file).open("a", encoding="utf-8") as file:
        file.write("# other arithmetic\n")
    assert goldens.library() != before


def test_the_chain_is_replayed_once_and_again_when_a_library_changes(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replayed = []
    features = verify.features
    monkeypatch.setattr(verify, "features", lambda bundle: [replayed.append(bundle.path), features(bundle)][1])
    for _ in range(2):
        assert main(["run", str(tmp_path / "p.toml")]) == 0
    assert replayed == [tmp_path / "b"]
    monkeypatch.setattr(goldens, "library", lambda: "numba 99, numpy 99")
    assert main(["run", str(tmp_path / "p.toml")]) == 0
    assert len(replayed) == 2
    edgeseq.load(folder)
    assert len(replayed) == 2  # a model alone is fed with frames, it runs no chain


def test_what_is_recorded_is_what_the_chain_gives(folder: Path) -> None:
    bundle = bundles.read(folder)
    chain = feature_tables.of_bundle(bundle)
    known = goldens.read(bundle, chain)
    windows, frames = (link.frames[:, 0] for link in known.links)
    expected = np.lib.stride_tricks.sliding_window_view(known.samples[:, 0].astype(float), 4).std(axis=1)
    np.testing.assert_allclose(windows, expected, rtol=1e-5)
    np.testing.assert_allclose(frames, (windows - 1) / 0.5, rtol=1e-6, atol=1e-6)
    assert known.links[1].t_ns[0] == 3_000_000_000
    assert len(known.samples) == exported.FIRST
    for link in known.links:
        assert link.judged.all()
        assert 1e-5 * np.abs(link.frames).max() <= link.tolerances[0] < 1e-4 * np.abs(link.frames).max()


@pytest.mark.parametrize("command", ["run", "check", "replay", "features", "features of the bundle"])
def test_a_chain_that_gives_other_frames_does_not_run_and_is_named(
    command: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def off(self: Any, t_ns: Any, values: Any) -> Any:
        t_ns, frames = push(self, t_ns, values)
        return t_ns, frames + np.float32(0.25) * (np.arange(len(frames)) == 7)[:, None]

    push = window_statistics.WindowStatistics.push
    monkeypatch.setattr(window_statistics.WindowStatistics, "push", off)
    output = tmp_path / ("y.jsonl" if command == "replay" else "y.npz")
    config = folder if command.endswith("bundle") else tmp_path / "p.toml"
    rest = ["--output", str(output)] if command.startswith(("replay", "features")) else []
    rest += ["--input", str(tmp_path / "x.csv")] if command.startswith("features") else []
    assert main([command.split(maxsplit=1)[0], str(config), *rest]) == 1
    said = capsys.readouterr().err
    assert "do not come out here as they did at export" in said
    assert "'life.std' of features[0] (window_statistics) is off by 0.25, " in said
    assert not output.exists()


def test_the_link_that_is_off_is_told_not_those_that_follow(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundles.read(folder)
    push = standardize.Standardize.push
    monkeypatch.setattr(standardize.Standardize, "push", lambda *a: (push(*a)[0] + 5000, push(*a)[1]))
    assert (
        verify.features(bundle).reason
        == "the times of features[1] (standardize) are off by 5,000 ns, 1,000 are allowed"
    )
    monkeypatch.setattr(standardize.Standardize, "push", lambda *a: (push(*a)[0][:9], push(*a)[1][:9]))
    said = verify.features(bundle)
    assert said.reason == "features[1] (standardize) gives 9 frames, 253 were recorded"
    assert not said.passed
    monkeypatch.setattr(standardize.Standardize, "push", lambda *a: (push(*a)[0], push(*a)[1] * np.nan))
    assert "'life.std' of features[1] (standardize) is off by nan" in str(verify.features(bundle).reason)


def test_verify_has_a_row_and_says_what_holds_now(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(folder), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["variants"]
    assert [(row["variant"], row["backend"], row["passed"]) for row in rows] == [
        ("float32", "ort", True), ("features", "numba", True),
    ]  # fmt: skip
    assert (rows[1]["steps"], rows[1]["max_abs_err"]) == (253, 0.0)
    changed(folder, lambda a: a["0.frames"].__imul__(1.5))
    assert main(["verify", str(folder)]) == 1
    assert "features on numba: 'life.std' of features[0]" in " ".join(capsys.readouterr().out.split())


def test_a_chain_without_goldens_runs_and_verify_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / FILE).unlink()
    resum(folder)
    assert main(["run", str(tmp_path / "p.toml")]) == 0
    capsys.readouterr()
    assert main(["verify", str(folder)]) == 0
    assert "the bundle has no features.npz; export it again" in capsys.readouterr().err


def test_a_file_that_is_gone_or_altered_is_refused_by_name(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (folder / FILE).read_bytes()
    (folder / FILE).unlink()
    assert main(["run", str(tmp_path / "p.toml")]) == 1
    assert "features.npz is listed in SHA256SUMS but missing" in capsys.readouterr().err
    (folder / FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert main(["run", str(tmp_path / "p.toml")]) == 1
    assert "features.npz is not what was exported" in capsys.readouterr().err


CHANGES: dict[str, Callable[[Arrays], Any]] = {
    "samples missing": lambda a: a.pop("samples"),
    "a link missing": lambda a: a.pop("1.frames"),
    "samples too wide": lambda a: a.update(samples=np.zeros((300, 2), np.float32)),
    "samples of text": lambda a: a.update(samples=np.full(a["samples"].shape, "x")),
    "samples not finite": lambda a: a["samples"].__imul__(np.float32(np.nan)),
    "no samples": lambda a: a.update(samples=a["samples"][:0], t_ns=a["t_ns"][:0]),
    "times too few": lambda a: a.update({"0.t_ns": a["0.t_ns"][1:]}),
    "times as floats": lambda a: a.update(t_ns=a["t_ns"].astype(float)),
    "frames too narrow": lambda a: a.update({"0.frames": a["0.frames"][:, :0]}),
    "frames flat": lambda a: a.update({"0.frames": a["0.frames"][:, 0]}),
    "judged elsewhere": lambda a: a.update({"0.judged": a["0.judged"][1:]}),
    "judged as numbers": lambda a: a.update({"0.judged": a["0.judged"].astype(int)}),
    "tolerances below zero": lambda a: a["1.tolerances"].__imul__(-1),
    "tolerances of none": lambda a: a.update({"1.tolerances": a["1.tolerances"] * np.nan}),
    "tolerances too many": lambda a: a.update({"1.tolerances": np.ones(3)}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_goldens_that_do_not_fit_are_refused_by_name(what: str, folder: Path) -> None:
    bundle = changed(folder, CHANGES[what])
    with pytest.raises(BundleError, match=r"features\.npz"):
        verify.verify(bundle)


@pytest.mark.parametrize("content", [b"", b"junk", b"PK\x03\x04"])
def test_no_archive_is_refused_by_name(content: bytes, folder: Path) -> None:
    (folder / FILE).write_bytes(content)
    resum(folder)
    with pytest.raises(BundleError, match=r"features\.npz: holds no goldens"):
        verify.features(bundles.read(folder))


def test_what_rounding_decides_is_not_judged(folder: Path) -> None:
    """A constant window has no kurtosis; with one bit changed it has one."""
    chain = feature_tables.FeatureTables(
        bundles.read(folder).document, edgeseq.StreamSpec((edgeseq.types.Channel("x"),), 1.0),
        [{"type": "window_statistics", "window": 4, "statistics": ["kurtosis", "mean"]}],
    )  # fmt: skip
    samples = np.random.default_rng(0).normal(size=(40, 1)).astype(np.float32)
    samples[8:16] = 3.3
    raw = exported.make(chain, samples)
    (link,) = raw.goldens.links
    assert np.flatnonzero(~link.judged.all(axis=1)).tolist() == [2, 3]
    assert link.judged[:, 1].all()
    assert np.isfinite(link.tolerances).all()
    off = np.where(link.judged, link.frames, 7).astype(np.float32)
    assert not goldens.apart(link, off, len(off)).any()


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros((9, 2)), r"shape \(9, 2\); the stream has 1 channels"),
        (np.zeros((0, 1)), r"shape \(0, 1\)"),
        (np.full((9, 1), np.nan), "sample 0 holds NaN"),
        (np.zeros((3, 1)), "gives no frame of 3 samples"),
        ("nowhere.csv", r"nowhere\.csv: there is no such file"),
    ],
)
def test_samples_that_do_not_fit_are_refused(samples: Any, said: str, folder: Path) -> None:
    with pytest.raises(ExportError, match=said):
        exported.add(folder, samples)


def test_samples_come_from_a_file(folder: Path, tmp_path: Path) -> None:
    exported.add(folder, tmp_path / "x.csv")
    bundle = bundles.read(folder)
    assert goldens.read(bundle, feature_tables.of_bundle(bundle)).samples[:6, 0].tolist() == [0, 2, 4, 1, 3, 0]
    assert verify.features(bundle).passed


def test_without_samples_noise_stands_in_and_the_report_says_so(folder: Path) -> None:
    raw = exported.make(feature_tables.of_bundle(bundles.read(folder)), None)
    assert raw.notes == [exported.NOISE]
    assert len(raw.goldens.links[-1].frames) >= exported.FRAMES


def test_model_error_is_what_a_caller_sees(folder: Path) -> None:
    bundle = changed(folder, lambda a: a["0.frames"].__imul__(1.5))
    with pytest.raises(ModelError, match="features"):
        edgeseq.verification.first_load.check_features(bundle)


@pytest.mark.parametrize("name", plugins.known("features"))
def test_every_feature_has_goldens_that_it_passes(name: str, folder: Path) -> None:
    spec = edgeseq.StreamSpec(tuple(edgeseq.types.Channel(channel) for channel in "abc"), 100.0)
    example = plugins.find("features", name).example().items()
    table = {key: str(value) if isinstance(value, Path) else value for key, value in example}
    chain = feature_tables.FeatureTables(bundles.read(folder).document, spec, [{"type": name, **table}])
    raw = exported.make(chain, None)
    if raw.goldens is None:
        assert "gives no frame" in raw.notes[0]  # noise is no text
        return
    ((t_ns, frames),) = goldens.run(chain, raw.goldens.t_ns, raw.goldens.samples)
    (link,) = raw.goldens.links
    assert t_ns.tolist() == link.t_ns.tolist()
    assert not goldens.apart(link, frames, len(frames)).any()
    assert link.judged.mean() > 0.9
    # What is tolerated is a rounding, not another number.
    spread = np.nanmax(np.abs(link.frames), axis=0, initial=0)
    assert (link.tolerances <= 1e-3 * np.maximum(spread, 1e-3)).all()
