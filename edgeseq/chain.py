"""Stages one after another as a step model: what a model without a bundle is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from edgeseq.errors import ModelError
from edgeseq.types import Frames, Shape, Stage, State

SOURCE = "source"
"""The name under which stages take the source's samples."""
STEPS, WAITING = "steps", "waiting"
"""Names under which get_state gives what no stage holds: steps taken, frames of an unfinished step."""

Place = tuple[str, str]
"""A stage's name and the name of one of its outputs; (SOURCE, "") for the source."""


@dataclass(frozen=True, slots=True)
class Link:
    """A stage in its place. takes: where the value of each of its inputs comes from, always from before it."""

    name: str
    stage: Stage
    takes: Mapping[str, Place]


class Chain:
    """A step model made of opened stages, with their states held here; what `StepModel` says holds.

    result: which output is the model's; its values in order are one output. channels: values a frame. delay: steps by
    which the result lags. signal: the result is hop samples of a signal; then flush also pads a last step that the
    data did not fill, and what lies beyond their end is NaN. Forks share stages: they are stepped by one thread.
    """

    variant = "as it is"
    warm_up = 0
    receptive_field: int | None = None

    def __init__(
        self,
        links: Sequence[Link],
        *,
        backend: str,
        result: Place,
        shape: Shape,
        hop: int,
        channels: int,
        delay: int,
        signal: bool,
    ) -> None:
        self.links = tuple(links)
        self.backend = backend
        self.frames_per_step, self.features = hop, channels
        self.outputs = int(np.prod(shape))
        self.delay, self.signal = delay, signal
        self._result, self._shape = result, shape
        self._state: list[State] = []
        self._steps = 0
        self._waiting: Frames = np.empty((0, channels), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._state = [link.stage.initial() for link in self.links]
        self._steps = 0
        self._waiting = self._waiting[:0]

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take the frames of one step; give float32[outputs], written to `out` where given."""
        shape = (self.features,) if self.frames_per_step == 1 else (self.frames_per_step, self.features)
        if x.shape != shape:
            raise ModelError(f"a step takes frames of shape {shape}, not {x.shape}.")
        if len(self._waiting):
            raise ModelError(f"{len(self._waiting)} frames of an unfinished step wait; finish it with run.")
        y: Frames = self.run(x.reshape(self.frames_per_step, self.features))[0]
        if out is None:
            return y
        out[:] = y
        return out

    def run(self, x: Frames) -> Frames:
        """Take float32[T, features], any T; give float32[steps, outputs]. Equals single steps bit for bit.

        Frames that do not fill a step wait for the next call.
        """
        if x.ndim != 2 or x.shape[1] != self.features:  # noqa: PLR2004 - frames are a matrix
            raise ModelError(f"run takes frames of shape (T, {self.features}), not {x.shape}.")
        if not np.isfinite(x).all():
            raise ModelError("a frame holds NaN or infinity, which the model's state would never forget.")
        frames = np.concatenate([self._waiting, x]) if len(self._waiting) else np.asarray(x, np.float32)
        hop = self.frames_per_step
        count = len(frames) // hop
        y = np.empty((count, self.outputs), np.float32)
        for row in range(count):
            y[row] = self._advance(frames[row * hop : (row + 1) * hop])
        self._waiting = np.array(frames[count * hop :], np.float32)
        return y

    def flush(self) -> Frames:
        """Give the outputs that the sequence, ending here, still owes, with zeros after its end; the state stays."""
        hop, waiting = self.frames_per_step, len(self._waiting)
        kept = self._state, self._steps, self._waiting
        total = self._steps + (1 if self.signal and waiting else 0)
        first = self._steps - self.delay
        padded = np.zeros((hop, self.features), np.float32)
        padded[:waiting] = self._waiting
        rows = []
        for number in range(first, total):
            y = self._advance(padded)
            padded = np.zeros_like(padded)
            if number >= 0:
                rows.append(y)
        self._state, self._steps, self._waiting = kept
        owed = np.array(rows, np.float32).reshape(len(rows), self.outputs)
        if self.signal and waiting and rows:
            owed[-1, waiting:] = np.nan
        return owed

    def get_state(self) -> State:
        """Return a copy of the whole state: each stage's under its name, steps taken, and frames that wait."""
        state = {
            f"{link.name}.{name}": value.copy()
            for link, held in zip(self.links, self._state, strict=True)
            for name, value in held.items()
        }
        return {**state, STEPS: np.array(self._steps, np.int64), WAITING: self._waiting.copy()}

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        held = [{f"{link.name}.{name}": v for name, v in link.stage.initial().items()} for link in self.links]
        expected = {name: value for part in held for name, value in part.items()}
        if set(state) != {*expected, STEPS, WAITING}:
            raise ModelError(f"the state has {sorted(state)}, the model wants {sorted({*expected, STEPS, WAITING})}.")
        for name, value in expected.items():
            if state[name].shape != value.shape or state[name].dtype != value.dtype:
                raise ModelError(
                    f"the state '{name}' is {state[name].dtype}{state[name].shape}, "
                    f"the model wants {value.dtype}{value.shape}."
                )
        waiting = state[WAITING]
        if waiting.ndim != 2 or waiting.shape[1] != self.features or len(waiting) >= self.frames_per_step:  # noqa: PLR2004
            raise ModelError(f"the state's waiting frames have the shape {waiting.shape}.")
        self._state = [
            {name: state[f"{link.name}.{name}"].copy() for name in link.stage.initial()} for link in self.links
        ]
        self._steps = int(state[STEPS])
        self._waiting = np.array(waiting, np.float32)

    def fork(self) -> Self:
        """Return another step model on the same stages, freshly reset."""
        return type(self)(
            self.links,
            backend=self.backend,
            result=self._result,
            shape=self._shape,
            hop=self.frames_per_step,
            channels=self.features,
            delay=self.delay,
            signal=self.signal,
        )

    def words(self) -> list[str]:
        """Return what each stage does, and what it takes, a sentence each."""
        return [
            f"{link.name}: {link.stage.words()}; takes "
            + ", ".join(f"{'' if not key else key + ' from '}{written(place)}" for key, place in link.takes.items())
            for link in self.links
        ]

    def _advance(self, x: Frames) -> Frames:
        """Make one step on checked frames [hop, features]."""
        values: dict[Place, Frames] = {(SOURCE, ""): x}
        following = []
        for link, held in zip(self.links, self._state, strict=True):
            outputs, state = link.stage.step({key: values[place] for key, place in link.takes.items()}, held)
            following.append(dict(state))
            for name, value in outputs.items():
                values[link.name, name] = value
        self._state = following
        self._steps += 1
        if self._steps <= self.delay:
            return np.full(self.outputs, np.nan, np.float32)
        return np.array(values[self._result], np.float32).reshape(self.outputs)


def written(place: Place) -> str:
    """Return a place as the configuration writes it: stage.output."""
    return ".".join(filter(None, place))
