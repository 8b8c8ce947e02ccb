"""`edgeseq bench --compare`: what documents say side by side, and what is refused."""

import json
import re
from pathlib import Path

import pytest
from bench_documents import result, written

from edgeseq.cli import main
from edgeseq.comparison import documents, words

BUNDLE = Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle"


def test_what_differs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = written(tmp_path / "here.json", result(), result(variant="float32"), governor="performance")
    there = written(
        tmp_path / "there.json",
        result(p50_us=29.5, p99_us=15.0, steps=20_000, threads=2),
        result(variant="w8a16"),
        result(rate_hz=100.0, cpu_affinity=None),
        cpu="B",
        governor="ondemand",
        load_1min=3.0,
    )
    assert main(["bench", "--compare", str(here), str(there)]) == 0
    out = capsys.readouterr().out
    for words_of in (
        ("processor", "A", "B"),
        ("governor", "performance", "ondemand"),
        ("load", "0.1", "3.0"),
        ("steps", "100,000", "20,000, 100,000"),
        ("threads", "1", "2, 1"),
        ("pinned to core", "2", "2, none"),
    ):
        assert re.search(" +".join(words_of), out), out
    assert re.search(r"int8 +ort +10.0 +20.0 +4.00× +29.5 +15.0 +4.00× +2.95× slower +1.33× faster", out)
    assert re.search(r"w8a16 +ort +missing +missing +missing +10.0 +20.0 +4.00× +– +–", out)
    assert "Only in here: float32 on ort." in out
    assert "Only in there: w8a16 on ort." in out
    assert "fan, one step every 10 ms" in out


def test_missed_deadlines_and_what_ended_the_steps_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = written(tmp_path / "here.json", result(rate_hz=100.0, deadline_misses=7, ceiling=None))
    there = written(tmp_path / "there.json", result(rate_hz=100.0, deadline_misses=1234, duration_s=60.0, ceiling=None))
    assert main(["bench", "--compare", str(here), str(there)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"steps +100,000 +in 60 s\n", out)
    assert re.search(r"here p50 +p99 +missed +there p50 +p99 +missed +p50 is", out)
    assert re.search(r"10.0 +20.0 +7 +10.0 +20.0 +1,234 +the same", out)
    assert "× least" not in out


def test_the_comparison_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        written(tmp_path / "a.json", result()),
        written(tmp_path / "b.json", result(p50_us=20.0, p99_us=None, deadline_misses=3, ceiling=None)),
        written(tmp_path / "c.json"),
    ]
    assert main(["bench", "--compare", *map(str, paths), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(path) for path in paths]
    assert [run["run"] for run in document["runs"]] == ["a", "b", "c"]
    (row,) = document["results"]
    assert (row["name"], row["backend"], row["variant"], row["rate_hz"]) == ("fan", "ort", "int8", None)
    assert row["runs"] == [
        {"p50_us": 10.0, "p99_us": 20.0, "p50_ratio": 1.0, "p99_ratio": 1.0, "deadline_misses": None, "distance": 4.0},
        {"p50_us": 20.0, "p99_us": None, "p50_ratio": 2.0, "p99_ratio": None, "deadline_misses": 3, "distance": None},
        None,
    ]
    assert {"what": "processor", "values": ["A", "A", "A"], "differs": False} in document["conditions"]


def test_nothing_in_common_and_nothing_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = written(tmp_path / "a.json", result()), written(tmp_path / "b.json", result(name="other"))
    assert main(["bench", "--compare", str(a), str(b), "--html", str(tmp_path / "out.html")]) == 0
    out = capsys.readouterr().out
    assert "Only in a: int8 on ort." in out
    assert "Only in b: int8 on ort." in out
    empty = written(tmp_path / "c.json")
    assert main(["bench", "--compare", str(empty), str(empty), "--html", str(tmp_path / "out.html")]) == 0
    assert "There is no result" in capsys.readouterr().out
    assert "There is no result" in (tmp_path / "out.html").read_text("utf-8")


def test_bundles_of_one_name_in_one_run_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.json", result(), result(bundle="second", p50_us=11.0))
    assert main(["bench", "--compare", str(path), str(path)]) == 0
    out = capsys.readouterr().out
    assert "fan, back to back" in out
    assert "fan (2), back to back" in out


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "not JSON"),
        (b'{"device": {}, "results": [', "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not"),
        (b"[]", "not what `edgeseq bench --json` writes: expected `object`"),
        (b'{"device": {}}', "missing required field `results`"),
        (
            b'{"device": {}, "results": [{"variant": "a", "backend": "b", "p50_us": "fast"}]}',
            "results[0].p50_us: expected",
        ),
        (b'{"device": {}, "results": [{"variant": "a", "backend": "b", "p50_us": -1}]}', "results[0].p50_us: expected"),
        (b'{"device": {}, "results": [{"variant": "a", "backend": "b", "p50_us": 1e999}]}', "not"),
        (b'{"device": {}, "results": [{"variant": "a", "backend": "b", "p50_us": NaN}]}', "not JSON"),
        (
            b'{"device": {}, "results": [{"variant": "a", "backend": "b", "rate_hz": 0}]}',
            "results[0].rate_hz: expected",
        ),
        (
            b'{"device":{},"results":[{"variant":"a","backend":"b","histogram":{"le_us":[1,2],"count":[1]}}]}',
            "results[0].histogram: 2 edges in le_us, but 1 numbers in count",
        ),
        (
            b'{"device":{},"results":[{"variant":"a","backend":"b","histogram":{"le_us":[2,1],"count":[1,1]}}]}',
            "le_us does not ascend",
        ),
    ],
)
def test_a_damaged_document_is_one_sentence(
    tmp_path: Path, content: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "damaged.json"
    path.write_bytes(content)
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "out.html")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"edgeseq: {path}: ")
    assert sentence in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.html").exists()


def test_a_huge_document_is_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "huge.json"
    with path.open("wb") as file:
        file.truncate(documents.MAX_BYTES + 1)
    assert main(["bench", "--compare", str(path)]) == 2
    assert "larger than 64 MiB" in capsys.readouterr().err


def test_arguments_that_do_not_fit_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.json", result())
    for arguments, sentence in (
        ([], "name a BUNDLE"),
        ([str(BUNDLE), "--compare", str(path)], "leave BUNDLE out"),
        (["--compare", *[str(path)] * 17], "at most 16"),
        (["--compare", str(tmp_path / "none.json")], "cannot be read: No such file"),
        (["--compare", str(tmp_path)], "cannot be read: Is a directory"),
        (["--compare", str(path), "--html", str(path)], "is one of the documents"),
        (["--compare", str(path), "--html", str(tmp_path / "none" / "a.html")], "cannot be written: No such file"),
        ([str(BUNDLE), "--html", str(tmp_path)], "is not a file"),
        ([str(BUNDLE), "--html", str(tmp_path / ("a" * 300))], "cannot be written: File name too long"),
    ):
        assert main(["bench", *arguments]) == 2, arguments
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "expected"),
    [(None, "–"), (0.0, "0.000"), (0.432, "0.432"), (5.31, "5.31"), (9.999, "10.0"), (99.96, "100"), (2140.2, "2,140")],
)
def test_three_digits(value: float | None, expected: str) -> None:
    assert words.us(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.2, "200 ns"), (1, "1 µs"), (500, "500 µs"), (999.9, "1 ms"), (1500, "1.5 ms"), (2e7, "20 s"), (1e9, "1,000 s")],
)
def test_durations_in_their_unit(value: float, expected: str) -> None:
    assert words.duration(value) == expected


@pytest.mark.parametrize(
    ("times", "expected"),
    [(None, "–"), (1.01, "the same"), (0.99, "the same"), (2.95, "2.95× slower"), (0.5, "2.00× faster"), (0.0, "–")],
)
def test_ratios_in_words(times: float | None, expected: str) -> None:
    assert words.against(times) == expected
