"""The hot loop against a plain step model: splits, gaps, delay, streams, counters, ends."""

import itertools
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_pipeline import ABOUT, Given, Seen, chunk, run, samples
from plain_step import PlainStep

from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.errors import SinkError, SourceError
from edgeseq.features.standardize import Standardize
from edgeseq.pipeline import Pipeline
from edgeseq.types import About, Channel, Chunk, Event, Frames, Output, StreamSpec, TimesNs


@pytest.mark.parametrize(
    ("delay", "frames_per_step", "warm_up"), [(0, 1, 0), (3, 1, 5), (0, 4, 2), (2, 3, 1), (90, 1, 0)]
)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_outputs_do_not_depend_on_how_chunks_are_split(
    delay: int, frames_per_step: int, warm_up: int, data: st.DataObject
) -> None:
    values = samples(70)
    holes = data.draw(st.sets(st.integers(0, 69), max_size=3))
    values[list(holes)] = np.nan
    gaps = data.draw(st.sets(st.integers(1, 69), max_size=3))
    gap_states = data.draw(st.sampled_from([None, (), ("h",)]))
    cuts = sorted({0, 70, *gaps, *data.draw(st.lists(st.integers(1, 69), max_size=10))})
    model = PlainStep(2, delay=delay, frames_per_step=frames_per_step, warm_up=warm_up)

    def outcome(cuts: list[int]) -> tuple[list[tuple[int, bool, bytes]], list[Event]]:
        pieces = [chunk(values[i:j], i, gap=i in gaps) for i, j in itertools.pairwise(cuts)]
        seen, _ = run(
            pieces,
            model,
            gap_states=gap_states,
            decider=lambda: Hysteresis(direction="above", warning=1.0, critical=2.0, min_steps=2),
        )
        return [(o.t_ns, o.warming, o.values.tobytes()) for o, _ in seen.outputs], seen.events

    assert outcome(cuts) == outcome(sorted({0, 70, *gaps}))


def test_single_samples_are_stepped_and_longer_chunks_run() -> None:
    values = samples(10)
    whole, _ = run([chunk(values)])
    single, _ = run([chunk(values[i : i + 1], i) for i in range(10)])
    expected = PlainStep(2).run(values)
    np.testing.assert_array_equal(whole.values(), expected)
    np.testing.assert_array_equal(single.values(), expected)
    assert whole.times() == list(range(10))


def test_every_stream_has_its_own_state() -> None:
    values = {name: samples(20, seed) for seed, name in enumerate("xyz")}
    chunks = [chunk(values[name][i : i + 1], i, stream=name, last=i == 19) for i in range(20) for name in "xyz"]
    seen, summary = run(chunks)
    for name in "xyz":
        np.testing.assert_array_equal(seen.values(name), PlainStep(2).run(values[name]))
    assert summary.streams == 3
    assert summary.levels == {"ok": 3}


def test_a_stream_that_comes_again_after_its_end_starts_anew() -> None:
    values = samples(5)
    seen, summary = run([chunk(values, last=True), chunk(values, last=True)])
    np.testing.assert_array_equal(seen.values()[:5], seen.values()[5:])
    assert summary.streams == 2


def test_delayed_outputs_carry_their_own_time_and_come_out_at_the_end() -> None:
    values = samples(12)
    seen, _ = run([chunk(values[:7]), chunk(values[7:], 7, last=True)], PlainStep(2, delay=4))
    assert seen.times() == list(range(12))
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(values))
    assert seen.order[-2:] == ["end ", "close"]


def test_a_stream_shorter_than_the_delay_still_gives_all_its_outputs() -> None:
    values = samples(3)
    seen, _ = run([chunk(values, last=True)], PlainStep(2, delay=7))
    assert seen.times() == [0, 1, 2]
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(values))


def test_an_output_of_several_frames_has_the_last_ones_time() -> None:
    values = samples(11)
    seen, _ = run([chunk(values)], PlainStep(2, frames_per_step=4))
    assert seen.times() == [3, 7]
    late, _ = run([chunk(values[:5]), chunk(values[5:], 5)], PlainStep(2, frames_per_step=4, delay=1))
    assert late.times() == [3, 7]
    np.testing.assert_array_equal(late.values(), seen.values())


def test_warming_outputs_are_marked_and_counted() -> None:
    seen, summary = run(
        [chunk(samples(10) + 100)],
        PlainStep(2, warm_up=4),
        decider=lambda: Hysteresis(direction="above", warning=1.0),
    )
    assert [output.warming for output, _ in seen.outputs] == [True] * 4 + [False] * 6
    assert [level for _, level in seen.outputs] == ["ok"] * 4 + ["warning"] * 6
    assert summary.dropped == {"decider.warming": 4}


@pytest.mark.parametrize("gap_states", [None, (), ("h",)])
def test_a_gap_resets_what_its_policy_says(gap_states: Any) -> None:
    values = samples(20)
    seen, summary = run(
        [chunk(values[:8]), chunk(values[8:], 8, gap=True)], PlainStep(2, warm_up=2), gap_states=gap_states
    )
    reference = PlainStep(2)
    first = reference.run(values[:8])
    if gap_states != ():
        reference.reset()
    np.testing.assert_array_equal(seen.values(), np.concatenate([first, reference.run(values[8:])]))
    warming = [output.warming for output, _ in seen.outputs]
    assert warming == [True] * 2 + [False] * 6 + [gap_states != ()] * 2 + [False] * 10
    assert summary.gaps == 1


def test_outputs_owed_before_a_gap_that_resets_all_come_out() -> None:
    values = samples(20)
    seen, _ = run([chunk(values[:8]), chunk(values[8:], 100, gap=True)], PlainStep(2, delay=3), gap_states=None)
    assert seen.times() == [*range(8), *range(100, 112)]
    expected = np.concatenate([PlainStep(2).run(values[:8]), PlainStep(2).run(values[8:])])
    np.testing.assert_array_equal(seen.values(), expected)


def test_a_gap_starts_a_minimum_duration_anew() -> None:
    high = np.full((2, 2), 100, np.float32)
    make = {"decider": lambda: Hysteresis(direction="above", warning=1.0, min_steps=3)}
    assert len(run([chunk(high), chunk(high, 2)], **make)[0].events) == 1
    assert len(run([chunk(high), chunk(high, 2, gap=True)], **make)[0].events) == 0


def test_frames_that_are_not_finite_never_reach_the_model() -> None:
    values = samples(10)
    values[3, 0], values[7, 1] = np.nan, np.inf
    seen, summary = run([chunk(values)])
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(np.delete(values, [3, 7], axis=0)))
    assert seen.times() == [0, 1, 2, 4, 5, 6, 8, 9]
    assert summary.dropped == {"model.not_finite_frame": 2}
    assert summary.frames == 10


def test_features_are_applied_and_columns_chosen() -> None:
    def features() -> list[Standardize]:
        feature = Standardize(mean=[1.0], std=[2.0])
        feature.open(StreamSpec((Channel("b"),), 1.0))
        return [feature]

    values = samples(6)
    seen, _ = run([chunk(values)], PlainStep(1), features=features, columns=[1])
    np.testing.assert_array_equal(seen.values(), PlainStep(1).run((values[:, 1:] - np.float32(1)) / np.float32(2)))


class Difference:
    """Each sample less the one before it; the first gives nothing."""

    def __init__(self) -> None:
        self.before: Frames | None = None

    def open(self, spec: StreamSpec) -> StreamSpec:
        return spec

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        before, self.before = self.before, values[-1:].copy()
        if before is None:
            return t_ns[1:], np.diff(values, axis=0)
        return t_ns, np.diff(values, axis=0, prepend=before)

    def reset(self) -> None:
        self.before = None


def test_a_gap_resets_the_features_whatever_the_model_s_policy() -> None:
    values = samples(10)
    chunks = [chunk(values[:4]), chunk(values[4:5], 4), chunk(values[5:], 5, gap=True)]
    seen, _ = run(chunks, features=lambda: [Difference()])
    assert seen.times() == [1, 2, 3, 4, 6, 7, 8, 9]
    frames = np.concatenate([np.diff(values[:5], axis=0), np.diff(values[5:], axis=0)])
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(frames))


def test_streams_beyond_the_most_are_counted_and_named(caplog: pytest.LogCaptureFixture) -> None:
    values = samples(4)
    chunks = [chunk(values, stream=name) for name in "abc"] + [chunk(values, 4, stream=name) for name in "abc"]
    seen, summary = run(chunks, max_streams=2)
    assert summary.streams == 2
    assert summary.dropped == {"pipeline.max_streams": 8}
    assert {output.stream for output, _ in seen.outputs} == {"a", "b"}
    assert [record.getMessage()[:10] for record in caplog.records] == ["stream 'c'"]


def test_a_stream_that_ends_makes_room() -> None:
    chunks = [chunk(samples(4), stream=str(name), last=True) for name in range(50)]
    _, summary = run(chunks, max_streams=1)
    assert summary.streams == 50
    assert summary.dropped == {}


def test_events_come_before_the_output_that_caused_them() -> None:
    seen, summary = run(
        [chunk(np.full((2, 2), 5, np.float32))], decider=lambda: Hysteresis(direction="above", warning=1.0)
    )
    assert seen.order == ["open", "event", "output", "output", "end ", "close"]
    assert summary.events == {"raised": 1}
    assert summary.levels == {"warning": 1}


def test_stop_finishes_the_chunk_and_closes_without_making_up_outputs() -> None:
    seen = Seen()
    pipeline: Pipeline

    def chunks() -> Iterator[Chunk]:
        yield chunk(samples(5))
        pipeline.stop()
        yield chunk(samples(5), 5)

    source = Given(chunks())
    pipeline = Pipeline(source=source, model=PlainStep(2, delay=2), sinks=[seen], about=ABOUT)
    summary = pipeline.run()
    assert summary.stopped
    assert source.closed
    assert seen.times() == [0, 1, 2]
    assert seen.order[-1] == "close"
    assert summary.samples == 5


def test_sinks_are_closed_when_the_source_fails() -> None:
    def chunks() -> Iterator[Chunk]:
        yield chunk(samples(5))
        raise SourceError("the wire was cut")

    seen = Seen()
    pipeline = Pipeline(source=Given(chunks()), model=PlainStep(2), sinks=[seen], about=ABOUT)
    with pytest.raises(SourceError, match="the wire"):
        pipeline.run()
    assert seen.order[-1] == "close"
    assert pipeline.summary().samples == 5


def test_sinks_already_open_are_closed_when_a_later_one_does_not_open() -> None:
    class Broken(Seen):
        def open(self, about: About) -> None:
            raise SinkError(f"no broker for {about.device}")

    seen, broken = Seen(), Broken()
    pipeline = Pipeline(source=Given([]), model=PlainStep(2), sinks=[seen, broken], about=ABOUT)
    with pytest.raises(SinkError):
        pipeline.run()
    assert seen.order == ["open", "close"]
    assert broken.order == []


def test_the_summary_can_be_read_from_another_thread_while_it_runs() -> None:
    told, answered = threading.Event(), threading.Event()

    class Telling(Seen):
        def output(self, output: Output, level: str) -> None:
            super().output(output, level)
            if len(self.outputs) == 5:
                told.set()

    def chunks() -> Iterator[Chunk]:
        yield chunk(samples(5))
        assert answered.wait(30)

    pipeline = Pipeline(source=Given(chunks()), model=PlainStep(2), sinks=[Telling()], about=ABOUT)
    thread = threading.Thread(target=pipeline.run)
    thread.start()
    assert told.wait(30)
    assert pipeline.summary().outputs == 5
    assert pipeline.levels == {"": "ok"}
    answered.set()
    thread.join(30)
    assert pipeline.levels == {}


def test_long_chunks_are_computed_in_bounded_calls() -> None:
    values = samples(5000)
    model = PlainStep(2)
    model.fork = lambda: model  # type: ignore[method-assign] # watch the fork itself
    seen, summary = run([chunk(values)], model)
    assert max(model.calls) <= 1024
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(values))
    assert summary.steps == 5000
    assert summary.step_us["p50"] is not None
    assert summary.step_us["p99"] is None
