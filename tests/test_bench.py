"""`edgeseq bench`: its JSON contract, its percentiles, its errors."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from edgeseq import bench
from edgeseq.cli import main

FIELDS = {
    *("bundle", "variant", "backend", "threads", "steps", "rate_hz", "cpu", "api", "interval"),
    *("p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us", "mean_us", "std_us"),
    *("run_us_per_step", "first_step_us", "load_ms", "rss_mb"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bench") / "leaky.bundle")


def test_the_json_contract(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--steps", "2000", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"device", "results"}
    (row,) = document["results"]
    assert set(row) >= FIELDS
    assert (row["bundle"], row["variant"], row["backend"]) == (str(bundle), "float32", "ort")
    assert (row["threads"], row["steps"], row["rate_hz"], row["interval"]) == (1, 2000, None, None)
    # 2,000 steps are what the 95th percentile asks for, and too few for the 99th.
    assert row["p99_us"] is None
    assert row["p999_us"] is None
    assert 0 < row["p50_us"] <= row["p90_us"] <= row["p95_us"] <= row["max_us"]
    assert row["rss_mb"] > 10
    assert row["load_ms"] > 0


def test_a_paced_step_says_how_evenly_it_came(bundle: Path) -> None:
    row = bench.measure(bench.Case(bundle=str(bundle), backend="ort", variant="float32", steps=250, rate_hz=1000.0))
    assert row["rate_hz"] == 1000.0
    assert row["interval"]["p50_us"] == pytest.approx(1000, rel=0.5)
    assert row["interval"]["p99_us"] is None


@pytest.mark.parametrize("permille", sorted(bench.PERMILLES.values()))
def test_a_percentile_needs_a_hundred_samples_beyond_it(permille: int) -> None:
    needed = math.ceil(100 * 1000 / (1000 - permille))
    durations = np.arange(1, needed + 1, dtype=np.int64) * 1000
    assert bench.percentile_us(durations[:-1], permille) is None
    assert bench.percentile_us(durations, permille) == math.ceil(needed * permille / 1000)


def test_the_table_is_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--steps", "250"]) == 0
    out = capsys.readouterr().out
    assert "leaky-average" in out
    assert "more --steps give it" in out


def test_an_unknown_variant_is_answered_with_the_nearest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--variant", "float23"]) == 2
    assert "Did you mean 'float32'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [("--steps", "0"), ("--steps", "99999999999999"), ("--rate", "nan"), ("--rate", "inf"), ("--rate", "0")]
)
def test_what_cannot_be_measured_is_a_usage_error(
    bundle: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(bundle), *wrong]) == 2
    assert f"{wrong[0]} " in capsys.readouterr().err


def test_a_damaged_bundle_is_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    (path / "step.float32.onnx").write_bytes(b"no model")
    assert main(["bench", str(path)]) == 1
    assert "SHA-256 differs" in capsys.readouterr().err
