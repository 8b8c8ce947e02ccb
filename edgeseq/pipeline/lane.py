"""One stream's own feature chain, model state and decider: chunks in, outputs out."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import SpentError, StateError
from edgeseq.feature_chain import FeatureChain
from edgeseq.gaps import Gap, Gaps, Records
from edgeseq.pipeline.snapshot import LaneState
from edgeseq.states import plain, under
from edgeseq.types import Chunk, Decider, Feature, Frames, Output, StepModel, TimesNs

if TYPE_CHECKING:
    from edgeseq.timing import Timing

FIRST_FRAMES_PER_CALL, MAX_FRAMES_PER_CALL = 64, 1024
"""A longer run of frames is computed in several calls, so that a stop is heard and outputs do not pile up."""
log = logging.getLogger(__package__)
CALL_NS = 100_000_000
"""A call that takes longer is followed by shorter ones: between two the loop turns."""


class _Counts(msgspec.Struct, forbid_unknown_fields=True):
    """What a lane remembers beside its features, model and decider, under the same names."""

    seen: int
    steps: int
    warm: int
    broken: bool
    hole: bool
    began_ns: int | None
    last_ns: int | None
    dropped: dict[str, int]


class Lane:
    """What one stream passes through. The outputs are the same bit for bit however its chunks are split.

    model: a step model of this stream's own, freshly reset. gap_states: names of the states that a gap resets; None
    for all of them, which resets the model as a whole. gaps: which gaps do so; one that is shorter only restarts what
    the decider counts, and the pause of a duty cycle not even that. No feature's window spans any of them.
    columns: which of a chunk's columns the features take. max_frames: how many the model takes from a reset.

    Behind the last of those frames, a model that a gap resets as a whole begins anew as behind such a gap, counted in
    `dropped["max_steps"]`; of any other, `push` raises SpentError.

    A frame that holds NaN or infinity never reaches the model, whose memory it would poison for good: it is dropped,
    counted in `dropped["not_finite_frame"]`, and treated as a gap.
    """

    def __init__(
        self,
        stream: str,
        *,
        features: Sequence[Feature],
        model: StepModel,
        decider: Decider | None,
        gap_states: frozenset[str] | None,
        gaps: Gaps,
        columns: Sequence[int] | None,
        timing: Timing,
        max_frames: int | None = None,
    ) -> None:
        self.stream = stream
        self.decider = decider
        self.frames = 0
        self.dropped: Counter[str] = Counter()
        self._chain = FeatureChain(features, columns)
        self._model = model
        self._gap_states = gap_states
        self._initial = None if not gap_states else model.get_state()
        self._gaps, self._records = gaps, Records(gaps)
        self._broken = self._hole = False
        # What does not fill a step any more could wait in the model, but never be computed.
        self._room = None if max_frames is None else max_frames - max_frames % model.frames_per_step
        self._most = FIRST_FRAMES_PER_CALL
        self._timing = timing
        self._times: deque[int] = deque(maxlen=(model.delay + 1) * model.frames_per_step)
        self._restart()

    @property
    def level(self) -> str:
        """The stream's present level."""
        return self.decider.level if self.decider else "ok"

    @property
    def last_ns(self) -> int | None:
        """The time of the newest sample; None before the first."""
        return self._records.last_ns

    def get_state(self) -> LaneState:
        """Return a copy of everything remembered between two chunks."""
        counts = _Counts(
            seen=self._seen,
            steps=self._steps,
            warm=self._warm,
            broken=self._broken,
            hole=self._hole,
            began_ns=self._records.began_ns,
            last_ns=self._records.last_ns,
            dropped=self.dropped,
        )
        features = {f"features.{name}": value for name, value in self._chain.get_state().items()}
        model = {f"model.{name}": value for name, value in self._model.get_state().items()}
        return LaneState(
            arrays={**features, **model, "times": np.array(self._times, np.int64)},
            counts=msgspec.to_builtins(counts),
            decider=self.decider.get_state() if self.decider else None,
        )

    def set_state(self, state: LaneState) -> None:
        """Take it up. Raises StateError or ModelError for the state of another lane, which leaves this one spoiled."""
        counts = plain(state.counts, _Counts)
        times = state.arrays.get("times", np.empty(0))
        fitting = min(counts.seen, self._times.maxlen or 0), counts.seen // self._model.frames_per_step
        if times.dtype != np.int64 or (len(times), counts.steps) != fitting:
            raise StateError(
                f"a state with the times of {len(times)} frames, {counts.steps} steps, is not this model's."
            )
        if (self.decider is None) != (state.decider is None):
            raise StateError("a state with a decider's is not one without, nor the other way round.")
        self._chain.set_state(under(state.arrays, "features"))
        self._model.set_state(under(state.arrays, "model"))
        if self.decider and state.decider is not None:
            self.decider.set_state(state.decider)
        self._times.clear()
        self._times.extend(times.tolist())
        self._seen, self._steps, self._warm = counts.seen, counts.steps, counts.warm
        self._broken, self._hole = counts.broken, counts.hole
        self._records.began_ns, self._records.last_ns = counts.began_ns, counts.last_ns
        self.dropped = Counter(counts.dropped)

    def push(self, chunk: Chunk) -> Iterator[Output]:
        """Yield the outputs that a chunk completes."""
        self._broken = self._broken or chunk.gap
        if len(chunk.t_ns):
            if self._broken:
                yield from self._gap(self._records.judge(int(chunk.t_ns[0])))
            self._broken = False
            self._records.passed(chunk.t_ns)
        t_ns, values = self._chain.push(chunk)
        if len(t_ns) == 0:
            return
        self.frames += len(values)
        finite: NDArray[np.bool_] = np.asarray(np.isfinite(values).all(axis=1))
        start = 0
        while start < len(values):
            stop = min(start + self._most, len(values))
            if not finite[start]:
                self.dropped["not_finite_frame"] += 1
                self._hole = True
                start += 1
                continue
            if self._hole and self._times:
                yield from self._gap(self._gaps.length(int(t_ns[start]) - self._times[-1]))
            self._hole = False
            holes = np.flatnonzero(~finite[start:stop])
            stop = start + int(holes[0]) if len(holes) else stop
            if self._room is not None:
                if self._seen >= self._room:
                    yield from self._spent()
                stop = min(stop, start + self._room - self._seen)
            yield from self._run(t_ns[start:stop], values[start:stop])
            start = stop

    def flush(self) -> list[Output]:
        """Return the outputs that the model still owes, as right padding gives them."""
        if self._seen == 0:
            return []
        return self._outputs(self._model.flush(), np.empty(0, np.int64), self._steps - self._model.delay)

    def _run(self, t_ns: TimesNs, frames: Frames) -> list[Output]:
        """Return the outputs of consecutive frames. A call over many steps counts each with the call's mean time."""
        per_step, count = self._model.frames_per_step, len(frames)
        steps = (self._seen + count) // per_step - self._seen // per_step
        began = time.perf_counter_ns()
        if count == 1 and per_step == 1:
            rows = np.array(self._model.step(frames[0]), np.float32, ndmin=2)
        else:
            rows = self._model.run(frames)
        took = time.perf_counter_ns() - began
        if took > CALL_NS:
            self._most = max(1, count * CALL_NS // (2 * took))
        elif count == self._most:
            self._most = min(2 * count, MAX_FRAMES_PER_CALL)
        if steps:
            self._timing.record(took // steps, steps)
        self._seen += count
        outputs = self._outputs(rows, t_ns, self._steps - self._model.delay)
        self._steps += len(rows)
        self._times.extend(t_ns.tolist())
        return outputs

    def _outputs(self, rows: Frames, t_ns: TimesNs, first: int) -> list[Output]:
        """Return each row that exists, at the time of its last input frame less the delay.

        t_ns: times of the newest frames; those before them stand in self._times. first: number of the first row's
        output, counted since the last restart; below 0 it does not exist.
        """
        outputs = []
        for number, row in enumerate(rows, start=first):
            self._warm += 1
            if number >= 0:
                # A flush may end in a step that the data did not fill: its output takes the last frame's time.
                back = max(1, self._seen + 1 - (number + 1) * self._model.frames_per_step)
                when = t_ns[-back] if back <= len(t_ns) else self._times[len(t_ns) - back]
                outputs.append(Output(int(when), self.stream, row, warming=self._warm <= self._model.warm_up))
        return outputs

    def _gap(self, gap: Gap) -> Iterator[Output]:
        """Reset what a gap resets: nothing, the named states, or the model as a whole.

        A model that starts anew first gives the outputs it owes: for it, the sequence before the gap has ended.
        """
        if self._seen == 0 or gap is Gap.PAUSE:
            return
        if gap is Gap.SHORT:
            pass
        elif self._gap_states is None:
            yield from self._anew()
        elif self._initial is not None:
            state = self._model.get_state()
            self._model.set_state({**state, **{name: self._initial[name] for name in self._gap_states}})
            self._warm = 0
        if self.decider:
            self.decider.gap()

    def _spent(self) -> Iterator[Output]:
        """Let the model begin anew behind the last frame that it is made for, if it may."""
        if self._gap_states is not None:
            raise SpentError(
                f"stream '{self.stream}': the model is made for {self._room} frames from a reset, and more came "
                "without a gap that resets it. Export it for more (--max-steps), or with gap_limit_s in about.toml's "
                "[stream], so that it may begin anew in the middle of a stream."
            )
        if not self.dropped["max_steps"]:
            log.warning(
                "stream '%s': its model began anew behind the %d frames that it is made for, and does so each time; "
                "counted as model.max_steps.",
                self.stream,
                self._room,
            )
        self.dropped["max_steps"] += 1
        yield from self._anew()
        if self.decider:
            self.decider.gap()

    def _anew(self) -> Iterator[Output]:
        """Give what the model owes, and reset it as a whole."""
        yield from self.flush()
        self._model.reset()
        self._restart()

    def _restart(self) -> None:
        """Count frames and steps from zero, as after the model's reset."""
        self._seen = 0
        self._steps = 0
        self._warm = 0
        self._times.clear()
