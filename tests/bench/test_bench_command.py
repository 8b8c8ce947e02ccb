"""`edgeseq bench`: its JSON contract, what it prints, its errors."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_bundle

from edgeseq import bench
from edgeseq.backends import NATIVE
from edgeseq.bench import report, scheduling
from edgeseq.cli import main
from edgeseq.errors import ModelError

TURBOFAN = Path(__file__).parents[2] / "zoo" / "turbofan" / "bundle"
FIELDS = {
    *("bundle", "name", "variant", "backend", "threads", "steps", "duration_s", "rate_hz", "cpu", "api", "interval"),
    *("p50_us", "p90_us", "p95_us", "p99_us", "p999_us", "max_us", "mean_us", "std_us"),
    *("run_us_per_step", "first_step_us", "warm_up_us", "load_ms", "rss_mb", "deadline_misses"),
    *("cpu_affinity", "fifo_priority", "weight_bytes", "state_bytes", "bytes_per_step", "macs_per_step"),
    *("timer_overhead_ns", "ceiling", "board_before", "board_after", "histogram"),
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle.write(tmp_path_factory.mktemp("bench") / "leaky.bundle")


@pytest.fixture(scope="module")
def row(bundle: Path) -> dict[str, Any]:
    """Measure once, for tests of what is printed."""
    return bench.measure(bench.Case(bundle=str(bundle), backend="ort", variant="float32", steps=250)).result


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["bench", *arguments, "--json"]) == 0
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


def test_the_json_contract(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    document = printed(capsys, str(bundle), "--steps", "2000")
    assert set(document) == {"device", "results"}
    (row,) = document["results"]
    assert set(row) == FIELDS
    assert (row["bundle"], row["variant"], row["backend"]) == (str(bundle), "float32", "ort")
    assert (row["threads"], row["steps"], row["duration_s"], row["rate_hz"], row["interval"]) == (
        1,
        2000,
        None,
        None,
        None,
    )
    # 2,000 steps are what the 95th percentile asks for, and too few for the 99th.
    assert row["p99_us"] is None
    assert row["p999_us"] is None
    assert 0 < row["p50_us"] <= row["p90_us"] <= row["p95_us"] <= row["max_us"]
    assert row["rss_mb"] > 10
    assert row["load_ms"] > 0
    assert 0 < row["timer_overhead_ns"] <= 1000 * row["p50_us"]
    assert sum(row["histogram"]["count"]) == 2000
    # This bundle does not say how large its weights are; a state of one number and two products it does tell.
    assert (row["weight_bytes"], row["bytes_per_step"], row["state_bytes"], row["macs_per_step"]) == (None, None, 4, 2)
    assert row["ceiling"]["bound_by"] == "fma"
    assert row["ceiling"]["bound_us"] == pytest.approx(2 / row["ceiling"]["gmac_s"] / 1000)
    assert row["ceiling"]["distance"] == pytest.approx(row["p50_us"] / row["ceiling"]["bound_us"])
    assert (row["deadline_misses"], row["cpu_affinity"], row["fifo_priority"]) == (None, None, None)
    assert set(row["board_before"]) == set(row["board_after"]) == {"clock_mhz", "temperature_c", "throttled"}


def test_full_speed_and_every_rate_for_a_time(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rates = ("--rate", "1000", "--rate", "500", "--rate", "1000")
    rows = printed(capsys, str(bundle), *rates, "--duration", "0.3")["results"]
    assert [row["rate_hz"] for row in rows] == [None, 1000.0, 500.0]
    assert all(row["duration_s"] == 0.3 for row in rows)
    full, *paced = rows
    assert full["deadline_misses"] is full["interval"] is None
    for row in paced:
        # The step that is under way when the time is over is counted; one that comes late may not be reached.
        assert 1 <= row["steps"] <= 0.3 * row["rate_hz"] + 1
        assert 0 <= row["deadline_misses"] <= row["steps"]
    assert paced[0]["interval"]["p50_us"] == pytest.approx(1000, rel=0.5)
    assert full["steps"] > paced[0]["steps"]


def test_a_model_that_has_to_be_reset_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b", max_steps=60)
    rows = printed(capsys, str(path), "--steps", "250", "--rate", "10000")["results"]
    assert [row["steps"] for row in rows] == [250, 250]
    assert all(row["run_us_per_step"] > 0 for row in rows)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system keeps no process on a core")
def test_a_case_stays_on_its_core(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    core = max(os.sched_getaffinity(0))
    (row,) = printed(capsys, str(bundle), "--steps", "200", "--cpu", str(core))["results"]
    assert row["cpu_affinity"] == [core]


@pytest.mark.skipif(not hasattr(os, "SCHED_FIFO"), reason="this system has no SCHED_FIFO")
def test_real_time_priority_or_why_not(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if main(["bench", str(bundle), "--steps", "200", "--fifo", "1", "--json"]):
        assert "--fifo 1: real-time priorities of this user end at" in capsys.readouterr().err
    else:
        (row,) = json.loads(capsys.readouterr().out)["results"]
        assert row["fifo_priority"] == 1


def test_threads_are_for_backends_that_have_them(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    options = ("--backend", "ort", "--variant", "float32", "--steps", "200", "--threads", "2")
    (row,) = printed(capsys, str(TURBOFAN), *options)["results"]
    assert (row["threads"], row["ceiling"]) == (2, None)
    assert main(["bench", str(TURBOFAN), "--threads", "3"]) == 2
    assert "--threads must lie between 1 and 2" in capsys.readouterr().err


def test_native_steps_on_one_thread(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr("edgeseq.backends.choices", lambda _: [(NATIVE, "float32"), ("ort", "float32")])
    assert main(["bench", str(TURBOFAN), "--threads", "2", "--backend", NATIVE]) == 2
    assert "'native' steps on one thread" in capsys.readouterr().err
    assert main(["bench", str(TURBOFAN), "--threads", "2", "--steps", "200"]) == 0
    said = capsys.readouterr()
    assert "native was left out: --threads 2" in said.err
    assert "2 threads" in said.out


def test_what_is_printed(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--steps", "250", "--rate", "2000"]) == 0
    out = capsys.readouterr().out
    assert "leaky-average" in out
    assert "µs a step, 250 steps back to back" in out
    assert "µs a step, 250 steps, one every 0.5 ms" in out
    assert re.search(r"P50 +P90 +P95 +P99 +P999 +max +mean +std +in run +missed\n", out)
    assert "a longer run gives it" in out
    assert "nothing is subtracted" in out
    # Whoever reads benchmark_model's output by this expression reads ours.
    (found,) = re.findall(
        r"Inference timings in us: Init: (\d+), First inference: (\d+), Warmup \(avg\): ([\d.e+]+), "
        r"Inference \(avg\): ([\d.e+]+)$",
        out,
        re.MULTILINE,
    )
    assert all(float(value) > 0 for value in found)


def test_a_board_that_slows_down_is_told(row: dict[str, Any]) -> None:
    device = bench.device()
    calm = {"clock_mhz": 1500.0, "temperature_c": 50.0, "throttled": False}
    steady = report.text(device, [{**row, "board_before": calm, "board_after": calm}])
    assert "\n1,500 MHz, 50 °C\n" in steady
    assert "Warning" not in steady
    hot = {"clock_mhz": 600.0, "temperature_c": 84.6, "throttled": True}
    told = report.text(device, [{**row, "board_before": calm, "board_after": hot}])
    assert "\n1,500 → 600 MHz, 50 → 85 °C\n" in told
    assert "Warning: the board throttled while float32 on ort was measured, at 85 °C" in told
    assert "Warning: the clock went from 1,500 to 600 MHz" in told
    silent = dict.fromkeys(calm)
    assert " MHz" not in report.text(device, [{**row, "board_before": silent, "board_after": silent}])


def test_what_the_kernel_keeps_from_real_time_processes_is_told(row: dict[str, Any], monkeypatch: Any) -> None:
    monkeypatch.setattr(scheduling, "share_for_others", lambda: 0.05)
    assert "keeps 5% of each core" in report.text(bench.device(), [{**row, "fifo_priority": 50}])
    assert "SCHED_FIFO" not in report.text(bench.device(), [row])


def test_histograms_are_written_for_cyclictest(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "steps.hist"
    assert main(["bench", str(bundle), "--steps", "200", "--rate", "5000", "--histogram", str(path)]) == 0
    said = capsys.readouterr().err
    assert f"histogram: {path}" in said
    assert "\n  1  leaky-average, float32 on ort at 5000 Hz\n" in said
    totals = next(line for line in path.read_text("utf-8").splitlines() if line.startswith("# Total:"))
    assert len(totals.split()) == 2 + 2


def test_native_is_compiled_before_it_is_measured(bundle: Path, monkeypatch: Any) -> None:
    asked: list[bench.Case] = []

    def ask(case: bench.Case) -> bytes:
        asked.append(case)
        return b'{"error": "none here"}'

    monkeypatch.setattr("edgeseq.bench.case._ask", ask)
    for rate_hz in (None, 10.0):
        with pytest.raises(ModelError, match="none here"):
            bench.measure(bench.Case(bundle=str(bundle), backend=NATIVE, variant="w8", steps=5, rate_hz=rate_hz))
    # Once a model, whatever the rates.
    assert [case.rehearsal for case in asked] == [True, False, False]


def test_a_process_that_breaks_down_is_one_sentence(bundle: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ModelError, match="measuring float32 on ort failed: exit status 1"):
        bench.measure(bench.Case(bundle=str(bundle), backend="ort", variant="float32", steps=5))


def test_an_unknown_variant_is_answered_with_the_nearest(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--variant", "float23"]) == 2
    assert "Did you mean 'float32'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        *(("--steps", steps) for steps in ("0", "99999999999999")),
        *(("--rate", rate) for rate in ("nan", "inf", "0")),
        *(("--duration", duration) for duration in ("nan", "inf", "0", "1e9")),
        *(("--threads", threads) for threads in ("0", "100000")),
        *(("--cpu", cpu) for cpu in ("-1", "100000")),
        *(("--fifo", priority) for priority in ("0", "100")),
        ("--histogram", "/nowhere/at/all"),
    ],
)
def test_what_cannot_be_measured_is_a_usage_error(
    bundle: Path, wrong: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(bundle), *wrong]) == 2
    assert f"{wrong[0]} " in capsys.readouterr().err


def test_steps_or_a_duration(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(bundle), "--steps", "10", "--duration", "1"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_comparison_measures_nothing(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("variant", "backend", "steps", "duration", "rate", "threads", "cpu", "fifo", "histogram")
    for option in options:
        assert main(["bench", "--compare", "any.json", f"--{option}", "5"]) == 2
        assert f"--{option} says what to measure" in capsys.readouterr().err
    assert main(["bench", str(bundle), "--compare", "any.json"]) == 2


def test_a_damaged_bundle_is_one_paragraph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tiny_bundle.write(tmp_path / "b")
    (path / "step.float32.onnx").write_bytes(b"no model")
    assert main(["bench", str(path)]) == 1
    assert "SHA-256 differs" in capsys.readouterr().err
