"""What an export shows while it runs, and the table that it ends with."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path

import models
import pytest
from rich.console import Console

import export
from edgeseq import backends, cli, text
from edgeseq.bundle import Bundle
from export import display, parity, summary


def test_every_long_stage_is_told_how_far_it_is(tmp_path: Path) -> None:
    told: dict[str, list[tuple[int, int]]] = {}
    export.export(
        (models.gru(hidden=4), models.example()),
        tmp_path / "b",
        calibration=models.walks(2, 200),
        variants=["float32", "int8"],
        progress=lambda stage, done=0, total=0, /: told.setdefault(stage, []).append((done, total)),
    )
    assert list(told) == [
        "reading the model",
        "rewriting it to a step",
        "running the original in float64",
        "making float32",
        "proving float32 on ort",
        "proving float32 on litert",
        "proving float32 on native",
        "making int8",
        "calibrating",
        "measuring what int8 costs where",
        "proving int8 on ort",
        "proving int8 on litert",
        "proving int8 on native",
        "running the reference of int8",
        "verifying the bundle",
    ]
    for stage, calls in told.items():
        if len(calls) > 1:
            assert calls[0][0] == 0, stage
            assert all(a[0] < b[0] and a[1] == b[1] for a, b in pairwise(calls)), stage
            assert calls[-1][0] == calls[-1][1], stage
    for stage in ("running the original in float64", "calibrating", "proving float32 on ort", "proving int8 on native"):
        assert len(told[stage]) > 3, stage


@pytest.mark.parametrize("choice", [{"window": 20}, {"state": "carry"}], ids=["windows", "prefixes"])
def test_many_runs_of_the_original_are_counted_one_by_one(
    choice: dict[str, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "STEPS", 500)  # what counts here are the runs
    module = models.random_module(3, last=True, kind="gru", norm=False)
    told: list[tuple[int, int]] = []

    def progress(stage: str, done: int = 0, total: int = 0, /) -> None:
        if stage == "running the original in float64":
            told.append((done, total))

    export.export(
        (module, models.example()), tmp_path / "b", calibration=models.walks(1), variants=["float32"],
        progress=progress, **choice,
    )  # fmt: skip
    assert len(told) > 40
    assert told[-1][0] == told[-1][1]


def terminal() -> tuple[Console, io.StringIO]:
    screen = io.StringIO()
    return Console(file=screen, force_terminal=True, width=80, height=24), screen


@pytest.mark.parametrize("end", [None, KeyboardInterrupt, RuntimeError])
def test_a_terminal_is_left_as_it_was(end: type[BaseException] | None) -> None:
    console, screen = terminal()

    def run() -> None:
        with display.shown(console) as progress:
            progress("reading [the] model")
            progress("proving float32", 50, 200)
            if end is not None:
                raise end

    if end is None:
        run()
    else:
        with pytest.raises(end):
            run()
    written = screen.getvalue()
    assert "reading [the] model" in written
    assert "25 %" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") > 0, "the cursor is seen again"
    last = written.rindex("proving float32")
    assert written[last:].count("\x1b[2K") >= 2, "its lines are wiped"
    assert not console.is_alt_screen


def test_a_file_gets_a_line_a_stage() -> None:
    file = io.StringIO()
    with display.shown(Console(file=file)) as progress:
        progress("proving [float32]")
        for done in range(5):
            progress("calibrating", done, 5)
    assert file.getvalue() == "proving [float32]\ncalibrating\n"


def test_the_command_keeps_its_progress_off_stdout(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", f"{source}:trained", "--output", str(tmp_path / "b"), "--variants", "float32"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.err.splitlines()[0] == "reading the model"
    assert "proving float32" in said.err
    assert "proving" not in said.out
    assert cli.main([*arguments, "--json"]) == 0
    assert capsys.readouterr().err == ""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "net.py"
    file.write_text("import models\n\ndef trained():\n    return models.gru(hidden=4), models.example()\n")
    return file


def shown(bundle: Bundle, width: int = 80) -> list[str]:
    file = io.StringIO()
    summary.show(bundle, Console(file=file, width=width))
    return [line.rstrip() for line in file.getvalue().splitlines()]


def test_the_table_says_all_of_every_variant(gru_bundle: Bundle) -> None:
    lines = shown(gru_bundle)
    assert all(len(line) <= 80 for line in lines[:-1])
    assert "…" not in "".join(lines)
    rows = {tuple(line.split()[:2]): line for line in lines if line.startswith(("float32  ", "int8  ", "w8a16  "))}
    on = ("ort", "litert", "native")
    assert set(rows) == {(name, backend) for name in ("float32", "int8", "w8a16") for backend in on}
    for file in gru_bundle.manifest.files:
        read = file.variant, backends.reader(file)
        row = rows[read]
        assert text.size((gru_bundle.path / file.path).stat().st_size) in row
        entry = next(e for e in gru_bundle.manifest.parity if (e.variant, e.backend) == read)
        assert f"{entry.max_abs_err if entry.metric == 'max' else entry.rms_err:.2g}" in row
        assert row.split()[-3:-1] == ["0", "0"]
        assert f"{file.integer_macs + file.float_macs:,}" in row
    # One state of 12: float32, or int16.
    assert "1, 48 B" in rows["float32", "ort"]
    assert "1, 24 B" in rows["int8", "litert"]
    assert "the greatest for float32;" in " ".join(lines)
    assert "all multiply-accumulates are integer in int8 on ort, int8 on litert, int8 on native" in " ".join(lines)
    assert "`auto` runs int8 on native; where the backend is named, int8 on ort" in " ".join(lines)


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1024, "1 KiB"), (85632, "83.6 KiB"), (3 << 20, "3 MiB"), (5 << 40, "5.12e+03 GiB")],
)
def test_sizes(count: int, expected: str) -> None:
    assert text.size(count) == expected


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0"), (999, "999"), (1000, "1.00 k"), (20960, "21.0 k"), (999_499, "999 k"), (999_600, "1.00 M")],
)
def test_amounts(count: int, expected: str) -> None:
    assert text.amount(count) == expected
