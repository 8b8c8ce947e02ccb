"""The hot loop: chunks from the source, through each stream's lane, to the sinks."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgeseq.collector import frozen
from edgeseq.errors import SpentError
from edgeseq.gaps import ALL_GAPS, Gaps
from edgeseq.pipeline.buffer import Buffer, WhenFull, default_samples
from edgeseq.pipeline.lane import Lane
from edgeseq.pipeline.memory import Memory
from edgeseq.pipeline.silence import Silence
from edgeseq.timing import Timing
from edgeseq.types import About, Chunk, Decider, Event, Feature, Output, Sink, Source, StepModel

MAX_STREAMS = 1024
TURN_S = 0.5
"""The hot loop turns at least this often, whatever comes."""
FINISH_S = 5.0
"""What was read before a stop is finished within this time."""

log = logging.getLogger(__package__)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a pipeline did. Counts are since its start; `stopped`: it was told to, before the data ended.

    levels: how many streams ended at, or now stand at, each level. dropped: samples, frames and messages that were
    dropped or repaired, by "part.reason"; what models and deciders dropped is remembered with their states. step_us:
    p50, p99, mean and max of one model step in microseconds; None where too few steps lie behind the number.
    """

    pipeline: str
    device: str
    model: str
    seconds: float
    stopped: bool
    streams: int
    samples: int
    frames: int
    outputs: int
    events: Mapping[str, int]
    gaps: int
    levels: Mapping[str, int]
    dropped: Mapping[str, int]
    steps: int
    step_us: Mapping[str, float | None]

    def table(self) -> dict[str, Any]:
        """Return it as plain data, for JSON."""
        return asdict(self)


@dataclass(slots=True)
class _Counters:
    """Everything the pipeline counts; read by observers while it runs."""

    streams: int = 0
    samples: int = 0
    outputs: int = 0
    gaps: int = 0
    events: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    frames: int = 0
    levels: Counter[str] = field(default_factory=Counter)


class Pipeline:
    """One source, one model, one decider a stream, any number of sinks.

    model: the step model; each stream steps a fork of it. features, decider: called once a stream, so that each has
    its own (decider None: outputs only). gap_states: names of the states that a gap resets; None for the whole model.
    columns: which of the source's channels the features take, in order; None for all as they come.
    gaps: which gaps do so. max_frames: how many frames the model takes from a reset, see `Lane`. max_streams: how many
    streams may be open at once; samples of further ones are dropped and counted. buffer_samples, when_full: what is
    read ahead, see `Buffer`. silent_after_s: see `Silence`.

    `turn`, where it is set before `run`, is called at every turn of the hot loop, and within a long chunk between calls
    of the model: twice a second at least, as long as a single call takes no longer. What another process remembered is
    taken up where `memory.keeper` was set before `run`.

    `run` is called once, from one thread; `stop`, the counters and `summary` may be used from any other.
    """

    def __init__(
        self,
        *,
        source: Source,
        model: StepModel,
        sinks: Sequence[Sink],
        about: About,
        features: Callable[[], Sequence[Feature]] = tuple,
        decider: Callable[[], Decider] | None = None,
        gap_states: Collection[str] | None = (),
        columns: Sequence[int] | None = None,
        max_streams: int = MAX_STREAMS,
        gaps: Gaps = ALL_GAPS,
        max_frames: int | None = None,
        buffer_samples: int | None = None,
        when_full: WhenFull = "block",
        silent_after_s: float | None = None,
    ) -> None:
        self.source = source
        self.turn: Callable[[], None] | None = None
        self.model = model
        self.sinks = list(sinks)
        self.about = about
        self.timing = Timing()
        self._features = features
        self._decider = decider
        self._gap_states = None if gap_states is None else frozenset(gap_states)
        self._columns = columns
        self._max_streams = max_streams
        self._gaps = gaps
        self._max_frames = max_frames
        samples = default_samples(source.spec.rate_hz) if buffer_samples is None else buffer_samples
        self._buffer = Buffer(source, samples=samples, when_full=when_full)
        self._silence = Silence(silent_after_s)
        self._lanes: dict[str, Lane] = {}
        self._refused: set[str] = set()
        self._counters = _Counters()
        self._stop = threading.Event()
        self._began = self._ended = self._turned_s = 0.0
        self.memory = Memory(source, self._lanes, self._silence, self.sinks)

    def run(self) -> Summary:
        """Run until the source ends or `stop` is called; sinks are then drained and closed. Returns the summary.

        Raises what the source raises (SourceError), what a sink raises when it opens (SinkError), and SpentError where
        a stream brings more frames than the model is made for; the sinks that are open are closed first.
        """
        self._began, self._ended = time.monotonic(), 0.0
        try:
            with ExitStack() as stack:
                for sink in self.sinks:
                    sink.open(self.about)
                    stack.callback(sink.close)
                stack.callback(self.memory.close)
                self._silence.begin(time.monotonic())
                if not self.memory.resume(self._admit):
                    self._lanes.clear()
                    self._counters.streams = 0
                stack.enter_context(frozen())
                self._loop(stack.enter_context(self._buffer))
                stopped = self._stop.is_set()
                if stopped:
                    self.memory.keep()
                else:
                    for stream in list(self._lanes):
                        self._end(stream)
                        self._turn_if_due()
            if not stopped:
                self.memory.forget()
        except SpentError:
            self.memory.forget()  # it would lead straight back to the same frame
            raise
        finally:
            self._ended = time.monotonic()
        return self.summary()

    def _loop(self, buffer: Buffer) -> None:
        """Take chunks until the source has ended, or, after a stop, what was read is finished."""
        deadline = None
        while not buffer.ended:
            chunk = buffer.take(TURN_S)
            if chunk is not None:
                self._take(self.memory.marked(chunk))
                self.memory.taken(chunk)
            self.memory.turn()
            self._tell(self._silence.check(time.monotonic()))
            self._turned()
            if self._stop.is_set():
                deadline = deadline or time.monotonic() + FINISH_S
                if time.monotonic() > deadline:
                    return

    def _turned(self) -> None:
        if self.turn is not None:
            self.turn()
        self._turned_s = time.monotonic()

    def _turn_if_due(self) -> None:
        """Turn within what takes long."""
        if time.monotonic() - self._turned_s > TURN_S:
            self._turned()

    def stop(self) -> None:
        """Ask `run` to end soon: what was read is finished, sinks are drained. Outputs still owed are not made up."""
        self._stop.set()
        self._buffer.stop()

    @property
    def levels(self) -> dict[str, str]:
        """The present level of every open stream."""
        return {stream: lane.level for stream, lane in self._lanes.copy().items()}

    @property
    def silent(self) -> list[str]:
        """The streams of which nothing has come for silent_after_s."""
        return list(self._silence.streams)

    def summary(self) -> Summary:
        """Return what was done up to now."""
        counters, lanes = self._counters, self._lanes.copy()
        dropped = Counter(counters.dropped)
        levels = Counter(counters.levels)
        for lane in lanes.values():
            dropped.update(_named("model", lane.dropped))
            dropped.update(_named("decider", lane.decider.ignored if lane.decider else {}))
            levels[lane.level] += 1
        dropped.update(_named("source", self.source.dropped))
        dropped.update(_named("buffer", self._buffer.dropped))
        dropped.update(_named("checkpoint", self.memory.dropped))
        for sink in self.sinks:
            dropped.update(_named(type(sink).__module__.rpartition(".")[2], sink.dropped))
        timing = self.timing
        return Summary(
            pipeline=self.about.pipeline,
            device=self.about.device,
            model=self.about.model,
            seconds=(self._ended or time.monotonic()) - self._began if self._began else 0.0,
            stopped=self._stop.is_set(),
            streams=counters.streams,
            samples=counters.samples,
            frames=counters.frames + sum(lane.frames for lane in lanes.values()),
            outputs=counters.outputs,
            events=dict(counters.events),
            gaps=counters.gaps,
            levels=dict(levels),
            dropped={reason: count for reason, count in sorted(dropped.items()) if count},
            steps=timing.count,
            step_us={
                "p50": timing.percentile_us(50),
                "p99": timing.percentile_us(99),
                "mean": timing.mean_us,
                "max": timing.max_ns / 1000 if timing.count else None,
            },
        )

    def _take(self, chunk: Chunk) -> None:
        """Pass one chunk through its stream's lane."""
        lane = self._lanes.get(chunk.stream) or self._admit(chunk.stream)
        if lane is not None and lane.last_ns is None:
            self.memory.stand(lane)
        if lane is None:
            self._counters.dropped["pipeline.max_streams"] += len(chunk.t_ns)
            if chunk.last:
                self._refused.discard(chunk.stream)
            return
        self._counters.samples += len(chunk.t_ns)
        self._counters.gaps += chunk.gap
        if len(chunk.t_ns):
            self._tell(self._silence.heard(chunk.stream, int(chunk.t_ns[-1]), time.monotonic()))
        for output in lane.push(chunk):
            self._give(lane, output)
            self._turn_if_due()
        if chunk.last:
            self._end(chunk.stream)

    def _admit(self, stream: str) -> Lane | None:
        """Open a lane for a new stream, or None if there are as many as may be."""
        if len(self._lanes) >= self._max_streams:
            # The set is bounded like the lanes are: beyond it, the counter alone speaks.
            if stream not in self._refused and len(self._refused) < self._max_streams:
                self._refused.add(stream)
                log.warning(
                    "stream '%s' is not taken: %d streams are open, which is max_streams. Its samples are counted as "
                    "dropped; raise max_streams to take it.",
                    stream,
                    self._max_streams,
                )
            return None
        lane = Lane(
            stream,
            features=self._features(),
            model=self.model.fork(),
            decider=self._decider() if self._decider else None,
            gap_states=self._gap_states,
            gaps=self._gaps,
            columns=self._columns,
            timing=self.timing,
            max_frames=self._max_frames,
        )
        self._lanes[stream] = lane
        self._counters.streams += 1
        return lane

    def _give(self, lane: Lane, output: Output) -> None:
        """Let the decider judge an output, then tell every sink: events first, for they explain the level."""
        self._counters.outputs += 1
        events = lane.decider.update(output) if lane.decider else []
        if events and lane.decider:
            events[-1] = replace(events[-1], state={"decider": lane.decider.get_state(), "last_ns": lane.last_ns})
        level = lane.level
        self._tell(events)
        for sink in self.sinks:
            sink.output(output, level)

    def _tell(self, events: Iterable[Event]) -> None:
        """Tell every sink of events, and count them."""
        for event in events:
            self._counters.events[event.kind] += 1
            log.info(
                "%s %s: %s at %g", event.stream or "stream", event.kind, event.level, event.score,
                extra={"event_id": event.event_id, "stream": event.stream, "kind": event.kind, "t_ns": event.t_ns},
            )  # fmt: skip
            for sink in self.sinks:
                sink.event(event)

    def _end(self, stream: str) -> None:
        """Give the outputs that the stream still owes, tell the sinks, and free its state."""
        lane = self._lanes[stream]
        for output in lane.flush():
            self._give(lane, output)
        for sink in self.sinks:
            sink.end(stream)
        self._silence.ended(stream)
        counters = self._counters
        counters.frames += lane.frames
        counters.levels[lane.level] += 1
        counters.dropped.update(_named("model", lane.dropped))
        counters.dropped.update(_named("decider", lane.decider.ignored if lane.decider else {}))
        del self._lanes[stream]


def _named(part: str, counts: Mapping[str, int]) -> dict[str, int]:
    """Return counts under "part.reason"."""
    # Copied first, in one go: another thread may be counting a new reason. One that has a part's name has it already.
    return {reason if "." in reason else f"{part}.{reason}": count for reason, count in dict(counts).items()}
