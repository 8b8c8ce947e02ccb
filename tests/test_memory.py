"""A pipeline that is ended between any two chunks, and another that goes on from its snapshot: the same bit for bit."""

import dataclasses
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keeping import Kept, Told
from plain_step import PlainStep

from edgeseq.collector import frozen
from edgeseq.deciders.hysteresis import Hysteresis
from edgeseq.errors import StateError
from edgeseq.features.difference import Difference
from edgeseq.features.lags import Lags
from edgeseq.gaps import Gaps
from edgeseq.pipeline import Pipeline
from edgeseq.pipeline.snapshot import LaneState, Snapshot
from edgeseq.pipeline.snapshot import Told as LastTold
from edgeseq.types import About, Channel, Chunk, Event, Feature, Plain, StreamSpec

SPEC = StreamSpec((Channel("a"), Channel("b")), 1.0)
ABOUT = About("device", "pipeline", "plain", "1", ("h", "square"))
ROWS = 60
SECOND = 10**9


@pytest.fixture(autouse=True, scope="module")
def nothing_old_is_collected() -> Iterator[None]:
    """Every pipeline collects garbage as it begins, which takes long among all that the tests have loaded."""
    with frozen():
        yield


class Recorded:
    """A source that gives these chunks, and can be replayed."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.spec = SPEC
        self.replays = True
        self.dropped: Mapping[str, int] = {}
        self._chunks = [dataclasses.replace(chunk, state={"given": i}) for i, chunk in enumerate(chunks, start=1)]

    def __iter__(self) -> Iterator[Chunk]:
        yield from self._chunks

    def set_state(self, state: Plain) -> None:
        if state["given"] > len(self._chunks):
            raise StateError(f"there are only {len(self._chunks)} chunks.")
        self._chunks = self._chunks[state["given"] :]

    def close(self) -> None:
        pass


class Lived:
    """A source that gives these chunks, once; a class that reads files, too, and so has set_state."""

    replays = False

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        self.spec = SPEC
        self.dropped: Mapping[str, int] = {}
        self._chunks = chunks

    def __iter__(self) -> Iterator[Chunk]:
        yield from self._chunks

    def set_state(self, state: Plain) -> None:
        raise StateError(f"what was heard cannot be heard again: {state}")

    def close(self) -> None:
        pass


def chain() -> list[Feature]:
    features: list[Feature] = [Difference(), Lags(lags=[0, 2], channels=["a.difference"])]
    spec = SPEC
    for feature in features:
        spec = feature.open(spec)
    return features


def decider() -> Hysteresis:
    return Hysteresis(direction="above", warning=0.0, warning_clear=-1.0, min_steps=2, clear_steps=2)


def run(source: Any, last: Snapshot | None = None, **more: Any) -> tuple[Told, Kept, Pipeline]:
    told = Told()
    keeper = Kept(told, last)
    pipeline = Pipeline(
        source=source,
        sinks=[told],
        about=ABOUT,
        **{"features": chain, "decider": decider, "model": PlainStep(2), "gap_states": None, **more},
    )
    pipeline.memory.keeper = keeper
    pipeline.run()
    return told, keeper, pipeline


def chunks(cuts: Sequence[int], holes: set[int] = frozenset(), gaps: set[int] = frozenset()) -> list[Chunk]:  # type: ignore[assignment]
    """Cut two streams' rows, one stream's between the other's; one ends before the other."""
    made = []
    for seed, (stream, end) in enumerate((("x", ROWS), ("y", ROWS // 2))):
        values = np.random.default_rng(seed).normal(size=(end, 2)).astype(np.float32)
        values[[hole for hole in holes if hole < end]] = np.nan
        edges = sorted({0, end, *(cut for cut in (*cuts, *gaps) if cut < end)})
        for i, j in itertools.pairwise(edges):
            t_ns = np.arange(i, j, dtype=np.int64) * SECOND
            made.append(Chunk(t_ns, values[i:j], gap=i in gaps, stream=stream, last=j == end))
    return sorted(made, key=lambda chunk: int(chunk.t_ns[0]))


@pytest.mark.parametrize(("delay", "frames_per_step", "warm_up"), [(0, 1, 4), (3, 1, 5), (2, 3, 1)])
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_another_pipeline_goes_on_from_any_snapshot(
    delay: int, frames_per_step: int, warm_up: int, data: st.DataObject
) -> None:
    places = st.integers(1, ROWS - 1)
    given_chunks = chunks(
        data.draw(st.lists(places, max_size=8)),
        data.draw(st.sets(places, max_size=3)),
        data.draw(st.sets(places, max_size=3)),
    )
    model = PlainStep(2, delay=delay, frames_per_step=frames_per_step, warm_up=warm_up)
    more = {"model": model, "gap_states": data.draw(st.sampled_from([None, (), ("h",)]))}
    whole, keeper, pipeline = run(Recorded(given_chunks), **more)
    assert keeper.forgotten
    snapshot, told_before = keeper.kept[int(data.draw(st.floats(0, 1)) * (len(keeper.kept) - 1))]
    rest, _, other = run(Recorded(given_chunks), snapshot, **more)
    assert whole.lines[:told_before] + rest.lines == whole.lines
    summaries = [each.summary() for each in (pipeline, other)]
    if not {"end x", "end y"} & {*whole.lines[:told_before]}:
        assert summaries[0].dropped == summaries[1].dropped
    # Of this process alone, as samples are: what is missing are the rows that do not count, of which it saw some.
    missing = [summary.samples - summary.frames for summary in summaries]
    assert 0 <= missing[1] <= missing[0]


def without(name: str, state: LaneState) -> LaneState:
    """Return a lane's state with a part of it as it is in a new lane."""
    if name in ("features", "model"):
        arrays = {
            key: np.zeros_like(value) if key.startswith(f"{name}.") else value for key, value in state.arrays.items()
        }
        return dataclasses.replace(state, arrays=arrays)
    if name == "decider":
        return dataclasses.replace(state, decider=decider().get_state())
    return dataclasses.replace(state, counts={**state.counts, name: 0})


@pytest.mark.parametrize("name", ["features", "model", "decider", "seen", "steps", "warm", "position"])
def test_no_part_of_a_snapshot_can_be_missing(name: str) -> None:
    more = {"model": PlainStep(2, delay=2, frames_per_step=2, warm_up=9)}
    cut = chunks(range(1, ROWS))
    whole, keeper, _ = run(Recorded(cut), **more)
    different = 0
    for snapshot, told_before in keeper.kept[10:60:4]:
        if name == "position":
            assert snapshot.source is not None
            wrong = dataclasses.replace(snapshot, source={"given": snapshot.source["given"] + 1})
        else:
            lanes = {stream: without(name, lane) for stream, lane in snapshot.lanes.items()}
            wrong = dataclasses.replace(snapshot, lanes=lanes)
        rest, _, _ = run(Recorded(cut), wrong, **more)
        different += whole.lines[:told_before] + rest.lines != whole.lines
    assert different, "what is told does not hang on it"


def test_a_snapshot_does_not_change_when_the_pipeline_goes_on() -> None:
    cut = chunks(range(1, ROWS, 7))
    _, first, _ = run(Recorded(cut))
    for (snapshot, _), (again, _) in zip(first.kept, run(Recorded(cut))[1].kept, strict=True):
        assert repr(snapshot) == repr(again)
        assert json.loads(json.dumps(snapshot.source)) == snapshot.source


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"max_streams": 1}, "more streams than max_streams"),
        ({"decider": None}, "decider"),
        ({"features": tuple}, "a chain of 0 features"),
        ({"model": PlainStep(2, delay=4)}, "the times of"),
    ],
)
def test_a_snapshot_of_something_else_is_refused_and_all_starts_afresh(
    changed: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    cut = chunks(range(1, ROWS))
    snapshot = run(Recorded(cut))[1].kept[20][0]
    afresh = run(Recorded(cut), **changed)[0]
    caplog.clear()
    assert run(Recorded(cut), snapshot, **changed)[0].lines == afresh.lines
    (warning,) = [record.message for record in caplog.records if "checkpoint" in record.message]
    assert "everything starts afresh" in warning
    assert why in warning


def test_a_recording_that_became_shorter_starts_afresh(caplog: pytest.LogCaptureFixture) -> None:
    cut = chunks(range(1, ROWS))
    snapshot = run(Recorded(cut))[1].kept[20][0]
    assert run(Recorded(cut[:10]), snapshot)[0].lines == run(Recorded(cut[:10]))[0].lines
    assert "there are only 10 chunks" in caplog.text


def test_what_sinks_hold_is_safe_before_a_snapshot_is_kept() -> None:
    class Holding(Told):
        flushed = 0

        def flush(self) -> None:
            self.flushed = len(self.lines)

    class Asking(Kept):
        def keep(self, snapshot: Snapshot, before: Callable[[], None]) -> None:
            super().keep(snapshot, before)
            assert sink.flushed == len(sink.lines)

    sink = Holding()
    pipeline = Pipeline(source=Recorded(chunks(range(9))), sinks=[sink], about=ABOUT, model=PlainStep(2))
    pipeline.memory.keeper = keeper = Asking(sink)
    pipeline.run()
    assert keeper.kept


def lived(first: int, last: int) -> list[Chunk]:
    t_ns = np.arange(first, last, dtype=np.int64) * SECOND
    return [Chunk(t_ns[i : i + 1], np.full((1, 2), t_ns[i] / SECOND, np.float32)) for i in range(last - first)]


@pytest.mark.parametrize("gaps", [Gaps(), Gaps(limit_s=60), Gaps(duty_cycle_s=50)])
def test_the_downtime_of_a_live_source_is_a_gap_and_the_log_says_which(
    gaps: Gaps, caplog: pytest.LogCaptureFixture
) -> None:
    before, after = lived(0, 20), lived(50, 60)
    snapshot = run(Lived(before), gaps=gaps)[1].kept[-1][0]
    assert snapshot.source is None
    marked = [dataclasses.replace(chunk, gap=place == 0) for place, chunk in enumerate(after)]
    caplog.clear()
    rest, _, pipeline = run(Lived(after), snapshot, gaps=gaps)
    whole = run(Lived([*before, *marked]), gaps=gaps)[0]
    assert rest.lines == whole.lines[-len(rest.lines) :]
    assert pipeline.summary().gaps == 1
    (warning,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warning == (
        "the stream: nothing was taken between 1970-01-01T00:00:19+00:00 and 1970-01-01T00:00:50+00:00, 31.000 s or "
        "about 30 samples: the service was down. It is a gap."
    )
    unmarked = run(Lived([*before, *after]), gaps=gaps)[0]
    assert rest.lines != unmarked.lines[-len(rest.lines) :], "the gap tells"


class Events(Told):
    """A sink that keeps the events themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        self.events.append(event)


@pytest.mark.parametrize("changed", [{}, {"features": tuple}])
@pytest.mark.parametrize("replays", [False, True])
def test_an_alert_told_after_the_last_snapshot_is_not_raised_again(
    replays: bool,  # noqa: FBT001 - a parameter of the test
    changed: dict[str, Any],
) -> None:
    def told(source: Any, last: Snapshot | None, left: Mapping[str, LastTold], **more: Any) -> tuple[Events, Kept]:
        sink = Events()
        keeper = Kept(sink, last)
        parts = {"features": chain, "decider": decider, "model": PlainStep(2), "gap_states": (), **more}
        pipeline = Pipeline(source=source, sinks=[sink], about=ABOUT, buffer_samples=1, **parts)
        pipeline.memory.keeper, pipeline.memory.told = keeper, lambda: left
        pipeline.run()
        return sink, keeper

    before, keeper = told(Lived(lived(0, 20)), None, {})
    (raised,) = before.events
    assert raised.kind == "raised"
    snapshot = next(snapshot for snapshot, _ in keeper.kept if snapshot.lanes[""].decider != raised.state["decider"])
    left = {"": LastTold(raised.state["decider"], raised.state["last_ns"])}
    source = Recorded(lived(30, 40)) if replays else Lived(lived(30, 40))
    after, _ = told(source, snapshot, left, **changed)
    # Recorded data raise it again by themselves, under the same name.
    assert [event.kind for event in after.events] == (["raised"] if replays else [])
    again, _ = told(Lived(lived(30, 40)), snapshot, {}, **changed)
    assert [event.kind for event in again.events] == ["raised"], "it hangs on what was told"


def test_a_silence_that_stands_is_cleared_though_the_snapshot_is_refused() -> None:
    sink = Events()
    pipeline = Pipeline(source=Lived(lived(30, 40)), sinks=[sink], about=ABOUT, model=PlainStep(2))
    pipeline.memory.keeper = Kept(sink, Snapshot(lanes={"": LaneState({}, {}, None)}))
    pipeline.memory.told = lambda: {"": LastTold(silent_ns=5 * SECOND)}
    pipeline.run()
    assert [(event.kind, event.alert) for event in sink.events] == [("cleared", f"stream/silent@{5 * SECOND}")]
