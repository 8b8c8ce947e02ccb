"""A sensor that falls silent: an alert, a turning loop, and the end of it."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from plain_pipeline import ABOUT, Given, Seen, chunk, samples
from plain_step import PlainStep

from edgeseq.pipeline import Pipeline
from edgeseq.pipeline import lane as lanes
from edgeseq.pipeline import pipeline as pipelines
from edgeseq.pipeline.silence import Silence
from edgeseq.types import Chunk

S = 10**9


def brief(events: Any) -> list[tuple[str, str, str, int, float]]:
    return [(each.kind, each.stream, each.level, each.t_ns // S, each.score) for each in events]


def test_silence_is_raised_once_and_cleared_by_a_sample() -> None:
    silence = Silence(5.0)
    silence.begin(100.0)
    assert silence.heard("m", 50 * S, 101.0) == []
    assert silence.check(105.9) == []
    raised = silence.check(106.0)
    assert brief(raised) == [("raised", "m", "silent", 55, 5.0)]
    assert list(silence.streams) == ["m"]
    assert silence.check(1000.0) == []
    cleared = silence.heard("m", 80 * S, 131.0)
    assert brief(cleared) == [("cleared", "m", "ok", 80, 30.0)]
    assert raised[0].alert == cleared[0].alert
    assert (raised[0].sequence, cleared[0].sequence) == (0, 1)
    assert not silence.streams


@pytest.mark.parametrize("after_s", [5.0, 7.0, None])
def test_another_process_goes_on_with_a_standing_silence(after_s: float | None) -> None:
    before, after = Silence(5.0), Silence(after_s)
    before.begin(100.0)
    assert before.heard("m", 50 * S, 100.0) == before.heard("n", 54 * S, 104.0) == []
    (raised,) = before.check(106.0)
    after.begin(3.0)
    after.resume({"m": 50 * S, "n": 54 * S}, before.streams, 3.0)
    assert after.check(7.0) == [], "it is not raised again"
    (cleared,) = after.heard("m", 80 * S, 7.5)
    assert (cleared.kind, cleared.alert, cleared.sequence) == ("cleared", raised.alert, 1)
    assert cleared.t_ns == 80 * S
    later = after.check(11.0)
    assert [event.stream for event in later] == ([] if after_s is None else ["n"]), "the other is awaited anew"


def test_every_stream_is_listened_to_by_itself_until_it_ends() -> None:
    silence = Silence(5.0)
    silence.begin(0.0)
    for place, name in enumerate("abc"):
        silence.heard(name, 0, float(place))
    silence.heard("a", S, 4.0)
    silence.ended("c")
    assert [each.stream for each in silence.check(100.0)] == ["b", "a"]


def test_a_source_that_never_speaks_is_silent_as_a_whole() -> None:
    silence = Silence(5.0)
    silence.begin(0.0)
    (raised,) = silence.check(5.0)
    assert (raised.kind, raised.stream) == ("raised", "")
    (cleared,) = silence.heard("m", raised.t_ns + S, 7.0)
    assert (cleared.kind, cleared.stream, cleared.alert) == ("cleared", "", raised.alert)
    assert silence.check(8.0) == []


def test_without_a_limit_nothing_is_ever_silent() -> None:
    silence = Silence(None)
    silence.begin(0.0)
    assert silence.check(1e12) == []


def test_the_loop_turns_while_nothing_comes_and_tells_the_sinks(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that stands still until the first samples are through, and then shows a second more at each look."""
    monkeypatch.setattr(pipelines, "TURN_S", 0.01)
    heard, turns, now = threading.Event(), [], itertools.count()

    def chunks() -> Iterator[Chunk]:
        yield chunk(samples(3))
        assert heard.wait(60)
        yield chunk(samples(3), 100 * S)

    class Listening(Seen):
        def event(self, event: Any) -> None:
            super().event(event)
            heard.set()

    seen = Listening()
    clock = SimpleNamespace(monotonic=lambda: float(next(now)) if seen.outputs else 0.0)
    monkeypatch.setattr(pipelines, "time", clock)
    pipeline = Pipeline(
        source=Given(chunks()),
        model=PlainStep(2),
        sinks=[seen],
        about=ABOUT,
        silent_after_s=60.0,
    )
    pipeline.turn = lambda: turns.append(len(seen.outputs))
    summary = pipeline.run()
    assert [each.kind for each in seen.events] == ["raised", "cleared"]
    assert summary.events == {"raised": 1, "cleared": 1}
    assert turns.count(3) > 10, "it turned while nothing came"
    assert pipeline.silent == []


def test_the_loop_turns_within_a_long_chunk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "TURN_S", 0.0)
    seen = Seen()
    turns: list[int] = []
    pipeline = Pipeline(
        source=Given([chunk(samples(1000))]),
        model=PlainStep(2),
        sinks=[seen],
        about=ABOUT,
    )
    pipeline.turn = lambda: turns.append(len(seen.outputs))
    pipeline.run()
    assert turns[:1000] == list(range(1, 1001))


def test_the_loop_turns_while_many_streams_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gives the outputs that its model owes: together that may take longer than a watchdog waits."""
    monkeypatch.setattr(pipelines, "TURN_S", 0.0)
    seen = Seen()
    turns: list[int] = []
    pipeline = Pipeline(
        source=Given([replace(chunk(samples(5)), stream=str(number)) for number in range(20)]),
        model=PlainStep(2, delay=3),
        sinks=[seen],
        about=ABOUT,
    )
    pipeline.turn = lambda: turns.append(len(seen.outputs))
    pipeline.run()
    assert set(range(40, 101, 3)) <= set(turns)


def test_a_slow_model_is_called_for_less_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that a step takes 40 ms of: in a call of 64 frames that would be 2.5 s without a turn."""
    model = PlainStep(2)
    model.fork = lambda: model  # type: ignore[method-assign] # watch the fork itself
    monkeypatch.setattr(lanes.time, "perf_counter_ns", lambda: 40_000_000 * sum(model.calls))
    seen = Seen()
    values = samples(200)
    Pipeline(source=Given([chunk(values)]), model=model, sinks=[seen], about=ABOUT).run()
    assert model.calls[0] == 64
    assert max(model.calls[1:]) <= 4, "0.16 s"
    np.testing.assert_array_equal(seen.values(), PlainStep(2).run(values))
