"""From a text to alerts: source text, a tokenizer from the bundle, a model."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tiny_bundle
import tomli_w

from edgeseq.cli import main

CONFIG = """\
name = "errors"
[source]
type = "text"
{path}
[model]
bundle = "bundle"
[[sinks]]
type = "stdout"
format = "json"
outputs = true
"""
TEXT = "ok ok fail\nfail fail\nok unheard-of\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with a bundle that averages words: 100 for ok, 0 for the rest."""
    bundle = tiny_bundle.write(tmp_path / "bundle")
    manifest = tomllib.loads((bundle / "bundle.toml").read_text("utf-8"))
    manifest["stream"] = {"rate_hz": 1000.0, "channels": [{"name": "log"}]}
    words = {"type": "words", "vocabulary": ["fail"] + [f"<{place}>" for place in range(1, 100)] + ["ok"], "unknown": 0}
    manifest["features"] = [words]
    (bundle / "bundle.toml").write_text(tomli_w.dumps(manifest), "utf-8")
    tiny_bundle.sign(bundle)
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")
    return tmp_path


def expected() -> list[float]:
    found, mean = [], 0.0
    for word in TEXT.split():
        mean = 0.5 * mean + 0.5 * (100.0 if word == "ok" else 0.0)
        found.append(mean)
    return found


def test_a_file(folder: Path) -> None:
    (folder / "errors.toml").write_text(CONFIG.format(path='path = "text.txt"'), "utf-8")
    assert main(["replay", str(folder / "errors.toml"), "--output", str(folder / "out.jsonl")]) == 0
    rows = [json.loads(line) for line in (folder / "out.jsonl").read_text("utf-8").splitlines()]
    outputs = [row for row in rows if row["type"] == "output"]
    assert [row["values"]["rul"] for row in outputs] == pytest.approx(expected())
    ends = [place for place, each in enumerate(TEXT) if each.isspace()]
    assert [row["t_ns"] for row in outputs] == [place * 1_000_000 for place in ends]


def test_a_pipe(folder: Path) -> None:
    (folder / "errors.toml").write_text(CONFIG.format(path=""), "utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edgeseq", "run", str(folder / "errors.toml")],
        input=TEXT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert [row["values"]["rul"] for row in rows if row["type"] == "output"] == pytest.approx(expected())
