"""`edgeseq features`: the frames that a pipeline's model sees, of all kinds of files, for any size of block."""

from __future__ import annotations

import csv
import itertools
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tiny_bundle
from feature_files import CHAIN, KINDS, MANY, NAMES, RATE, as_a_pipeline_sees, load, many, run, samples, write
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeseq import tables
from edgeseq.feature_chain import FeatureChain
from edgeseq.feature_tables import FeatureTables
from edgeseq.gaps import ALL_GAPS
from edgeseq.recordings import frames_file, framing
from edgeseq.sources import _table, audio
from edgeseq.types import Channel, Chunk, Frames, StreamSpec


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.toml"
    path.write_text(CHAIN, "utf-8")
    return path


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 7, 4096, 1 << 20])
def test_training_sees_what_a_pipeline_sees_bit_for_bit(
    kind: str, rows: int, chain: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    tmp_path = chain.parent
    data = write(tmp_path / f"x{kind}", samples())
    t_ns, frames, dropped = as_a_pipeline_sees(chain, data)
    monkeypatch.setattr(_table, "BATCH_ROWS", rows)
    monkeypatch.setattr(audio, "BLOCK", rows)
    for ending in frames_file.FORMATS:
        assert run(capsys, chain, "--input", data, "--output", tmp_path / f"y{ending}")[0] == 0
    npz = load(tmp_path / "y.npz")
    np.testing.assert_array_equal(npz["frames"].view(np.int32), frames.view(np.int32))
    assert npz["frames"].dtype == np.float32
    assert npz["t_ns"].tolist() == t_ns
    # Windows 50 to 67 of the 248 first ones are silent, so 24 to 33 of the 123 second ones lean on such a one; what a
    # lossy format makes of silence is not.
    lost = 0 if kind == ".ogg" else 10
    assert dropped == ({"model.not_finite_frame": lost} if lost else {})
    assert len(frames) == 123 - lost
    assert np.flatnonzero(npz["gap"]).tolist() == ([24] if lost else [])
    with (tmp_path / "y.csv").open(encoding="utf-8") as file:
        assert json.loads(file.readline().removeprefix("# "))["names"] == NAMES
        rows_read = list(csv.DictReader(file))
    as_text = [[row[name] for name in NAMES] for row in rows_read]
    np.testing.assert_array_equal(np.asarray(as_text, np.float32), frames)
    assert [int(row["t_ns"]) for row in rows_read] == t_ns
    assert [row["gap"] == "1" for row in rows_read] == npz["gap"].tolist()
    table = pq.read_table(tmp_path / "y.parquet")
    np.testing.assert_array_equal(np.stack([table[name].to_numpy() for name in NAMES], axis=1), frames)
    assert table["t_ns"].to_pylist() == t_ns
    assert table["gap"].to_pylist() == npz["gap"].tolist()


def test_files_that_hold_the_same_samples_give_the_same_frames(chain: Path, tmp_path: Path, capsys: Any) -> None:
    found = []
    for kind in (".csv", ".parquet", ".wav"):
        data = write(tmp_path / f"x{kind}", samples())
        assert run(capsys, chain, "--input", data, "--output", tmp_path / f"{kind[1:]}.npz")[0] == 0
        found.append((tmp_path / f"{kind[1:]}.npz").read_bytes())
    assert found[0] == found[1] == found[2]


def test_a_file_says_what_it_holds(chain: Path, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path / "x.parquet", samples())
    standardize, last = CHAIN.index('[[features]]\ntype = "standardize"'), CHAIN.rindex("[[features]]")
    chain.write_text(CHAIN[:standardize] + CHAIN[last:], "utf-8")  # what is standardized has no unit
    status, out, err = run(capsys, chain, "--input", data, "--output", tmp_path / "y.npz", "--json")
    document, npz = json.loads(out), load(tmp_path / "y.npz")
    assert (status, err) == (0, "")
    assert npz["names"].tolist() == NAMES == [channel["name"] for channel in document["channels"]]
    assert npz["units"].tolist() == ["g", "g", "", ""]
    assert npz["rate_hz"] == document["rate_hz"] == 25
    assert npz["streams"].tolist() == [""]
    assert str(npz["chain"]) == document["chain"] == framing.read(chain).chain.digest
    (told,) = document["files"]
    assert (told["samples"], told["streams"], told["frames"]) == (5000, 1, len(npz["frames"]))
    assert told["dropped"] == {"not_finite_frame": 10}
    for ending in (".csv", ".parquet"):
        assert run(capsys, chain, "--input", data, "--output", tmp_path / f"y{ending}")[0] == 0
    with (tmp_path / "y.csv").open(encoding="utf-8") as file:
        about = json.loads(file.readline().removeprefix("# "))
    schema = pq.read_schema(tmp_path / "y.parquet")
    assert about == json.loads(schema.metadata[b"edgeseq"])
    assert about == {"names": NAMES, "units": ["g", "g", "", ""], "rate_hz": 25.0, "chain": document["chain"]}
    assert schema.field("a.std.max").metadata == {b"unit": b"g"}


def test_a_sum_tells_chains_apart_and_nothing_else(chain: Path, tmp_path: Path) -> None:
    def digest(*change: str) -> str:
        (tmp_path / "other.toml").write_text(CHAIN.replace(*change) if change else CHAIN, "utf-8")
        return framing.read(tmp_path / "other.toml").chain.digest

    known = framing.read(chain).chain.digest
    assert digest() == digest("mean = [0, 0.5", "mean = [0.0, 0.5") == digest("clip = 3", "clip = 3.0") == known
    assert digest("window = 0.05\nhop = 0.02", "hop = 0.02\nwindow = 0.05") == known
    changes = [("clip = 3", "clip = 4"), ("rate_hz = 1000", "rate_hz = 1001"), ('"V"', '"mV"'), ("clip = 3\n", "")]
    assert len({known, *(digest(*change) for change in changes)}) == 1 + len(changes)


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_folders_keep_their_shape_and_processes_change_nothing(
    jobs: str, chain: Path, tmp_path: Path, capsys: Any
) -> None:
    names = ["a.wav", "deep/er/b.csv", "deep/c.flac", "deep/LOUD.WAV"]
    for seed, name in enumerate(names):
        write(tmp_path / "in" / name.lower(), samples(2000, seed))
    (tmp_path / "in/deep/loud.wav").rename(tmp_path / "in/deep/LOUD.WAV")
    write(tmp_path / "alone.parquet", samples(2000, 9))
    (tmp_path / "in/notes.txt").write_text("no data")
    write(tmp_path / "in/.hidden/d.wav", samples(100))
    output = tmp_path / "out"
    status, out, _ = run(
        capsys,
        chain,
        "--input",
        tmp_path / "in",
        tmp_path / "alone.parquet",
        "--output",
        output,
        "--jobs",
        jobs,
        "--json",
    )
    document = json.loads(out)
    assert status == 0
    assert document["left_out"] == [str(tmp_path / "in/notes.txt")]
    made = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    assert made == ["a.npz", "alone.npz", "deep/LOUD.npz", "deep/c.npz", "deep/er/b.npz"]
    for name in names:
        expected = as_a_pipeline_sees(chain, tmp_path / "in" / name)[1]
        np.testing.assert_array_equal(load((output / name).with_suffix(".npz"))["frames"], expected)


def test_machines_of_one_file_are_told_apart(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "chain.toml").write_text(MANY, "utf-8")
    data = many(tmp_path / "x.csv", hole=450)
    for ending in (".npz", ".csv", ".parquet"):
        status, out, _ = run(
            capsys, tmp_path / "chain.toml", "--input", data, "--output", tmp_path / f"y{ending}", "--json"
        )
        (told,) = json.loads(out)["files"]
        assert (status, told["streams"], told["gaps"]) == (0, 2, 2)
    npz = load(tmp_path / "y.npz")
    assert npz["streams"].tolist() == ["p", "q"]
    p, q = ({name: npz[name][npz["stream"] == place] for name in ("frames", "t_ns", "gap")} for place in (0, 1))
    np.testing.assert_array_equal(p["frames"], q["frames"])
    assert p["t_ns"].tolist() == q["t_ns"].tolist()
    assert np.flatnonzero(p["gap"]).tolist() == [int(np.argmax(p["t_ns"] > 5_000_000_000))]
    # The windows begin anew behind the gap: no frame leans on samples from both sides of it.
    half = write(tmp_path / "half.csv", samples(900)[450:])
    (tmp_path / "plain.toml").write_text(CHAIN, "utf-8")
    np.testing.assert_array_equal(
        p["frames"][p["t_ns"] > 5_000_000_000], as_a_pipeline_sees(tmp_path / "plain.toml", half)[1]
    )
    streams = [npz["streams"][place] for place in npz["stream"]]
    assert pq.read_table(tmp_path / "y.parquet")["stream"].to_pylist() == streams
    with (tmp_path / "y.csv").open(encoding="utf-8") as file:
        file.readline()
        assert [row["stream"] for row in csv.DictReader(file)] == streams


def test_a_bundle_and_a_pipeline_bring_their_chain(tmp_path: Path, capsys: Any) -> None:
    bundle = tiny_bundle.write(tmp_path / "bundle")
    (tmp_path / "pipeline.toml").write_text(
        'name = "p"\n[source]\ntype = "csv"\npath = "gone.csv"\ndelimiter = ";"\ninterleave = true\n'
        'stream_column = "unit"\n[model]\nbundle = "bundle"\n',
        "utf-8",
    )
    (tmp_path / "plain.csv").write_text("life\n1\n2\n3\n", "utf-8")
    (tmp_path / "many.csv").write_text("unit;life\nA;1\nB;7\nA;2\n", "utf-8")
    assert run(capsys, bundle, "--input", tmp_path / "plain.csv", "--output", tmp_path / "a.npz")[0] == 0
    assert (
        run(capsys, tmp_path / "pipeline.toml", "--input", tmp_path / "many.csv", "--output", tmp_path / "b.npz")[0]
        == 0
    )
    plain, units = load(tmp_path / "a.npz"), load(tmp_path / "b.npz")
    assert plain["frames"].ravel().tolist() == [1, 2, 3]
    assert units["frames"].ravel().tolist() == [1, 7, 2]
    assert [units["streams"][place] for place in units["stream"]] == ["A", "B", "A"]
    assert plain["chain"] == units["chain"]
    assert (plain["names"].tolist(), plain["units"].tolist()) == (["life"], ["cycles"])


def test_memory_does_not_grow_with_the_file(chain: Path, tmp_path: Path) -> None:
    """The parts that a file comes in are small, whatever its length."""
    data = write(tmp_path / "x.wav", samples(100_000))
    sizes = [len(part.t_ns) for part in framing.read(chain).frames(data, framing.Counts())]
    assert sum(sizes) > 2000
    assert max(sizes) <= audio.BLOCK // 40 + 1


def test_a_bar_is_shown_on_a_terminal_alone(chain: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    data = write(tmp_path / "x.csv", samples(100))
    assert "1 of 1 files ━" not in run(capsys, chain, "--input", data, "--output", tmp_path / "y.npz")[2]
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    assert "1 of 1 files" in run(capsys, chain, "--input", data, "--output", tmp_path / "y.npz")[2]


def test_a_clock_that_is_a_little_fast_is_none(tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "chain.toml").write_text(MANY, "utf-8")
    data = many(tmp_path / "x.csv", 0.00098)
    assert run(capsys, tmp_path / "chain.toml", "--input", data, "--output", tmp_path / "y.npz")[0] == 0


@settings(max_examples=50, deadline=None)
@given(st.sets(st.integers(1, 899), max_size=3), st.sets(st.integers(1, 899), max_size=20))
def test_chunks_may_be_split_anywhere(gaps: set[int], cuts: set[int]) -> None:
    """Frames, times and gaps are those of as few chunks as the gaps allow."""
    document = tables.Document(Path("chain.toml"), CHAIN, tomllib.loads(CHAIN))
    stream = StreamSpec((Channel("a"), Channel("b")), RATE)
    chain = FeatureTables(document, stream, document.table["features"])
    values, t_ns = samples(2300)[700:1600], np.arange(900, dtype=np.int64) * 1_000_000

    def parts(at: set[int]) -> tuple[Frames, list[int], list[bool], int]:
        lane, counts = framing._Lane(FeatureChain(chain.open()[0]), ALL_GAPS, RATE), framing.Counts()
        found = [
            lane.push(Chunk(t_ns[start:stop], values[start:stop], gap=start in gaps), counts)
            for start, stop in itertools.pairwise(sorted({0, *at, 900}))
        ]
        times = [when for part in found for when in part.t_ns.tolist()]
        lost = [gap for part in found for gap in part.gaps.tolist()]
        rows = [part.frames for part in found if len(part.frames)]
        return np.concatenate([*rows, np.empty((0, 4))]), times, lost, counts.dropped["not_finite_frame"]

    whole, split = parts(gaps), parts(gaps | cuts)
    np.testing.assert_array_equal(split[0], whole[0])
    assert split[1:] == whole[1:]


@pytest.mark.parametrize(("cycle", "starts"), [("", [1, 2, 3]), ("duty_cycle_s = 10\n", [3])])
def test_the_pause_of_a_duty_cycle_begins_no_new_sequence(
    cycle: str, starts: list[int], tmp_path: Path, capsys: Any
) -> None:
    rows = [f"{number * 10 + i / 100},{number},{i}" for number in (0, 1, 2, 4) for i in range(10)]
    data, output = tmp_path / "x.csv", tmp_path / "y.npz"
    data.write_text("\n".join(["t,a,b", *rows]))
    stream = f'[stream]\nrate_hz = 100\n{cycle}channels = [{{ name = "a" }}, {{ name = "b" }}]\n'
    features = '[[features]]\ntype = "window_statistics"\nwindow = 0.1\nstatistics = ["mean"]\n'
    (tmp_path / "chain.toml").write_text(f'{stream}{features}[source]\ntime_column = "t"\n')
    assert run(capsys, tmp_path / "chain.toml", "--input", data, "--output", output)[0] == 0
    made = load(output)
    np.testing.assert_array_equal(made["frames"], np.array([[c, 4.5] for c in (0, 1, 2, 4)], np.float32))
    assert np.flatnonzero(made["gap"]).tolist() == starts
