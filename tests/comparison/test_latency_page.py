"""The page of `edgeseq bench --html`, of one run and of several."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from bench_documents import result, written

from edgeseq.cli import main
from edgeseq.comparison import words

BUNDLE = Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle"
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


def test_the_page_says_all_that_is_known(tmp_path: Path) -> None:
    path = written(tmp_path / "here.json", result(rate_hz=100.0, deadline_misses=7))
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "out.html")]) == 0
    page = Page(tmp_path / "out.html")
    assert {
        *("10.0", "12.0", "20.0", "90.0", "400", "9.00", "300", "30", "60", "7", "4.00×"),
        *("p50 10.0", "p99 20.0", "p99.9 90.0"),
        "100,000 steps, the longest 400 µs",
        "7 of 100,000 deadlines missed",
        "p50 is 4.00× the 2.50 µs that bandwidth alone takes here",
        "35.2 KiB and 21.0 k MACs a step",
        "2,400 → 1,800 MHz, 50 → 81 °C",
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


def test_a_page_replaces_what_a_link_leads_to(tmp_path: Path) -> None:
    path = written(tmp_path / "a.json", result())
    (tmp_path / "page.html").write_text("old")
    (tmp_path / "link.html").symlink_to(tmp_path / "page.html")
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "link.html")]) == 0
    assert (tmp_path / "link.html").is_symlink()
    assert (tmp_path / "page.html").read_text("utf-8").startswith("<!doctype html>")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    assert main(["bench", "--compare", str(path), "--html", str(tmp_path / "circle")]) == 2
