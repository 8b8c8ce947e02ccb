"""`edgeseq features` on what is not right: refused in a sentence, before anything is written or with nothing left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from feature_files import CHAIN, MANY, RATE, load, many, run, samples, write

from edgeseq import feature_tables, tables
from edgeseq.commands import features
from edgeseq.errors import ConfigError, SourceError
from edgeseq.feature_tables import FeatureTables
from edgeseq.recordings import frames_file, framing
from edgeseq.types import Channel, StreamSpec


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.toml"
    path.write_text(CHAIN, "utf-8")
    return path


@pytest.mark.parametrize("period", [0.002, 0.0005, 0.0011, 0.0])
def test_times_at_another_rate_are_refused_by_name(period: float, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "chain.toml").write_text(MANY, "utf-8")
    data = many(tmp_path / "x.csv", period)
    status, _, err = run(capsys, tmp_path / "chain.toml", "--input", data, "--output", tmp_path / "y.npz")
    found = f"{1 / period:g} Hz" if period else "one and the same time"
    assert status == 1
    assert f"{data}: by its column 't' samples come at {found}, rate_hz says 1000 Hz" in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["chain.toml", "x.csv"]


def test_a_rate_that_changes_later_in_the_file_is_refused_too(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "chain.toml").write_text(MANY, "utf-8")
    data = many(tmp_path / "x.csv", 0.001)
    rows = data.read_text("utf-8").splitlines()[: 1 + 2 * 600]
    for row in many(tmp_path / "x.csv", 0.0005).read_text("utf-8").splitlines()[1:]:
        unit, t, *values = row.split(",")
        rows.append(",".join([unit, f"{float(t) + 0.6:.6f}", *values]))
    data.write_text("\n".join(rows) + "\n", "utf-8")
    status, _, err = run(capsys, tmp_path / "chain.toml", "--input", data, "--output", tmp_path / "y.npz")
    assert status == 1
    assert "by its column 't' samples come at 142" in err
    assert "the feature chain takes 1000 Hz" in err
    assert not (tmp_path / "y.npz").exists()


REFUSED = [
    ("x.wav", {"rate": 8000}, "x.wav: has 8000 samples a second, the pipeline takes 1000"),
    ("x.csv", {"names": ("a", "c")}, "x.csv has no column 'b'"),
    ("x.parquet", {"names": ("a", "c")}, "x.parquet has no column 'b'"),
    ("x.flac", {"names": ("a",)}, "x.flac: has 1 channel(s), the pipeline takes 2 (a, b)"),
]


@pytest.mark.parametrize(("name", "wrong", "said"), REFUSED)
def test_another_rate_or_channel_is_refused_by_name_before_anything_is_written(
    name: str, wrong: dict[str, Any], said: str, chain: Path, capsys: Any
) -> None:
    tmp_path = chain.parent
    write(tmp_path / "in" / "good.wav", samples())
    values = samples()[:, : len(wrong.get("names", "ab"))]
    write(tmp_path / "in" / name, values, **wrong)
    status, out, err = run(capsys, chain, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert (status > 0, out) == (True, "")
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "out").exists()


MISTAKES = [
    (("window = 0.05", "window = 0.0001"), "line 5: features[0]: window = 0.0001 s is less than one sample"),
    (("clip = 3", "clop = 3"), "line 15: features[1].clop: unknown key 'clop'. Did you mean 'clip'?"),
    (('"a.std", "b.crest"', '"a.std", "b.peak"'), "line 17: features[2]: the stream has no channel 'b.peak'"),
    (('type = "standardize"', 'type = "standardise"'), "line 12: features[1].type: there is no feature of type"),
    (("rate_hz = 1000", "rate_hz = 0"), "line 1: stream: [stream] comes at 0 Hz; a rate is above 0"),
    (('name = "b"', 'name = "a"'), "line 1: stream: [stream] has two channels called 'a'"),
    (
        ('channels = ["a.std", "b.crest"]', 'channels = ["a.std", "a.std"]'),
        "(window_statistics) has two channels called",
    ),
    (
        ("[[features]]", '[[features]]\ntype = "calendar"\ncycles = ["hour_of_dya"]\n[[features]]'),
        "Did you mean 'hour_of_day'?",
    ),
    (("[stream]\nrate_hz = 1000", "[stream]"), "stream: the key 'rate_hz' is missing"),
    (("[stream]", 'nmae = "x"\n[stream]'), "unknown key 'nmae'. Did you mean 'name'?"),
    (("[stream]", '[source]\npath = "x.csv"\n[stream]'), "source.path: which file is read, and how, says --input"),
    (
        ("[stream]", "[source]\ndelimeter = ';'\n[stream]"),
        "no file is read by a key 'delimeter'. Did you mean 'delimiter'",
    ),
    (
        ("[stream]", "[source]\nrate_hz = 500\n[stream]"),
        "source: samples come at 500 Hz, the feature chain takes 1000 Hz",
    ),
    (
        ("[stream]", '[source]\nchannels = ["a", { name = "b", unit = "A" }]\n[stream]'),
        "source: the channel 'b' is in A, the feature chain takes V",
    ),
]


@pytest.mark.parametrize(("change", "said"), MISTAKES)
def test_a_mistake_in_the_chain_is_one_sentence_with_its_place(
    change: tuple[str, str], said: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "chain.toml").write_text(CHAIN.replace(*change), "utf-8")
    data = write(tmp_path / "x.csv", samples(100))
    status, _, err = run(capsys, tmp_path / "chain.toml", "--input", data, "--output", tmp_path / "y.npz")
    assert status == 2
    assert said in err
    assert err.startswith(f"edgeseq: {tmp_path / 'chain.toml'}")
    assert not (tmp_path / "y.npz").exists()


def test_one_bad_file_does_not_cost_the_others(chain: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        write(tmp_path / "in" / name, samples(3000))
    text = (tmp_path / "in/b.csv").read_text("utf-8").splitlines()
    text[2500] = "0.1,none"
    (tmp_path / "in/b.csv").write_text("\n".join(text), "utf-8")
    status, _, err = run(capsys, chain, "--input", tmp_path / "in", "--output", tmp_path / "out")
    assert status == 1
    assert f"not written: {tmp_path / 'in/b.csv'}" in err
    assert "line 2501, column 'b'" in err
    assert "2 of 3 files" in err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.npz", "c.npz"]


PLACES = [
    ("x.csv", "x.csv", "is a file that is read"),
    ("in", "in/frames", "its files would be inputs next time"),
    ("in", "y.npz", "need a folder to write to"),
    ("nowhere", "y.npz", "there is no such file or folder"),
    ("x.txt", "y.npz", "its ending tells what it is"),
    ("empty", "out", "nothing to read there"),
    ("twice", "out", "would both be written to"),
]


@pytest.mark.parametrize(("data", "output", "said"), PLACES)
def test_places_that_do_not_go_together_are_refused(
    data: str, output: str, said: str, chain: Path, capsys: Any
) -> None:
    tmp_path = chain.parent
    for name in ("x.csv", "in/a.csv", "twice/a.csv", "twice/a.wav"):
        write(tmp_path / name, samples(100))
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").write_text("a,b\n1,2\n")
    before = (tmp_path / "x.csv").read_bytes()
    status, _, err = run(capsys, chain, "--input", tmp_path / data, "--output", tmp_path / output)
    assert status == 2
    assert said in err
    assert (tmp_path / "x.csv").read_bytes() == before


def test_a_disk_that_is_full_leaves_nothing_half_written(
    chain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    data = write(tmp_path / "in/x.csv", samples())
    for ending in frames_file.FORMATS:
        status, _, err = run(capsys, chain, "--input", data, "--output", tmp_path / f"out/y{ending}")
        assert (status, "cannot be written: No space left on device" in err) == (1, True)
        assert list((tmp_path / "out").iterdir()) == []


def test_too_short_a_file_gives_no_frame_and_says_so(chain: Path, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path / "x.csv", samples(20))
    for ending in frames_file.FORMATS:
        status, _, err = run(capsys, chain, "--input", data, "--output", tmp_path / f"y{ending}")
        assert status == 0
        assert "20 samples, 0 gaps -> 0 frames of 4 values" in err
        assert f"without a frame, since too short for the chain: 1 files, the first is {data}" in err
    npz = load(tmp_path / "y.npz")
    assert npz["frames"].shape == (0, 4)
    assert npz["streams"].tolist() == []
    assert pq.read_table(tmp_path / "y.parquet").num_rows == 0


@pytest.fixture(scope="module")
def long_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that frames are made of for seconds."""
    file = tmp_path_factory.mktemp("long") / "x.csv"
    write(file, samples(400_000))
    return file


@pytest.mark.parametrize(("jobs", "number"), [("1", signal.SIGTERM), ("2", signal.SIGTERM), ("2", signal.SIGINT)])
def test_a_signal_leaves_whole_files_alone(
    jobs: str, number: signal.Signals, chain: Path, long_file: Path, tmp_path: Path
) -> None:
    write(tmp_path / "in/a.csv", samples(200))
    for name in ("b.csv", "c.csv"):
        (tmp_path / "in" / name).hardlink_to(long_file)
    command = ["features", chain, "--input", tmp_path / "in", "--output", tmp_path / "out", "--jobs", jobs]
    process = subprocess.Popen(
        [sys.executable, "-m", "edgeseq.cli", *map(str, command)], stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and not (tmp_path / "out/.b.npz.partial").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "stopped: " in err
    assert "Traceback" not in err
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left <= {"a.npz", "b.npz", "c.npz"}
    assert not left >= {"b.npz", "c.npz"}
    for name in left:
        assert load(tmp_path / "out" / name)["frames"].shape[1] == 4


def killed(*_: Any) -> None:
    os._exit(1)


def test_a_process_that_is_killed_is_told(chain: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    for name in ("a.csv", "b.csv"):
        write(tmp_path / "in" / name, samples(100))
    monkeypatch.setattr(features, "_in_pool", killed)
    status, _, err = run(capsys, chain, "--input", tmp_path / "in", "--output", tmp_path / "out", "--jobs", "2")
    assert status == 1
    assert err.count("a process that made frames was ended from outside") == 2


def test_a_file_that_ends_before_its_header_says_is_refused(chain: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "x.wav", samples())
    data.write_bytes(data.read_bytes()[:-1000])
    with pytest.raises(SourceError, match="it is cut off"):
        framing.fits(framing.read(chain), [data])


def test_frames_of_very_many_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to there each name is looked at once: two channels of 32,769 bins are opened before patience ends."""

    def width(points: int) -> int:
        stream = StreamSpec((Channel("a"), Channel("b")), float(RATE))
        link = {"type": "stft", "window": 1.0, "hop": 1.0, "points": points}
        chain = FeatureTables(tables.Document(Path("chain.toml"), "", {}), stream, [link])
        return len(chain.open()[1][-1].channels)

    assert width(1 << 16) == 2 * ((1 << 15) + 1)
    monkeypatch.setattr(feature_tables, "MAX_VALUES", 1 << 16)
    with pytest.raises(ConfigError, match=r"\(stft\) gives 65,538 values a frame; 65,536 is the most"):
        width(1 << 16)
