"""`edgeseq bench --compare` and `--html`: what documents say side by side, and the page of them."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeseq.cli import main
from edgeseq.comparison import axis, documents, strip, words
from edgeseq.comparison.documents import Histogram, Result

BUNDLE = Path(__file__).parents[1] / "zoo" / "turbofan" / "bundle"
VOID = {"meta", "br"}


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Measure for real, as JSON and as a page."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        lines: list[str] = []
        patch.setattr("builtins.print", lambda text="", **_: lines.append(str(text)))
        options = ("--backend", "ort", "--steps", "1000", "--json", "--html", str(folder / "page.html"))
        assert main(["bench", str(BUNDLE), *options]) == 0
    (folder / "real.json").write_text(lines[0], encoding="utf-8")
    return folder / "real.json", folder / "page.html"


def result(**changes: Any) -> dict[str, Any]:
    """Give a result with every key that there is."""
    return {
        "bundle": "fan.bundle",
        "name": "fan",
        "variant": "int8",
        "backend": "ort",
        "threads": 1,
        "steps": 100_000,
        "p50_us": 10.0,
        "p90_us": 12.0,
        "p95_us": 13.0,
        "p99_us": 20.0,
        "p999_us": 90.0,
        "max_us": 400.0,
        "mean_us": 10.0,
        "std_us": 1.0,
        "run_us_per_step": 9.0,
        "first_step_us": 300.0,
        "load_ms": 30.0,
        "rss_mb": 60.0,
        "rate_hz": None,
        "cpu": "A",
        "api": "step",
        "interval": None,
        "deadline_misses": None,
        "duration_s": 1.0,
        "cpu_affinity": [2],
        "fifo_priority": 50,
        "weight_bytes": 9,
        "state_bytes": 9,
        "bytes_per_step": 9,
        "macs_per_step": 9,
        "timer_overhead_ns": 40.0,
        "ceiling": {"bandwidth_gb_s": 9.0, "gmac_s": 9.0, "bound_us": 2.5, "bound_by": "memory", "distance": 4.0},
        "board_before": {"clock_mhz": 2400.0, "temperature_c": 50.0, "throttled": False},
        "board_after": {"clock_mhz": 1800.0, "temperature_c": 81.0, "throttled": True},
        "histogram": {"le_us": [9.0, 10.0, 20.0, 400.0], "count": [40_000, 30_000, 29_999, 1]},
        **changes,
    }


def written(path: Path, *results: dict[str, Any], **device: Any) -> Path:
    path.write_text(json.dumps({"device": {"cpu": "A", "load_1min": 0.1, **device}, "results": results}), "utf-8")
    return path


def parsed(svg: str) -> ET.Element:
    return ET.fromstring(svg)  # noqa: S314 - we drew it


class Page(HTMLParser):
    """Reads a page; every element must be closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.source = path.read_text("utf-8")
        self.feed(self.source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.texts.append(data.strip())

    @property
    def drawn(self) -> list[ET.Element]:
        return [parsed(svg) for svg in re.findall(r'<svg class="strip".*?</svg>(?=</div>)', self.source)]


def test_a_measurement_is_written_as_a_page(real: tuple[Path, Path]) -> None:
    page = Page(real[1])
    device, results = json.loads(real[0].read_text()).values()
    assert "script" not in page.tags
    assert "http" not in page.source
    assert device["cpu"] in page.texts
    for row in results:
        assert f"{row['variant']} on ort" in page.texts
        for key in ("p50_us", "p90_us", "max_us"):
            assert words.us(row[key]) in page.texts
    assert len(page.drawn) == len(results)


def test_a_real_document_against_itself(real: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--compare", str(real[0]), str(real[0])]) == 0
    out = capsys.readouterr().out
    assert "turbofan-fd001, back to back" in out
    assert "real 2 p50" in out
    assert re.search(r"float32 +ort .* the same", out)
    assert "slower\n" not in out


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
    assert re.search(r"int8 +ort +10.0 +20.0 +29.5 +15.0 +2.95× slower +1.33× faster", out)
    assert re.search(r"w8a16 +ort +missing +missing +10.0 +20.0 +– +–", out)
    assert "Only in here: float32 on ort." in out
    assert "Only in there: w8a16 on ort." in out
    assert "fan, one step every 10 ms" in out


def test_the_comparison_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [
        written(tmp_path / "a.json", result()),
        written(tmp_path / "b.json", result(p50_us=20.0, p99_us=None)),
        written(tmp_path / "c.json"),
    ]
    assert main(["bench", "--compare", *map(str, paths), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [str(path) for path in paths]
    assert [run["run"] for run in document["runs"]] == ["a", "b", "c"]
    (row,) = document["results"]
    assert (row["name"], row["backend"], row["variant"], row["rate_hz"]) == ("fan", "ort", "int8", None)
    assert row["runs"] == [
        {"p50_us": 10.0, "p99_us": 20.0, "p50_ratio": 1.0, "p99_ratio": 1.0},
        {"p50_us": 20.0, "p99_us": None, "p50_ratio": 2.0, "p99_ratio": None},
        None,
    ]
    assert {"what": "processor", "values": ["A", "A", "A"], "differs": False} in document["conditions"]


def test_the_page_says_all_that_is_known(tmp_path: Path) -> None:
    path = written(tmp_path / "here.json", result(rate_hz=100.0, deadline_misses=7))
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "out.html")]) == 0
    page = Page(tmp_path / "out.html")
    assert {
        *("10.0", "12.0", "20.0", "90.0", "400", "9.00", "300", "30", "60", "7", "4.00×"),
        *("p50 10.0", "p99 20.0", "p99.9 90.0"),
        "100,000 steps, the longest 400 µs",
        "7 of 100,000 deadlines missed",
        "p50 is 4.00× the ceiling's 2.50 µs, set by memory",
        "clock 2,400 → 1,800 MHz",
        "temperature 50 → 81 °C",
        "The board throttled",
    } <= set(page.texts)


def test_the_page_of_two_runs_draws_them_under_one_another(tmp_path: Path) -> None:
    a = written(tmp_path / "a.json", result(), result(variant="float32"))
    b = written(tmp_path / "b.json", result(p50_us=20.0, p99_us=40.0))
    assert main(["bench", "--compare", str(a), str(b), "--html", str(tmp_path / "out.html")]) == 0
    page = Page(tmp_path / "out.html")
    assert len(page.drawn) == 3
    assert {"2.00× slower", "missing", "Not in this run.", "int8 on ort", "float32 on ort"} <= set(page.texts)
    assert not list(tmp_path.glob(".*"))


def test_a_document_of_an_older_edgeseq(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = {key: value for key, value in result().items() if key in ("bundle", "variant", "backend", "p50_us", "p99_us")}
    paths = [written(tmp_path / "old.json", old), written(tmp_path / "new.json", result(bundle="x", name="fan.bundle"))]
    assert main(["bench", "--compare", *map(str, paths), "--html", str(tmp_path / "out.html")]) == 0
    out = capsys.readouterr().out
    assert re.search(r"int8 +ort .* the same +the same", out)
    assert re.search(r"temperature, °C +not told +50 to 81", out)
    page = Page(tmp_path / "out.html")
    assert "No histogram: an older edgeseq measured this" in page.texts
    # Its percentiles are still drawn.
    assert page.texts.count("p50 10.0") == 2


def test_nothing_in_common_and_nothing_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = written(tmp_path / "a.json", result()), written(tmp_path / "b.json", result(name="other"))
    assert main(["bench", "--compare", str(a), str(b), "--html", str(tmp_path / "out.html")]) == 0
    out = capsys.readouterr().out
    assert "Only in a: int8 on ort." in out
    assert "Only in b: int8 on ort." in out
    empty = written(tmp_path / "c.json")
    assert main(["bench", "--compare", str(empty), str(empty), "--html", str(tmp_path / "out.html")]) == 0
    assert "There is no result" in capsys.readouterr().out
    assert not Page(tmp_path / "out.html").drawn


def test_bundles_of_one_name_in_one_run_stay_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "a.json", result(), result(bundle="second", p50_us=11.0))
    assert main(["bench", "--compare", str(path), str(path)]) == 0
    out = capsys.readouterr().out
    assert "fan, back to back" in out
    assert "fan (2), back to back" in out


def test_names_from_outside_do_no_harm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = '<script>alert("$made")</script>\x1b[2J'
    path = written(
        tmp_path / "<b>.json", result(name=evil, variant="<i>", backend='"><svg>'), cpu=evil, **{"<u>": "<p>"}
    )
    assert main(["bench", "--compare", str(path), str(path), "--html", str(tmp_path / "out.html")]) == 0
    assert "\x1b" not in capsys.readouterr().out
    page = Page(tmp_path / "out.html")
    assert not {"script", "i", "u"} & set(page.tags)
    assert any(text.startswith('<script>alert("$made")</script>\N{REPLACEMENT CHARACTER}[2J') for text in page.texts)


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


def test_a_page_replaces_what_a_link_leads_to(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", result())
    (tmp_path / "page.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "link.html")]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "circle")]) == 2


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


def histograms() -> st.SearchStrategy[Histogram]:
    edges = st.lists(st.floats(0, 1e15), min_size=1, max_size=60, unique=True).map(sorted)
    counts = st.integers(1, 10**9)
    return edges.flatmap(
        lambda of: st.lists(counts, min_size=len(of), max_size=len(of)).map(lambda c: Histogram(of, c))
    )


def corners(path: str) -> Iterator[tuple[float, float]]:
    """Follow the path's commands M, H and V."""
    x = y = 0.0
    for command, number, second in re.findall(r"([MHV])([\d.]+)(?:,([\d.]+))?", path):
        x, y = (
            (float(number), y)
            if command == "H"
            else (x, float(number))
            if command == "V"
            else (float(number), float(second))
        )
        yield x, y


@given(histograms())
def test_a_histogram_keeps_its_order_and_its_box(histogram: Histogram) -> None:
    of = Result("v", "b", histogram=histogram)
    scale = axis.around([of])
    assert scale is not None
    assert 1 < scale.columns <= 2 * axis.MAX_COLUMNS
    columns = [scale.column(edge) for edge in histogram.le_us]
    assert columns == sorted(columns)
    counts = scale.counts(histogram)
    assert sum(counts) == sum(histogram.count)
    for column, edge in zip(columns, histogram.le_us, strict=True):
        # An edge lies at its column, of which it is the upper end or a point within.
        assert column - 1e-6 <= scale.at(edge) * scale.columns <= column + 1 + 1e-6
    points = list(corners(strip.area(counts, strip.HALF / sum(counts))))
    assert all(0 <= x <= strip.BOX and 0 <= y <= strip.BOX for x, y in points)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    least = strip.HALF / (sum(counts) + 1)
    drawn = parsed(strip.strip(of, scale, least, 0, "x"))
    assert within(drawn)


def within(drawn: ET.Element) -> bool:
    """Tell whether every position lies in the picture."""
    across = [float(e.attrib[k].rstrip("%")) for e in drawn.iter() for k in ("x1", "x2") if k in e.attrib]
    down = [float(e.attrib[k]) for e in drawn.iter() for k in ("y1", "y2") if k in e.attrib]
    return all(0 <= x <= 100 for x in across) and all(0 <= y <= strip.HEIGHT for y in down)


@given(st.floats(1e-3, 1e14), st.floats(1, 1e15))
def test_ticks_are_few_and_in_order(low: float, span: float) -> None:
    scale = axis.around([Result("v", "b", p50_us=low, p99_us=min(low * span, 1e15))])
    assert scale is not None
    ticks = scale.ticks()
    assert 2 <= len(ticks) <= axis.MAX_TICKS
    assert ticks == sorted(ticks)
    assert all(-1e-9 <= scale.at(tick) <= 1 + 1e-9 for tick in ticks)


@given(st.lists(st.floats(1, 1e4), min_size=3, max_size=3))
def test_labels_of_marks_never_meet(values: Sequence[float]) -> None:
    p50, p99, p999 = sorted(values)
    of = Result("v", "b", p50_us=p50, p99_us=p99, p999_us=p999, rate_hz=1000.0)
    scale = axis.around([of])
    assert scale is not None
    labels = parsed(strip.strip(of, scale, 1e-5, 0, "x")).findall("text[@dx]")
    rows = [float(label.attrib["y"]) for label in labels]
    assert all(after - before >= strip.LINE for before, after in pairwise(rows))
    assert all(math.isfinite(row) and row < strip.PLOT for row in rows)
