"""`edgeseq demo` end to end where there is no terminal, its report, its broker and what it draws."""

import contextlib
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import tiny_demo
from rich.console import Console

from edgeseq.cli import INTERRUPTED, main
from edgeseq.demo import run as demo
from edgeseq.demo import scene as scenes
from edgeseq.demo.broker import HOST, Broker
from edgeseq.demo.chart import area
from edgeseq.demo.view import View
from edgeseq.demo.watch import Watch
from edgeseq.types import About, Event, Output

pytest.importorskip("iotcore", reason="needs the extra 'demo': pip install 'edgeseq[demo]'")
TAKEN, GIVEN_BACK = b"\x1b[?1049h", b"\x1b[?1049l"
"""What a terminal is sent for a screen of its own and for the one before."""
FRAMES = sum(frames for frames, _ in tiny_demo.MACHINES.values())


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(scenes, "_zoo", lambda: tmp_path)
    tiny_demo.write_spoken(tmp_path)
    return tiny_demo.write(tmp_path)


def test_a_demo_in_a_pipe(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = zoo / "new" / "report.html"
    assert main(["demo", "tiny", "--report", str(report)]) == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert re.search(rf"mosquitto_sub -h {HOST} -p \d+ -t 'edgeseq/#' -v", out)
    assert "machine 7: warning" in out
    assert "machine 7: critical" in out
    assert "3 of 3 messages arrived over MQTT" in out
    assert f"{FRAMES} of {FRAMES} frames" in out
    assert str(report) in out


def test_a_demo_as_json(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = zoo / "report.html"
    assert main(["demo", "tiny", "--json", "--report", str(report)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["streams"] == len(tiny_demo.MACHINES)
    assert result["frames"] == FRAMES
    # Machine 7 warns and becomes critical, <u>9 warns: one alert each, three messages.
    assert (result["alerts"], result["sent"], result["delivered"]) == (2, 3, 3)
    assert 0 < result["score"]["rmse"] < 10
    assert result["step_us"]["p50"] > 0
    assert set(result["dropped"]) == {"decider.warming"}


def test_spoken_words_are_held_against_what_was_said(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = zoo / "report.html"
    assert main(["demo", "said", "--json", "--report", str(report)]) == 0
    out, lines = capsys.readouterr()
    result = json.loads(out)
    assert result["score"] == {"said": 2, "found": 1, "wrong": 1}
    # Each of the two is raised and cleared: that it is no longer heard is sent, too, but nobody would mention it.
    assert (result["alerts"], result["sent"], result["delivered"]) == (2, 4, 4)
    assert lines.count('heard "yes", 88 % sure') == 2
    assert "cleared" not in lines
    text = report.read_text("utf-8")
    for words in ("Word by word", "1 of 2", "words found", "1 told that were not said", "said 2, found 1"):
        assert words in text
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    # The truth is drawn as high as certainty, the word as likely as it was: 2 curves, and a dot an alert.
    assert (text.count('class="truth" points'), text.count('class="predicted" points')) == (1, 1)
    assert text.count('<circle class="warning-dot" cx="') == 3


def test_the_picture_of_words(zoo: Path) -> None:
    assert zoo.is_dir()
    scene = scenes.read("said")
    out = io.StringIO()
    view = View(Console(file=out, width=90, height=24), scene)
    watch = Watch(scene.story, lambda: None, view.told)
    watch.open(About("bench", "said", "leaky-average", "1.0.0", ("yes",)))
    view.show(watch, "mosquitto_sub ...", lambda: "11.2 µs")
    assert scene.story.values(Output(0, "", np.array([0.93], np.float32)), "ok", 0) == [
        ("yes", pytest.approx(93), "ok")
    ]
    watch.event(Event("raised", "@0", 0, "", "yes", 1, 0.93, 0, {"class": "yes"}))
    watch.output(Output(0, "", np.array([0.93], np.float32)), "yes")
    view._console.print(view.picture(24))
    assert re.search(r"yes .* 93 +1 +▲ yes", out.getvalue())
    assert 'heard "yes", 93 % sure' in out.getvalue()


def test_logits_are_shown_as_probabilities(zoo: Path) -> None:
    path = zoo / "said" / "demo.toml"
    path.write_text(path.read_text().replace("yes = 0", "yes = 0, no = 2") + "logits = true\n")
    (yes, no) = scenes.read("said").story.values(Output(0, "", np.array([3, 1, 900], np.float32)), "no", 0)
    assert yes == ("yes", pytest.approx(0), "ok")
    assert no == ("no", pytest.approx(100), "no")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("[spoken]", "[spokn]", "unknown key 'spokn'"),
        ("[spoken]", "[spoken]\nwrods = 1", "unknown key 'wrods'"),
        ("[spoken]", "[life]", "the key 'cap' is missing|unknown key"),
    ],
)
def test_a_wrong_demo_is_explained(
    zoo: Path, old: str, new: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = zoo / "said" / "demo.toml"
    path.write_text(path.read_text().replace(old, new))
    assert main(["demo", "said"]) == 2
    assert re.search(words, capsys.readouterr().err)


def test_a_demo_needs_one_story(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = zoo / "said" / "demo.toml"
    path.write_text(path.read_text().partition("[spoken]")[0])
    assert main(["demo", "said"]) == 2
    assert "told by one of the tables [life] and [spoken]" in capsys.readouterr().err


def test_sigterm_gives_the_terminal_back() -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "edgeseq.cli", "demo"]
    child = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    # Reading a terminal whose other side is closed is an error on Linux, the end of the file elsewhere.
    with contextlib.suppress(OSError):
        while piece := os.read(ours, 65_536):
            if TAKEN not in seen and TAKEN in seen + piece:
                child.send_signal(signal.SIGTERM)
            seen += piece
    os.close(ours)
    assert child.wait(10) == INTERRUPTED
    assert seen.index(TAKEN) < seen.index(GIVEN_BACK)
    assert seen.endswith(b"edgeseq: interrupted\r\n")


def test_a_report_that_was_only_tried_leaves_no_file(tmp_path: Path) -> None:
    demo.check_report(tmp_path / "new.html")
    assert list(tmp_path.iterdir()) == []
    old = tmp_path / "old.html"
    old.write_text("old")
    demo.check_report(old)
    assert old.read_text() == "old"


def test_the_report_needs_nothing_beside_it(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = zoo / "report.html"
    assert main(["demo", "tiny", "--report", str(report)]) == 0
    text = report.read_text("utf-8")
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|src=|href=", text)
    parser = _Balanced()
    parser.feed(text)
    assert parser.open == []
    assert parser.tags.count("svg") >= len(tiny_demo.MACHINES) + 1
    assert "machine 7" in text
    assert "<u>9" not in text
    assert "&lt;u&gt;9" in text
    for word in ("RMSE", "arrived over MQTT", "predicted", "true", "float32 on ort", "<!doctype html>"):
        assert word in text
    assert "$" not in text
    assert "nan" not in text.lower().replace("name", "")
    capsys.readouterr()


def test_a_busy_port_is_one_paragraph(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["demo", "tiny", "--port", str(port), "--report", str(zoo / "r.html")]) == 1
    error = capsys.readouterr().err
    assert f"port {port} on {HOST} is taken" in error
    assert "--port" in error
    assert error.count("\n") == 1


def test_the_broker_listens_on_this_machine_only() -> None:
    with Broker() as broker:
        hexadecimal = f"{broker.port:04X}"
        listening = [
            line.split()[1]
            for line in Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
            if line.split()[1].endswith(f":{hexadecimal}") and line.split()[3] == "0A"
        ]
        assert listening == [f"0100007F:{hexadecimal}"]
    with socket.socket() as probe:
        probe.bind((HOST, broker.port))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["demo", "turbofam"], "there is no demo 'turbofam'"),
        (["demo", "tiny", "--speed", "0"], "--speed must be above 0"),
        (["demo", "tiny", "--speed", "nan"], "--speed must be above 0"),
        (["demo", "tiny", "--port", "0"], "--port must lie between"),
        (["demo", "tiny", "--report", "/proc/no/report.html"], "cannot be written"),
    ],
)
@pytest.mark.usefixtures("zoo")
def test_wrong_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert words in capsys.readouterr().err


def test_a_damaged_truth_is_said(zoo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (zoo / "tiny" / "truth.csv").write_text("stream,frames\n7,sixty\n")
    assert main(["demo", "tiny", "--report", str(zoo / "r.html")]) == 1
    assert "the columns stream, frames, rul" in capsys.readouterr().err
    (zoo / "said" / "truth.csv").write_text("begin,word\n7,yes\n")
    assert main(["demo", "said", "--report", str(zoo / "r.html")]) == 1
    assert "the columns begin, end, word" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "height"), [(80, 24), (130, 45), (60, 18)])
@pytest.mark.parametrize("colour", [True, False])
def test_the_picture_fits_the_terminal(zoo: Path, width: int, height: int, *, colour: bool) -> None:
    assert zoo.is_dir()
    scene = scenes.read("tiny")
    out = io.StringIO()
    console = Console(
        file=out, force_terminal=True, width=width, height=height, color_system="standard" if colour else None
    )
    view = View(console, scene)
    watch = _watched(scene, view)
    view.show(watch, "mosquitto_sub ...", lambda: "11.2 µs")
    console.print(view.picture(height))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("▇" in line for line in lines)
    assert any("machine 7: warning, 39 cycles left" in line for line in lines)
    assert ("\x1b[33m" in out.getvalue()) == colour


def test_an_area_is_as_high_as_its_values() -> None:
    assert area([], 10, 4, 1, 100.0) == ["    "]
    assert area([100.0] * 4, 4, 4, 1, 100.0) == ["▇▇▇▇"]
    assert area([0.0, 50.0], 4, 4, 1, 100.0) == ["▁▄  "]
    assert area([float("nan"), 200.0, -5.0], 3, 3, 2, 100.0) == [" ▇ ", " █▁"]
    # A curve longer than its columns is averaged, one shorter is stretched.
    assert area([0.0, 100.0] * 4, 8, 4, 1, 100.0) == ["▄▄▄▄"]
    assert area([100.0], 1, 4, 1, 100.0) == ["▇▇▇▇"]


def _watched(scene: scenes.Scene, view: View) -> Watch:
    """Return a watch that has seen the first machine get a warning."""
    watch = Watch(scene.story, lambda: None, view.told)
    watch.open(About("bench", "tiny", "leaky-average", "1.0.0", ("rul",), "cycles"))

    for index in range(30):
        if index == 20:
            watch.event(Event("raised", "7-1", 0, "7", "warning", 1, 39.0, index))
        watch.output(Output(index, "7", np.array([67.0 - index], np.float32)), "warning" if index >= 20 else "ok")
    return watch


class _Balanced(HTMLParser):
    """Keeps the tags that were opened and not closed."""

    VOID = frozenset({"meta", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
