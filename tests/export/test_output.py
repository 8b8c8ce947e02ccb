"""What lies at --output before, during and after an export; what stands on stdout; what a source file may do."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest

import export
from edgeseq import cli
from edgeseq.bundle import StreamTable
from edgeseq.gaps import Gaps
from export import frames
from export.graph import Input
from export.writers import bundle as writer

SOURCE = """
from __future__ import annotations
from dataclasses import dataclass
import sys
import sibling_of_the_model
import models

print("loading weights")

@dataclass
class Config:
    hidden: int = sibling_of_the_model.HIDDEN

def trained():
    print("ready")
    return models.gru(hidden=Config().hidden), models.example()

def leaves():
    sys.exit(3)
"""


def small(output: Path, **options: Any) -> Any:
    given = {"calibration": models.walks(2, 100), "variants": ["float32"], **options}
    return export.export((models.gru(hidden=4), models.example()), output, **given)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "sibling_of_the_model.py").write_text("HIDDEN = 4\n")
    (folder / "net.py").write_text(SOURCE)
    return folder / "net.py"


def test_a_source_that_prints_leaves_stdout_to_the_document(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "b"
    assert cli.main(["export", f"{source}:trained", "--output", str(output), "--variants", "float32", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["variants"][0]["passed"] is True
    assert "ready" in said.err


def test_a_source_that_exits_is_an_error_like_any_other(source: Path, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=r"leaves\(\) failed: SystemExit: 3"):
        export.export(f"{source}:leaves", tmp_path / "b")


@pytest.mark.parametrize("form", ["file", "file in a file's place", "broken link"])
def test_an_output_that_cannot_be_is_told_before_the_work(form: str, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    output = {"file": tmp_path / "f", "file in a file's place": tmp_path / "f" / "b", "broken link": tmp_path / "link"}
    with pytest.raises(export.ExportError, match=r"not overwritten|cannot be written"):
        small(output[form])
    assert (tmp_path / "f").read_text() == "x"


def test_what_lies_beside_an_earlier_bundles_files_is_not_lost(tmp_path: Path) -> None:
    small(tmp_path / "b")
    (tmp_path / "b" / "notes.txt").write_text("years of work")
    with pytest.raises(export.ExportError, match=r"'notes\.txt', which is no part of the bundle"):
        small(tmp_path / "b")
    assert (tmp_path / "b" / "notes.txt").read_text() == "years of work"


def test_a_relative_output_and_an_empty_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert small(Path()).manifest.name == "here"
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_export_leaves_what_was_there(error: type[BaseException], tmp_path: Path) -> None:
    digest = small(tmp_path / "b").digest

    def evaluate(_: Any) -> Any:
        raise error

    for name in ("b", "new"):
        with pytest.raises(error):
            small(tmp_path / name, evaluate=evaluate)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert export.exporter.bundles.read(tmp_path / "b").digest == digest


def test_an_interrupt_between_the_two_renames_puts_the_earlier_bundle_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "bundle.toml").write_text("the old one")
    rename = Path.replace

    def interrupted(self: Path, target: Path) -> Path:
        if target == tmp_path / "b" and ".old." not in self.name:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with contextlib.suppress(KeyboardInterrupt), writer.folder(tmp_path / "b") as aside:
        (aside / "bundle.toml").write_text("the new one")
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert (tmp_path / "b" / "bundle.toml").read_text() == "the old one"


def test_a_description_that_does_not_fit_the_model_is_refused(tmp_path: Path) -> None:
    channels = [{"name": "a"}, {"name": "b"}]
    stream = export.about.msgspec.convert({"rate_hz": 1.0, "channels": channels}, StreamTable)
    with pytest.raises(export.ExportError, match=r"\[stream\] has 2 channels .* takes 5"):
        small(tmp_path / "b", about=export.About(stream=stream))
    output = export.about.OutputTable(kind="regression", names=["only"])
    with pytest.raises(export.ExportError, match="names 1 outputs; the model gives 2"):
        small(tmp_path / "b", about=export.About(output=output))
    with pytest.raises(export.ExportError, match="asked for twice"):
        small(tmp_path / "b", variants=["float32", "float32"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("limit", "reset"), [({}, "start"), ({"gap_limit_s": 3600.0}, "gap")])
def test_about_says_what_gaps_do(limit: dict[str, float], reset: str, tmp_path: Path) -> None:
    channels = [{"name": name} for name in "abcde"]
    stream = {"rate_hz": 1.0, "channels": channels, "duty_cycle_s": 600.0, **limit}
    given = export.About(stream=export.about.msgspec.convert(stream, StreamTable))
    bundle = small(tmp_path / "b", about=given)
    assert {state.reset for state in bundle.graph().states} == {reset}
    assert bundle.manifest.stream.gaps() == Gaps(600.0, limit.get("gap_limit_s", 0.0))


def _array(array: Any) -> bytes:
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("c.npy", b""),
        ("c.npz", b""),
        ("c.npz", _array(np.zeros((3, 5)))),
        ("c.npy", b"PK\x03\x04 no archive"),
        ("c.npy", _array(np.full((3, 5), "x"))),
        ("c.csv", b""),
        ("c.csv", b"a,b,c,d,e\n"),
        ("c.csv", b"1,2,3,4,5\n1,2,\x00,4,5\n"),
        ("c.csv", b"1,2,3,4,1e300\n"),
    ],
)
def test_a_file_of_no_frames_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(export.ExportError, match=name):
        frames.checked(frames.read(tmp_path / name), [Input("x", (1, -1, 5))], name)


def test_blank_lines_in_a_csv_are_no_frames(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text("a,b\n1,2\n\n3,4\n\n")
    np.testing.assert_array_equal(frames.read(tmp_path / "c.csv")[0], [[1, 2], [3, 4]])


def test_a_bundle_is_called_as_its_folder_less_the_ending(tmp_path: Path) -> None:
    assert small(tmp_path / "pump.bundle").manifest.name == "pump"
