"""What the benchmarks' numbers rest on. No test here depends on how long anything takes."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks import command, gru_op, measure, models, modules, ours, report, settings, tails
from benchmarks.measure import Contender, DisagreementError
from benchmarks.peers import litert, ort, pytorch, stepfile, tract
from benchmarks.ratios import Ratio, ratio

ROOT = Path(__file__).parents[1]
ROWS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)


def test_a_ratio_of_medians_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    ours = rng.lognormal(0, 0.05, 40)
    found = ratio(list(3 * rng.lognormal(0, 0.05, 40)), list(ours))
    assert found.low < found.value < found.high
    assert found.value == pytest.approx(3, rel=0.05)
    assert found.high - found.low < 0.3


def test_what_slows_a_round_slows_both_and_leaves_the_ratio() -> None:
    slow = np.random.default_rng(2).uniform(1, 5, 60)
    found = ratio(list(2 * slow), list(slow))
    assert (found.low, found.value, found.high) == pytest.approx((2, 2, 2))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(100):
        theirs, ours = np.random.default_rng(seed).lognormal(0, 0.2, (2, 40))
        found = ratio(list(2 * theirs), list(ours), seed)
        hits += found.low <= 2 <= found.high
    assert 88 <= hits <= 100


@pytest.mark.parametrize(("interval", "met"), [((2.1, 2.3), True), ((1.7, 1.9), False), ((1.9, 2.1), None)])
def test_a_target_is_met_only_beyond_the_interval(interval: tuple[float, float], met: bool | None) -> None:  # noqa: FBT001
    assert Ratio(2.0, *interval).meets(2.0) is met


class Clock:
    """A clock that only calls move on, and who called."""

    def __init__(self) -> None:
        self.now, self.called = 0, list[str]()

    def contender(self, name: str, *, takes: int, steps: int = 1) -> Contender:
        def call(given: int) -> NDArray[Any]:
            self.now += takes
            self.called.append(name)
            return np.array([given])

        return Contender(name, call, [(1,), (2,)], lambda: None, steps)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(measure.time, "perf_counter_ns", lambda: made.now)
    monkeypatch.setattr(measure.time, "thread_time_ns", lambda: made.now // 2)
    return made


def test_every_round_has_a_block_of_each_in_an_order_of_its_own(clock: Clock) -> None:
    names = {"a": 400_000, "b": 500_000, "c": 3_000_000}
    contenders = [clock.contender(name, takes=takes) for name, takes in names.items()]
    found = measure.interleave(contenders, 30)
    assert {name: set(each.blocks_ns) for name, each in found.items()} == {name: {ns} for name, ns in names.items()}
    assert all(len(each.blocks_ns) == 30 for each in found.values())
    bursts = {"a": 2, "b": 2, "c": 1}  # calls that fill one
    size = measure.BURSTS * sum(bursts.values())
    counted = clock.called[-30 * size :]
    orders = set()
    for start in range(0, len(counted), size):
        blocks = [(name, len(list(calls))) for name, calls in itertools.groupby(counted[start : start + size])]
        assert dict(blocks) == {name: count * measure.BURSTS for name, count in bursts.items()}
        orders.add(tuple(name for name, _ in blocks))
    assert len(orders) > 1


def test_the_order_is_the_seeds(clock: Clock) -> None:
    contenders = [clock.contender(name, takes=1_000_000) for name in "abc"]
    orders = []
    for seed in (0, 0, 1):
        clock.called.clear()
        measure.interleave(contenders, 30, seed)
        orders.append(list(clock.called))
    assert orders[0] == orders[1] != orders[2]


def test_times_are_of_one_step(clock: Clock) -> None:
    contender = clock.contender("run", takes=5_000_000, steps=1000)
    found = measure.interleave([contender], 30)["run"]
    assert found.median_ns == 5000
    assert found.taken == 0.5  # the thread's own clock went half as fast
    assert measure.interleave([contender], 30, cpu_time=True)["run"].median_ns == 2500


def test_the_fastest_setting_is_taken(clock: Clock) -> None:
    candidates = [clock.contender("same", takes=takes) for takes in (30_000, 10_000, 20_000)]
    assert measure.fastest(candidates) is candidates[1]
    assert measure.fastest(candidates[2:]) is candidates[2]


def test_who_computes_something_else_is_not_measured() -> None:
    def contender(name: str, call: Callable[[float], Any]) -> Contender:
        return Contender(name, call, [(1.0,), (2.0,)], lambda: None)

    right, close, wrong, short = (
        contender("right", lambda x: np.array([x, x])),
        contender("close", lambda x: np.array([x, x + 1e-5])),
        contender("wrong", lambda x: np.array([x, x + 1e-3])),
        contender("short", lambda x: np.array([x])),
    )
    measure.agree([right, close])
    measure.agree([right, wrong], 1e-3, measure.rms)
    with pytest.raises(DisagreementError, match=r"'wrong' and 'right' are 0\.001 apart"):
        measure.agree([right, wrong])
    with pytest.raises(DisagreementError, match="inf apart"):
        measure.agree([right, short])
    with pytest.raises(DisagreementError):
        measure.agree([right, contender("nan", lambda x: np.array([x, np.nan]))])


@pytest.mark.parametrize(("other", "best"), [(2000, "as set"), (990, "as set"), (500, "other")])
def test_other_settings_are_best_where_they_are_faster_by_a_margin(clock: Clock, other: int, best: str) -> None:
    takes = {settings.OURS: 1000, "other": other, "slow": 4000}
    made = settings.Trial("toys")
    for model in ("one", "another"):
        made.found[model] = measure.interleave([clock.contender(name, takes=ns) for name, ns in takes.items()], 30)
    assert made.over_all == pytest.approx({"as set": 1, "other": other / 1000, "slow": 4})
    assert made.best == best
    assert f"Best by the mean: {best}." in made.lines()


@pytest.mark.long
def test_no_setting_changes_what_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite': pip install 'edgeseq[tflite]'")
    monkeypatch.setitem(models.NETWORKS, "small", (5, lambda: modules.Bare(torch.nn.GRU, 5, 6)))
    bundle = models.bundle("small", tmp_path)
    steps = {
        **settings.sessions(bundle, "float32"),
        **{
            f"{name}, LiteRT": step
            for name, step in settings.interpreters(bundle, "float32", settings.kernels()).items()
        },
    }
    frames = [(row,) for row in ROWS]
    measure.agree([Contender(name, step.step, frames, step.reset) for name, step in steps.items()])


@pytest.fixture
def gru() -> Any:
    torch.manual_seed(0)
    return torch.nn.GRU(5, 7, batch_first=True).eval()


def expected(gru: Any) -> NDArray[np.float32]:
    with torch.inference_mode():
        result: NDArray[np.float32] = gru(torch.from_numpy(ROWS)[None])[0][0].numpy()
    return result


def frames() -> list[NDArray[np.float32]]:
    return [row[None, None].copy() for row in ROWS]


@pytest.mark.long
def test_the_onnx_gru_is_pytorchs(gru: Any, tmp_path: Path) -> None:
    contenders = [
        *ort.stepping(gru_op.write(gru, tmp_path / "step.onnx"), frames()),
        *ort.stepping(gru_op.write(gru, tmp_path / "both.onnx", every=True), frames()),
        ort.whole(gru_op.write(gru, tmp_path / "whole.onnx", length=len(ROWS), every=True), ROWS[:, None]),
    ]
    for contender in contenders:
        for _ in range(2):  # a reset forgets the first time
            outputs = contender.outputs().reshape(expected(gru).shape)
            np.testing.assert_allclose(outputs, expected(gru), atol=1e-6, err_msg=contender.name)


def test_the_onnx_gru_steps_a_batch(gru: Any, tmp_path: Path) -> None:
    peer = ort.BareRun(gru_op.write(gru, tmp_path / "batch.onnx", batch=3), arena=False)
    streams = np.random.default_rng(3).normal(size=(9, 3, 5)).astype(np.float32)
    outputs = np.stack([peer.step(x[None])[0] for x in streams])
    with torch.inference_mode():
        wanted = gru(torch.from_numpy(streams.transpose(1, 0, 2).copy()))[0].numpy()
    np.testing.assert_allclose(outputs.transpose(1, 0, 2), wanted, atol=1e-6)


def test_pytorchs_cell_is_its_layer(gru: Any) -> None:
    with torch.inference_mode():
        for peer, given in ((pytorch.Layer(gru), frames()), (pytorch.Cell(gru), [x[0] for x in frames()])):
            for _ in range(2):
                peer.reset()
                outputs = np.stack([peer.step(x).ravel() for x in given])
                np.testing.assert_allclose(outputs, expected(gru), atol=1e-6)


def test_tract_steps_the_same(gru: Any, tmp_path: Path) -> None:
    library = pytest.importorskip("tract", reason="needs the extra 'benchmarks': pip install 'edgeseq[benchmarks]'")
    for peer in (tract.Fed(library, gru, tmp_path), tract.Pulsed(library, gru, tmp_path)):
        for _ in range(2):
            peer.reset()
            outputs = np.stack([peer.step(x).ravel() for x in frames()])
            np.testing.assert_allclose(outputs, expected(gru), atol=1e-6)


@pytest.mark.long
def test_peers_step_a_bundles_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ai_edge_litert", reason="needs the extra 'tflite': pip install 'edgeseq[tflite]'")
    monkeypatch.setitem(models.NETWORKS, "small", (5, lambda: modules.Bare(torch.nn.LSTM, 5, 6)))
    bundle = models.bundle("small", tmp_path)
    assert models.bundle("small", tmp_path).digest == bundle.digest  # kept, not exported anew
    ways = ours.contenders(bundle, "ort", ROWS)
    measure.agree(
        [
            *ways.values(),
            *ort.stepping(stepfile.held(bundle, "float32", "onnx"), frames()),
            litert.stepping(stepfile.held(bundle, "float32", "tflite"), frames()),
        ]
    )
    quantized = litert.stepping(stepfile.held(bundle, "int8", "tflite"), frames())
    measure.agree([ways[ours.STEP], quantized], 0.1)


def test_a_report_in_words_and_as_json(clock: Clock, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    made = report.Report("toys", 30, 0, cpu_time=False)
    made.measured["GRU"] = measure.interleave([clock.contender("a", takes=1000), clock.contender("b", takes=4000)], 30)
    made.compare("GRU", "a", ("b", "c"), 3.0)
    made.compare("GRU", "b", ("a",), 3.0)
    made.note("c: not installed.")
    made.show(tmp_path / "report.json")
    printed = capsys.readouterr().out
    assert "4.00" in printed
    assert "c: not installed." in printed
    assert "quiet machine" in printed
    assert [row.met for row in made.rows] == ["yes", "no"]
    assert made.json()["rows"][0]["ratio"] == {"value": 4.0, "low": 4.0, "high": 4.0}
    assert (tmp_path / "report.json").read_text().startswith("{")


LEAKING = """
import json
from benchmarks import memory
kept = []
leaking = memory.growth(lambda size: kept.append(bytes(size)), (100,), 1000)
print(json.dumps([leaking, memory.growth(lambda _: None, (1,), 1000)]))
"""


def test_a_leak_is_seen() -> None:
    # In a process of its own: this one lets go of blocks of other tests meanwhile.
    done = subprocess.run([sys.executable, "-c", LEAKING], capture_output=True, text=True, check=True, cwd=ROOT)
    leaking, tight = json.loads(done.stdout)
    assert leaking["traced bytes"] > 100_000
    assert leaking["Python's blocks"] >= 1000
    assert tight["traced bytes"] < 10_000
    assert tight["Python's blocks"] < 100


def test_tails_are_held_against_the_spin_loops() -> None:
    usual = np.full((30, 1000), 100, np.int64)
    step, spin = usual.copy(), usual.copy()
    step[:, :5], spin[:, :5] = 400, 200
    found = tails.Tails(step, spin)
    assert found.ratio == Ratio(3.0, 3.0, 3.0)
    assert found.json()["step_ns"] == (100.0, 400.0)


def test_an_error_is_a_sentence(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: command.Options) -> None:
        raise DisagreementError("they differ.")

    monkeypatch.setattr(command, "one_core", lambda _: None)
    monkeypatch.setattr("sys.argv", ["benchmark", "--seed", "1"])
    assert command.main("What it does.", fail) == 1
    assert capsys.readouterr().err == "they differ.\n"
    monkeypatch.setattr("sys.argv", ["benchmark", "--blocks", "3"])
    with pytest.raises(SystemExit):
        command.main("What it does.", fail)
    assert "at least 30" in capsys.readouterr().err
