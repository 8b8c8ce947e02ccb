"""A table whose times tell another rate than rate_hz is refused before a sample of it is computed with."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_bundle

from edgeseq.cli import main
from edgeseq.errors import SourceError
from edgeseq.sources.csv import Csv
from edgeseq.sources.parquet import Parquet

KEYS: dict[str, Any] = {"channels": ["a"], "rate_hz": 10.0, "time_column": "t"}


@pytest.fixture(params=["csv", "parquet"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Give a function (times, **parameters) -> source, once for each format; keys: which machine a row is of."""

    def make(times: list[float], keys: list[int] | None = None, **more: Any) -> Any:
        columns = {"t": times, "a": [1.0] * len(times), "unit": keys or [1] * len(times)}
        path = tmp_path / f"x.{request.param}"
        if request.param == "csv":
            rows = [",".join(map(str, row)) for row in zip(*columns.values(), strict=True)]
            path.write_text("\n".join(["t,a,unit", *rows]) + "\n", "utf-8")
            return Csv(path=path, **{**KEYS, **more})
        pq.write_table(pa.table(columns), path, row_group_size=7)
        return Parquet(path=path, **{**KEYS, **more})

    return make


def even(rate_hz: float, count: int = 200, start: float = 0.0) -> list[float]:
    return (start + np.arange(count) / rate_hz).tolist()


@pytest.mark.parametrize("rate_hz", [1.0, 5.0, 9.4, 10.6, 20.0, 1000.0])
def test_another_rate_is_refused_at_once(rate_hz: float, source: Any) -> None:
    for act in (Csv.check, list):
        with pytest.raises(SourceError, match=rf"by its column 't' samples come at {rate_hz:g} Hz, rate_hz says 10 Hz"):
            act(source(even(rate_hz)))


@pytest.mark.parametrize("rate_hz", [9.7, 10.0, 10.3])
def test_a_clock_that_is_a_little_off_is_none(rate_hz: float, source: Any) -> None:
    assert source(even(rate_hz)).check()
    assert sum(len(chunk.t_ns) for chunk in source(even(rate_hz))) == 200


def test_jitter_holes_and_few_rows_tell_no_rate(source: Any) -> None:
    jitter = np.random.default_rng(0).uniform(-0.04, 0.04, 200)
    records = [start + i / 10 for start in range(0, 1000, 100) for i in range(20)]
    coarse = np.floor(np.arange(200) * 2.5).tolist()
    assert source(coarse, rate_hz=400.0, time_format="ms").check(), (
        "whole milliseconds, two or three from one to the next"
    )
    for times in ((np.arange(200) / 10 + jitter + 1).tolist(), records, even(1.0, 9)):
        assert sum(len(chunk.t_ns) for chunk in source(times)) == len(times)


def test_machines_are_judged_each_by_its_own_times(source: Any) -> None:
    times = sorted([*even(10.0, 60), *even(10.0, 60, 0.001)])
    keys = [1, 2] * 60
    more = {"stream_column": "unit"}
    assert sum(len(chunk.t_ns) for chunk in source(times, keys, **more)) == 120
    mixed = [*even(10.0, 60), *even(20.0, 60)]
    keys = [1] * 60 + [2] * 60
    with pytest.raises(SourceError, match="come at 20 Hz"):
        source(mixed, keys, **more).check()
    assert source(mixed, keys, **more, streams=[1]).check()


@pytest.mark.parametrize("command", ["check", "run", "replay"])
def test_no_command_computes_with_it(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_bundle.write(tmp_path / "b")
    (tmp_path / "x.csv").write_text("t,life\n" + "".join(f"{i / 2},1\n" for i in range(40)), "utf-8")
    config = tmp_path / "p.toml"
    config.write_text(
        'name = "p"\n[source]\ntype = "csv"\npath = "x.csv"\ntime_column = "t"\n[model]\nbundle = "b"\n', "utf-8"
    )
    output = ["--output", str(tmp_path / "y.jsonl")] if command == "replay" else []
    assert main([command, str(config), *output]) == 1
    captured = capsys.readouterr()
    assert "by its column 't' samples come at 2 Hz, rate_hz says 1 Hz" in captured.err + captured.out
    assert not (tmp_path / "y.jsonl").exists()
