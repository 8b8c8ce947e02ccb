"""What gaps do: the duty cycle's pause, a short one, a long one; no window spans any."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from plain_pipeline import Seen, chunk, run, samples
from plain_step import PlainStep

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.features.window_statistics import WindowStatistics
from edgeseq.gaps import Gap, Gaps, Records
from edgeseq.types import Channel, Chunk, Feature, StreamSpec

S = 10**9
HIGH = np.full((4, 2), 100, np.float32)


def record(at_s: float, values: Any = HIGH, **more: Any) -> Chunk:
    """One sample a second from at_s on, behind a gap."""
    made = chunk(values, gap=True, **more)
    return dataclasses.replace(made, t_ns=np.arange(len(values), dtype=np.int64) * S + round(at_s * S))


def judged(gaps: Gaps, *spans: tuple[float, float]) -> list[Gap]:
    """Judge the gap before each span of samples but the first."""
    records, said = Records(gaps), []
    for start, stop in spans:
        said.append(records.judge(round(start * S)))
        records.passed(np.array([start * S, stop * S], np.int64))
    return said[1:]


def test_the_pause_of_a_duty_cycle_is_told_from_a_loss() -> None:
    gaps = Gaps(duty_cycle_s=600)
    assert judged(gaps, (0, 10), (600, 610), (1205, 1215), (1790, 1800)) == [Gap.PAUSE] * 3
    assert judged(gaps, (0, 10), (600, 604), (605, 610), (1200, 1210)) == [Gap.PAUSE, Gap.LONG, Gap.PAUSE]
    assert judged(gaps, (0, 10), (1200, 1210), (1800, 1810)) == [Gap.LONG, Gap.PAUSE]
    assert judged(gaps, (0, 10), (299, 300)) == [Gap.LONG]


def test_behind_a_start_whose_clock_lies_before_all_counts_anew() -> None:
    assert judged(Gaps(limit_s=60), (1000, 1010), (0, 10), (70, 80)) == [Gap.LONG, Gap.SHORT]
    assert judged(Gaps(), (1000, 1010), (0, 10)) == [Gap.LONG]
    assert judged(Gaps(duty_cycle_s=600), (9000, 9010), (0, 10), (600, 610)) == [Gap.LONG, Gap.PAUSE]


def test_a_gap_is_short_up_to_the_limit() -> None:
    gaps = Gaps(limit_s=5)
    assert judged(gaps, (0, 10), (15, 20), (25.1, 30)) == [Gap.SHORT, Gap.LONG]
    assert judged(Gaps(), (0, 10), (10.1, 20)) == [Gap.LONG]
    assert judged(Gaps(duty_cycle_s=600, limit_s=5), (0, 10), (14, 20), (700, 710)) == [Gap.SHORT, Gap.PAUSE]


def outcome(gaps: Gaps, records: list[Chunk], **more: Any) -> Seen:
    model = PlainStep(2, warm_up=3)
    decide = {"decider": lambda: Hysteresis(direction="above", warning=1.0, min_steps=6)}
    return run(records, model, gaps=gaps, **{**decide, **more})[0]


def test_one_record_a_cycle_adds_up_to_an_alert() -> None:
    records = [record(at * 600) for at in range(4)]
    one_by_one = [record(at * 600, HIGH[:1]) for at in range(40)]
    for gap_states in (None, ("h",), ()):
        assert len(outcome(Gaps(duty_cycle_s=600), records, gap_states=gap_states).events) == 1
        assert len(outcome(Gaps(duty_cycle_s=600), one_by_one, gap_states=gap_states).events) == 1
        assert len(outcome(Gaps(), records, gap_states=gap_states).events) == 0
        assert len(outcome(Gaps(), one_by_one, gap_states=gap_states).events) == 0


def test_the_state_is_carried_over_the_pause_bit_for_bit() -> None:
    values = samples(40)
    records = [record(at * 600, values[at * 4 : at * 4 + 4]) for at in range(10)]
    seen = outcome(Gaps(duty_cycle_s=600), records, gap_states=None)
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(values))
    assert [output.warming for output, _ in seen.outputs] == [True] * 3 + [False] * 37


@pytest.mark.parametrize("gap_states", [None, ("h",), ()])
def test_a_longer_gap_resets_as_the_bundle_says_and_settles_without_an_alert(gap_states: Any) -> None:
    values = np.full((10, 2), 100, np.float32)
    before, short, long = record(0, values), record(12, values), record(32, values)
    seen = outcome(Gaps(limit_s=5), [before, short, long], gap_states=gap_states)
    whole = PlainStep(2)
    expected = [whole.run(values), whole.run(values), whole.run(values)]
    if gap_states != ():
        expected[2] = PlainStep(2).run(values)
    np.testing.assert_array_equal(seen.values(), np.concatenate(expected))
    warming = [output.warming for output, _ in seen.outputs]
    assert warming == [True] * 3 + [False] * 17 + [gap_states != ()] * 3 + [False] * 7
    # Six in a row: behind warm-up and gap the count begins anew, and what stands is not raised again.
    assert [(each.kind, each.t_ns // S) for each in seen.events] == [("raised", 8)]


def test_a_loss_within_the_limit_still_breaks_the_decider_s_row() -> None:
    parts = [record(0, HIGH), record(6, HIGH)]
    assert outcome(Gaps(limit_s=5), parts, gap_states=()).events == []
    parts = [record(0, HIGH), dataclasses.replace(record(4, np.concatenate([HIGH, HIGH])), gap=False)]
    assert len(outcome(Gaps(limit_s=5), parts, gap_states=()).events) == 1


def test_frames_that_are_not_finite_are_a_gap_as_long_as_they_last() -> None:
    values = samples(20)
    values[4], values[10:17] = np.nan, np.nan
    one = dataclasses.replace(record(0, values), gap=False)
    seen = outcome(Gaps(limit_s=5), [one], gap_states=None)
    whole = PlainStep(2)
    expected = [whole.run(values[:4]), whole.run(values[5:10]), PlainStep(2).run(values[17:])]
    np.testing.assert_array_equal(seen.values(), np.concatenate(expected))


def test_a_gap_mark_on_an_empty_chunk_is_that_of_the_next_samples() -> None:
    values = samples(8)
    empty = Chunk(np.empty(0, np.int64), np.empty((0, 2), np.float32), gap=True)
    parts = [record(0, values[:4]), empty, dataclasses.replace(record(20, values[4:]), gap=False)]
    seen = outcome(Gaps(limit_s=5), parts, gap_states=None)
    expected = [PlainStep(2).run(values[:4]), PlainStep(2).run(values[4:])]
    np.testing.assert_array_equal(seen.values(), np.concatenate(expected))


@pytest.mark.parametrize("gaps", [Gaps(), Gaps(limit_s=1e9), Gaps(duty_cycle_s=10)])
def test_no_feature_window_spans_a_gap_of_any_kind(gaps: Gaps) -> None:
    def features() -> list[Feature]:
        feature = WindowStatistics(window=3.0, statistics=["mean"], channels=["a"])
        feature.open(StreamSpec((Channel("a"), Channel("b")), 1.0))
        return [feature]

    level = [np.full((4, 2), at, np.float32) for at in range(5)]
    seen, _ = run([record(at * 10, level[at]) for at in range(5)], PlainStep(1), features=features, gaps=gaps)
    assert seen.times() == [(at * 10 + 2) * S for at in range(5)]
    means = np.arange(5, dtype=np.float32)[:, None]
    carried = PlainStep(1).run(means)
    np.testing.assert_array_equal(seen.values(), carried)
