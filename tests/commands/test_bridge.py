"""`edgeseq bridge` on the real C device: watched, recorded, simulated."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wired_device import BUILT, MISSING, STRICT, WiredDevice

from edgeseq import cli
from edgeseq.bridge.record import Recording
from edgeseq.sources import _device
from edgeseq.sources.csv import Csv
from edgeseq.sources.parquet import Parquet
from edgeseq.types import Channel, Chunk, StreamSpec
from firmware_bridge import simulator

Plug = Callable[..., WiredDevice]


def test_ports_are_listed(capsys: Any) -> None:
    assert cli.main(["bridge", "ports", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)["ports"]
    assert all(set(port) == {"path", "device", "what"} for port in listed)
    assert cli.main(["bridge", "ports"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == max(1, len(listed))


@pytest.mark.parametrize("option", ["--seconds=nan", "--seconds=-1", "--rate=inf", "--baud=0"])
def test_what_must_be_above_zero(option: str, tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["bridge", "record", "/dev/null", str(tmp_path / "x.csv"), option]) == 2
    assert f"{option.partition('=')[0]} must be above 0, not" in capsys.readouterr().err


def test_monitor_tells_who_it_is_and_what_is_lost(device: Plug, capsys: Any) -> None:
    there = device("--drop", "9", "--streams", "2", "--format", "int24", "--drift", "20000")
    assert cli.main(["bridge", "monitor", there.port, "--seconds", "2.2", "--json"]) == 0
    seen = json.loads(capsys.readouterr().out)
    assert [(stream["stream"], stream["rate_hz"], stream["format"]) for stream in seen["streams"]] == [
        (0, 1000.0, "int24"),
        (1, 1000.0, "int24"),
    ]
    assert seen["streams"][0]["channels"][0] == {"name": "c0", "unit": "g", "scale": 0.0000625}
    assert seen["streams"][1]["samples"] > 500
    assert seen["frames"]["lost"] >= 2
    assert seen["frames"]["damaged"] == 0
    assert seen["clock"]["synchronized"]
    assert seen["clock"]["drift_ppm"] < 0
    assert seen["device"]["damaged"] == 0


def test_monitor_in_words(device: Plug, capsys: Any) -> None:
    assert cli.main(["bridge", "monitor", device().port, "--seconds", "1.3"]) == 0
    out = capsys.readouterr().out
    assert "stream 0: 1000 Hz, int16: c0 [g] x 0.001, c1 [g] x 0.001, c2 [g] x 0.001" in out
    assert "samples/s" in out
    assert "no loss  |  drift" in out


def test_monitor_of_lines(device: Plug, capsys: Any) -> None:
    there = device("--lines", "json", "--rate", "200")
    lines = ["--protocol", "json", "--channels", "c0,c2"]
    assert cli.main(["bridge", "monitor", there.port, "--seconds", "0.8", "--json", *lines]) == 0
    assert json.loads(capsys.readouterr().out)["lines"]["good"] > 50


@pytest.mark.parametrize(("ending", "source"), [(".csv", Csv), (".parquet", Parquet)])
def test_what_is_recorded_reads_back(device: Plug, tmp_path: Path, capsys: Any, ending: str, source: Any) -> None:
    there = device("--signal", "ramp", "--format", "float32")
    file = tmp_path / f"run{ending}"
    assert cli.main(["bridge", "record", there.port, str(file), "--samples", "700", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(file), "samples": 700, "gaps": 0, "dropped": {}}
    chunks = list(source(path=file, channels=["c0", "c2"], rate_hz=1000.0, time_column="t_ns", time_format="ns"))
    values = np.concatenate([chunk.values for chunk in chunks])
    np.testing.assert_array_equal(values, np.arange(700)[:, None] + [0, 2000])
    assert not any(chunk.gap for chunk in chunks)


def test_a_name_with_commas_and_quotes_reads_back(tmp_path: Path) -> None:
    name, t_ns = 'x, "raw"', np.array([1_000_000_000], np.int64)
    with Recording(tmp_path / "run.csv", StreamSpec((Channel(name),), 1.0), streams=False) as recording:
        recording.write(Chunk(t_ns, np.array([[1.5]], np.float32)))
    keys: dict[str, Any] = {"time_column": "t_ns", "time_format": "ns", "rate_hz": 1.0, "channels": [name]}
    (chunk,) = [chunk for chunk in Csv(path=tmp_path / "run.csv", **keys) if len(chunk.t_ns)]
    assert chunk.values.tolist() == [[1.5]]


def test_streams_are_a_column(device: Plug, tmp_path: Path) -> None:
    file = tmp_path / "run.csv"
    there = device("--streams", "2")
    assert cli.main(["bridge", "record", there.port, str(file), "--samples", "200", "--streams", "0,1"]) == 0
    rows = list(csv.DictReader(file.open()))
    assert {row["stream"] for row in rows} == {"0", "1"}


def test_lines_are_recorded_until_told_to_end(device: Plug, tmp_path: Path) -> None:
    there = device("--lines", "csv", "--rate", "200", "--signal", "ramp")
    file = tmp_path / "run.csv"
    options = ["--protocol", "csv", "--channels", "b", "--header", "a,b,c", "--rate", "200"]
    command = [sys.executable, "-m", "edgeseq.cli", "bridge", "record", there.port, str(file), *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        for _ in range(600):
            if file.exists() and file.stat().st_size > 1000:
                break
            try:
                process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert (process.returncode, "samples, 0 gaps" in said) == (0, True), said
    values = [float(row["b"]) for row in csv.DictReader(file.open())]
    assert values == list(range(int(values[0]), int(values[0]) + len(values)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["run.txt"], "the ending tells the format"),
        (["run.csv", "--samples", "0"], "--samples must be at least 1"),
        (["run.csv", "--streams", "a"], "--streams lists numbers"),
        (["run.csv", "--protocol", "csv", "--channels", "a"], "--protocol needs --rate"),
        (["run.csv", "--protocol", "csv", "--rate", "1"], "--protocol needs --channels"),
    ],
)
def test_mistakes_are_sentences(device: Plug, capsys: Any, options: list[str], words: str) -> None:
    assert cli.main(["bridge", "record", device().port, *options]) == 2
    assert words in capsys.readouterr().err


def test_a_recording_is_not_written_over(device: Plug, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "run.csv").write_text("1")
    assert cli.main(["bridge", "record", device().port, str(tmp_path / "run.csv")]) == 2
    assert "is there already; recordings are not written over" in capsys.readouterr().err


def test_no_device_and_no_answer_are_sentences(
    device: Plug, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_device, "ANSWER_NS", 300_000_000)
    assert cli.main(["bridge", "monitor", str(tmp_path / "none"), "--seconds", "1"]) == 1
    assert "nothing is plugged in there" in capsys.readouterr().err
    there = device("--lines", "csv")
    assert cli.main(["bridge", "record", there.port, str(tmp_path / "x.csv"), "--samples", "1"]) == 1
    assert "does not say what its stream 0 is" in capsys.readouterr().err


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
def test_simulate_replaces_a_link_and_no_file(tmp_path: Path) -> None:
    file = tmp_path / "run.csv"
    file.write_text("a recording")
    command = [simulator.build(BUILT, STRICT), "--link", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (1, f"device: {file}: File exists\n")
    assert file.read_text() == "a recording"


@pytest.mark.skipif(MISSING is not None, reason=str(MISSING))
@pytest.mark.parametrize("option", ["--format", "--signal", "--lines"])
def test_simulate_takes_no_word_for_another(option: str) -> None:
    command = [simulator.build(BUILT, STRICT), option, "int32"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("device: there is no 'int32'\nusage:")


def test_simulate_is_the_device(tmp_path: Path) -> None:
    if MISSING:
        pytest.skip(MISSING)
    port = tmp_path / "port"
    environment = {**os.environ, "EDGESEQ_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "edgeseq.cli", "bridge", "simulate", "--link", str(port), "--rate", "50"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout
        assert process.stdout.readline().strip() == str(port)
        assert cli.main(["bridge", "record", str(port), str(tmp_path / "x.csv"), "--samples", "20"]) == 0
        process.terminate()
        process.communicate(timeout=20)
    assert process.returncode == 0
    done = subprocess.run([*command[:5], "--help"], capture_output=True, text=True, check=True, env=environment)
    assert "--drift PPM" in done.stdout
