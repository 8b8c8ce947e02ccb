"""The documentation says what is there: its TOML parses, its code runs, every key and every plug-in is in it."""

import argparse
import inspect
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeseq import plugins
from edgeseq.cli import COMMANDS
from edgeseq.commands import bench
from edgeseq.types import Channel, Feature, StreamSpec

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OPERATOR = (ROOT / "docs" / "operator.md").read_text("utf-8")


def fenced(page: Path, language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("kind", ["sources", "stages", "deciders", "sinks"])
def test_the_operator_finds_every_key(kind: str) -> None:
    for name in plugins.known(kind):
        assert f"`{name}`" in OPERATOR, f"docs/operator.md does not name the {kind[:-1]} {name}"
        for key in inspect.signature(plugins.find(kind, name)).parameters:
            assert f"`{key}`" in OPERATOR, f"docs/operator.md does not explain the key {key} of {name}"


def test_the_benchmarking_page_has_every_option() -> None:
    parser = argparse.ArgumentParser()
    bench.arguments(parser)
    page = (ROOT / "docs" / "benchmarking.md").read_text("utf-8")
    for option in (option for action in parser._actions for option in action.option_strings if option[1] == "-"):
        assert option == "--help" or re.search(rf"`{option}\b", page), f"docs/benchmarking.md does not explain {option}"


def test_the_readme_lists_what_there_is() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    for kind in ("sources", "features", "stages", "deciders", "sinks"):
        row = next(line for line in readme.splitlines() if line.startswith(f"| {kind} |"))
        assert set(re.findall(r"`(\w+)`", row)) == set(plugins.known(kind))
    row = next(line for line in readme.splitlines() if line.startswith("| commands |"))
    assert set(re.findall(r"`(\w+)`", row)) == set(COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_are_well_formed(page: Path) -> None:
    for block in fenced(page, "toml"):
        tomllib.loads(block)
    for block in fenced(page, "json"):
        json.loads(block)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_documented_plug_in_works() -> None:
    (code,) = fenced(ROOT / "docs" / "extending.md", "python")
    namespace: dict[str, object] = {"__name__": "documented"}
    exec(compile(code, "docs/extending.md", "exec"), namespace)  # noqa: S102 - the very code that readers copy
    rms = namespace["Rms"](size=2)  # type: ignore[operator]
    assert isinstance(rms, Feature)
    assert rms.open(StreamSpec((Channel("a"),), 10.0)).rate_hz == 5.0
    values = np.array([[3.0], [4.0], [0.0], [2.0], [9.0]], np.float32)
    times = np.arange(5, dtype=np.int64)
    pieces = [rms.push(times[i : i + 1], values[i : i + 1]) for i in range(5)]
    assert np.concatenate([t for t, _ in pieces]).tolist() == [1, 3]
    assert np.concatenate([v for _, v in pieces]).ravel() == pytest.approx([12.5**0.5, 2**0.5])


def test_the_documented_tolerances_are_those_of_export() -> None:
    parity = pytest.importorskip("export.parity", reason="needs the extra 'export': pip install 'edgeseq[export]'")
    modeller = (ROOT / "docs" / "modeller.md").read_text("utf-8")
    for variant, bound in parity.QUANTIZED_BOUNDS.items():
        assert re.search(rf"\b{100 * bound:g} % for\s+`{variant}`", modeller)
    assert f"{parity.STEPS:,}" in modeller
