"""The bar of `edgeseq features`: how far it is within a file, whichever way its length is known."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rich.console
from feature_files import CHAIN, samples, write

from edgeseq.commands import _bar, features
from edgeseq.recordings import files, length


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "chain.toml"
    path.write_text(CHAIN, "utf-8")
    return path


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".wav", ".flac"])
def test_it_moves_within_a_file(ending: str, chain: Path, tmp_path: Path) -> None:
    data = write(tmp_path / f"x{ending}", samples(60_000))
    told: list[float] = []
    assert features.make(chain, files.Job(data, tmp_path / "y.npz"), lambda: False, told.append)
    assert len(told) > 10
    assert told == sorted(told)
    assert told[-1] == 1
    np.testing.assert_allclose(np.diff([0.0, *told[:-1]]), 1 / len(told), atol=0.1)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".wav", ".flac", ".ogg"])
def test_a_length_before_the_file_is_read(ending: str, tmp_path: Path) -> None:
    values = samples(31_400)[1400:]  # behind the silence, whose lines of CSV are short
    data = write(tmp_path / f"x{ending}", values)
    assert length.samples(data) == pytest.approx(len(values), rel=0.01 if ending == ".csv" else 0)


def test_processes_of_a_pool_tell_it_too(chain: Path, tmp_path: Path) -> None:
    jobs = [files.Job(write(tmp_path / f"{k}.csv", samples(3000)), tmp_path / f"{k}.npz") for k in range(3)]
    pool = features._Pool(chain, len(jobs), 2)
    seen = [(each.input, [*pool.parts]) for each in pool.run(jobs)]
    for given, parts in seen:
        assert parts[int(Path(given).stem)] == 1
    assert [*pool.parts] == [1, 1, 1]


def test_it_is_drawn_from_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    terminal = rich.console.Console
    monkeypatch.setattr(
        rich.console, "Console", lambda **_: terminal(file=output, force_terminal=True, width=80, color_system=None)
    )
    parts = [0.5, 0.0]
    with _bar.over([300, 200], parts, shown=True) as advance:
        advance()
        parts[:] = 1.0, 1.0
        advance()
    assert "0 of 2 files" in output.getvalue()
    assert "30%" in output.getvalue()
    assert "2 of 2 files" in output.getvalue()
    assert "100%" in output.getvalue()


def test_none_is_drawn_elsewhere(capsys: Any) -> None:
    with _bar.over([1], [0.0], shown=False) as advance:
        advance()
    with _bar.over([1], [0.0], shown=True) as advance:
        advance()
    assert capsys.readouterr() == ("", "")
