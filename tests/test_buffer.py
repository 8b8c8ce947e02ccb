"""The bounded buffer: what waits, what is joined, what is dropped, and that nothing waits for ever."""

import itertools
import threading
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_pipeline import ABOUT, Given, Seen, chunk, samples
from plain_step import PlainStep

from edgeseq.errors import SourceError
from edgeseq.pipeline import Pipeline, buffer
from edgeseq.pipeline import pipeline as pipelines
from edgeseq.pipeline.buffer import MOST_TOGETHER, Buffer, WhenFull
from edgeseq.types import Chunk, Frames


def everything(waiting: Buffer) -> list[Chunk]:
    taken = []
    while not waiting.ended:
        chunk = waiting.take(30)
        taken += [chunk] if chunk is not None else []
    return taken


def read_whole(source: Given, size: int, when_full: WhenFull) -> tuple[list[Chunk], Counter[str]]:
    """Let the source be read to its end before anything is taken."""
    with Buffer(source, samples=size, when_full=when_full) as waiting:
        waiting._thread.join(30)
        assert not waiting._thread.is_alive()
        taken = everything(waiting)
    return taken, waiting.dropped


def told(chunks: list[Chunk]) -> list[tuple[str, list[int], bool, bool]]:
    return [(each.stream, each.t_ns.tolist(), each.gap, each.last) for each in chunks]


def numbered(count: int, **more: str) -> list[Chunk]:
    return [chunk(samples(1), i, **more) for i in range(count)]


def test_what_waits_is_taken_as_one() -> None:
    chunks = [*numbered(3), chunk(samples(2), 3, gap=True), chunk(samples(1), 5, last=True), chunk(samples(1), 6)]
    taken, dropped = read_whole(Given(chunks), 100, "block")
    assert told(taken) == [("", [0, 1, 2], False, False), ("", [3, 4, 5], True, True), ("", [6], False, False)]
    np.testing.assert_array_equal(taken[1].values, np.concatenate([chunks[3].values, chunks[4].values]))
    assert not dropped


def test_the_order_between_streams_is_kept_where_nothing_is_lost() -> None:
    chunks = [chunk(samples(1), i, stream=name) for i in range(2) for name in "ab"]
    assert told(read_whole(Given(chunks), 100, "block")[0]) == told(chunks)
    together = [("a", [0, 1], False, False), ("b", [0, 1], False, False)]
    assert told(read_whole(Given(chunks), 100, "drop-oldest")[0]) == together


def test_not_more_is_joined_than_lets_the_loop_turn() -> None:
    chunks = [chunk(samples(MOST_TOGETHER // 2), i * MOST_TOGETHER) for i in range(5)]
    taken, _ = read_whole(Given(chunks), 10 * MOST_TOGETHER, "block")
    assert [len(each.t_ns) for each in taken] == [MOST_TOGETHER, MOST_TOGETHER, MOST_TOGETHER // 2]


def test_drop_oldest_marks_the_gap_and_counts() -> None:
    taken, dropped = read_whole(Given(numbered(10)), 4, "drop-oldest")
    assert told(taken) == [("", [6, 7, 8, 9], True, False)]
    assert dropped == {"drop_oldest": 6}


def test_skip_to_newest_marks_the_gap_and_counts() -> None:
    taken, dropped = read_whole(Given(numbered(10)), 4, "skip-to-newest")
    assert told(taken) == [("", [8, 9], True, False)]
    assert dropped == {"skip_to_newest": 8}


def test_only_the_stream_that_lost_something_has_a_gap() -> None:
    chunks = [*numbered(3, stream="a"), *numbered(3, stream="b")]
    taken, dropped = read_whole(Given(chunks), 4, "drop-oldest")
    assert told(taken) == [("a", [2], True, False), ("b", [0, 1, 2], False, False)]
    assert dropped == {"drop_oldest": 2}


def test_the_end_of_a_stream_outlives_its_samples() -> None:
    ended = chunk(samples(2), 0, stream="a", last=True)
    taken, dropped = read_whole(Given([ended, *numbered(4, stream="b"), ended]), 4, "drop-oldest")
    assert told(taken) == [
        ("a", [], True, True),
        ("b", [2, 3], True, False),
        ("a", [0, 1], False, True),
    ]
    assert dropped == {"drop_oldest": 4}


def test_a_chunk_longer_than_the_buffer_waits_by_itself() -> None:
    for when_full in list(buffer.WORDS):
        with Buffer(Given([chunk(samples(50)), chunk(samples(50), 50)]), samples=8, when_full=when_full) as waiting:
            taken = everything(waiting)
        assert sum(len(each.t_ns) for each in taken) + waiting.dropped.total() == 100
        assert when_full != "block" or told(taken) == told([chunk(samples(50)), chunk(samples(50), 50)])


@pytest.mark.parametrize("when_full", list(buffer.WORDS))
@given(data=st.data())
@settings(max_examples=30, deadline=None)
def test_every_sample_comes_once_or_is_counted(when_full: WhenFull, data: st.DataObject) -> None:
    plan = data.draw(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=40))
    most, ahead = data.draw(st.integers(1, 12)), data.draw(st.booleans())
    clock = Counter[str]()
    chunks = []
    for name, count, last in plan:
        chunks.append(chunk(samples(count), clock[name], stream=name, last=last))
        clock[name] += count
    with Buffer(Given(chunks), samples=most, when_full=when_full) as waiting:
        waiting._thread.join(30 if ahead and when_full != "block" else 0)
        taken = everything(waiting)
    assert sum(len(each.t_ns) for each in taken) + waiting.dropped.total() == sum(clock.values())
    assert Counter(each.stream for each in taken if each.last) == Counter(name for name, _, last in plan if last)
    for name in "abc":
        own = [each for each in taken if each.stream == name]
        behind = 0
        for each in own:
            if len(each.t_ns):
                assert each.gap or each.t_ns[0] == behind or when_full != "block"
                assert each.t_ns.tolist() == list(range(each.t_ns[0], each.t_ns[0] + len(each.t_ns)))
                assert each.t_ns[0] >= behind, "in order"
                behind = int(each.t_ns[-1]) + 1
        lost = any(before is not None for before in losses(own))
        assert not lost, "what is missing is marked"


def losses(own: list[Chunk]) -> Iterator[int | None]:
    """Yield where samples are missing without a mark."""
    behind, marked = 0, False
    for each in own:
        marked = marked or each.gap
        if len(each.t_ns):
            yield behind if each.t_ns[0] != behind and not marked else None
            behind, marked = int(each.t_ns[-1]) + 1, False


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_outputs_are_the_same_bit_for_bit_however_much_waits(data: st.DataObject) -> None:
    values = {name: samples(40, seed) for seed, name in enumerate("xy")}
    cuts = {name: sorted({0, 40, *data.draw(st.lists(st.integers(1, 39), max_size=12))}) for name in values}
    pieces = [
        chunk(values[name][i:j], i, gap=i % 7 == 3, stream=name)
        for name in values
        for i, j in itertools.pairwise(cuts[name])
    ]
    order = data.draw(st.permutations(range(len(pieces))))
    chunks = sorted((pieces[i] for i in order), key=lambda each: int(each.t_ns[0]))

    def outcome(size: int) -> list[tuple[str, int, bytes]]:
        seen = Seen()
        source = Given(chunks)
        Pipeline(source=source, model=PlainStep(2), sinks=[seen], about=ABOUT, buffer_samples=size).run()
        return [(output.stream, output.t_ns, output.values.tobytes()) for output, _ in seen.outputs]

    straight = Seen()
    model = {name: PlainStep(2) for name in values}
    expected = [
        (each.stream, t_ns, row.tobytes())
        for each in chunks
        for t_ns, row in zip(each.t_ns.tolist(), model[each.stream].run(each.values), strict=True)
    ]
    assert straight.outputs == []
    assert outcome(data.draw(st.integers(1, 90))) == expected


def test_a_model_that_has_fallen_behind_catches_up_by_run() -> None:
    read, model = threading.Event(), PlainStep(2)

    def chunks() -> Iterator[Chunk]:
        yield from numbered(40)
        read.set()

    class Slow(PlainStep):
        def run(self, x: Frames) -> Frames:
            assert read.wait(30)
            model.calls.append(len(x))
            return super().run(x)

        def fork(self) -> "Slow":
            return Slow(2)

    seen = Seen()
    Pipeline(source=Given(chunks()), model=Slow(2), sinks=[seen], about=ABOUT).run()
    assert len(model.calls) <= 2, "the first sample, and all that came while it was computed"
    np.testing.assert_array_equal(
        seen.values(), PlainStep(2).run(np.concatenate([each.values for each in numbered(40)]))
    )


@pytest.mark.parametrize(("when_full", "kept"), [("drop-oldest", 7), ("skip-to-newest", 5)])
def test_a_model_that_cannot_keep_up_loses_as_declared(when_full: WhenFull, kept: int) -> None:
    """It computes the first sample while 40 more come; what is left of them is a sequence of its own."""
    computing, read = threading.Event(), threading.Event()
    whole = samples(41)

    def chunks() -> Iterator[Chunk]:
        yield chunk(whole[:1])
        assert computing.wait(30)
        yield from (chunk(whole[i : i + 1], i) for i in range(1, 41))
        read.set()

    class Slow(PlainStep):
        def run(self, x: Frames) -> Frames:
            computing.set()
            assert read.wait(30)
            return super().run(x)

        def fork(self) -> "Slow":
            return Slow(2)

    seen = Seen()
    summary = Pipeline(
        source=Given(chunks()),
        model=Slow(2),
        sinks=[seen],
        about=ABOUT,
        gap_states=None,
        buffer_samples=7,
        when_full=when_full,
    ).run()
    expected = [PlainStep(2).run(whole[:1]), PlainStep(2).run(whole[-kept:])]
    np.testing.assert_array_equal(seen.values(), np.concatenate(expected))
    assert summary.gaps == 1
    assert summary.samples == 1 + kept
    assert summary.dropped == {f"buffer.{when_full.replace('-', '_')}": 40 - kept}


def test_a_failure_comes_after_what_was_read_before_it() -> None:
    def chunks() -> Iterator[Chunk]:
        yield from numbered(3)
        raise SourceError("the wire was cut")

    with Buffer(Given(chunks()), samples=9, when_full="block") as waiting:
        waiting._thread.join(30)
        assert told([taken for taken in [waiting.take(30)] if taken]) == [("", [0, 1, 2], False, False)]
        with pytest.raises(SourceError, match="the wire"):
            waiting.take(30)
        assert waiting.ended


def test_a_silent_source_keeps_nobody_waiting() -> None:
    over = threading.Event()

    def chunks() -> Iterator[Chunk]:
        over.wait(60)
        yield from ()

    with Buffer(Given(chunks()), samples=9, when_full="block") as waiting:
        assert waiting.take(0.01) is None
        assert not waiting.ended
        over.set()
        assert everything(waiting) == []


def test_a_reader_that_is_kept_waiting_ends_with_the_loop() -> None:
    with Buffer(Given(itertools.cycle(numbered(1))), samples=4, when_full="block") as waiting:
        assert waiting.take(30) is not None
    assert not waiting._thread.is_alive()
    assert waiting.dropped["left_behind"] <= 5, "what waited, and one under way"


def test_a_source_that_does_not_end_is_left_behind(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(buffer, "ENDS_WITHIN_S", 0.01)
    over = threading.Event()

    def chunks() -> Iterator[Chunk]:
        over.wait(60)
        yield from ()

    with Buffer(Given(chunks()), samples=9, when_full="block") as waiting:
        pass
    assert "still reads; it is left behind" in caplog.text
    over.set()
    waiting._thread.join(30)


@pytest.mark.parametrize(("seconds", "finished"), [(60.0, 100), (-1.0, 1)])
def test_what_was_read_is_finished_after_a_stop_as_long_as_there_is_time(
    seconds: float, finished: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelines, "FINISH_S", seconds)
    read = threading.Event()

    def chunks() -> Iterator[Chunk]:
        # Each with a gap before it, so that none are joined.
        yield from (chunk(samples(1), i, gap=True) for i in range(100))
        read.set()
        yield from itertools.repeat(chunk(samples(1), 1000, gap=True))

    def turn() -> None:
        assert read.wait(30)
        pipeline.stop()

    pipeline = Pipeline(source=Given(chunks()), model=PlainStep(2), sinks=[], about=ABOUT, buffer_samples=100)
    pipeline.turn = turn
    summary = pipeline.run()
    assert summary.stopped
    # One more may have found room when the first was taken, and one been under way.
    assert summary.samples - finished in {0, 1, 2}
    assert summary.samples + summary.dropped.get("buffer.left_behind", 0) in {100, 101, 102}
    assert seconds > 0 or summary.samples == 1
