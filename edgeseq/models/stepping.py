"""What every step model does alike, whatever computes the step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ModelError
from edgeseq.types import Frames, State

STEPS, WAITING = "steps", "waiting"
"""Names under which get_state gives what the model itself does not hold: steps taken, frames of an unfinished step."""
LARGEST = float(np.finfo(np.float32).max)


class Stepping(ABC):
    """The frame by frame part of a `StepModel`: frames checked and gathered into steps, states given and taken up.

    A step takes float32[features], or [frames_per_step, features] where that is above 1, and gives float32[outputs];
    the first `delay` outputs do not exist and are NaN. tokens: the features that are tokens (whole numbers, which may
    come as int64) and how many there are of each. Raises ModelError for a wrong shape, for a frame that is not finite
    (it would stay in the state for ever), for a token that there is not, and beyond max_frames from a reset, where the
    model has no position or memory left.
    """

    def __init__(
        self,
        *,
        frames_per_step: int,
        features: int,
        outputs: int,
        delay: int,
        max_frames: int | None = None,
        tokens: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        self.frames_per_step, self.features, self.outputs, self.delay = frames_per_step, features, outputs, delay
        self._max_frames, self._tokens = max_frames, tokens
        self._step_shape = (features,) if frames_per_step == 1 else (frames_per_step, features)
        self._state: list[Any] = []
        self._steps = 0
        self._waiting: Frames = np.empty((0, features), np.float32)

    @abstractmethod
    def _initial(self) -> list[Any]:
        """Return the state at the start, in the order in which _compute holds it; its arrays are never altered."""

    @abstractmethod
    def _named(self, state: list[Any]) -> State:
        """Return such a state's arrays by name."""

    @abstractmethod
    def _ordered(self, state: State) -> list[Any]:
        """Return named arrays as such a state."""

    @abstractmethod
    def _compute(self, x: Frames) -> Frames:
        """Make one step on checked frames: replace self._state, return float32[outputs]."""

    def reset(self) -> None:
        """Forget everything."""
        self._state = self._initial()
        self._steps = 0
        self._waiting = self._waiting[:0]

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take the frames of one step; give float32[outputs], written to `out` where given."""
        x = numbers(x)
        if x.shape != self._step_shape:
            raise ModelError(f"a step takes frames of shape {self._step_shape}, not {x.shape}.")
        if out is not None:
            check_out(out, (self.outputs,))
        self._check_room(1)
        if len(self._waiting):
            raise ModelError(f"{len(self._waiting)} frames of an unfinished step wait; finish it with run.")
        check_content(x, self._tokens)
        y = self._advance(x)
        if out is None:
            return y
        out[:] = y
        return out

    def run(self, x: Frames) -> Frames:
        """Take float32[T, features], any T; give float32[steps, outputs]. Equals single steps bit for bit.

        Frames that do not fill a step wait for the next call. What ends a run before its end, as Ctrl-C, leaves the
        model as it was before.
        """
        x = numbers(x)
        if x.ndim != 2 or x.shape[1] != self.features:  # noqa: PLR2004 - frames are a matrix
            raise ModelError(f"run takes frames of shape (T, {self.features}), not {x.shape}.")
        check_content(x, self._tokens)
        frames = np.concatenate([self._waiting, x]) if len(self._waiting) else x
        per_step = self.frames_per_step
        count = len(frames) // per_step
        self._check_room(count)
        y = np.empty((count, self.outputs), np.float32)
        kept = self._state, self._steps, self._waiting
        try:
            for row in range(count):
                y[row] = self._advance(frames[row * per_step : (row + 1) * per_step])
            self._waiting = np.array(frames[count * per_step :], np.float32)
        except BaseException:
            self._state, self._steps, self._waiting = kept
            raise
        return y

    def get_state(self) -> State:
        """Return a copy of the whole state, by name: the model's own, steps taken, and frames that wait."""
        state: State = {name: value.copy() for name, value in self._named(self._state).items()}
        return {**state, STEPS: np.array(self._steps, np.int64), WAITING: self._waiting.copy()}

    def set_state(self, state: State) -> None:
        """Take up a state that get_state gave. Raises ModelError where names, shapes or types differ."""
        expected = self._named(self._initial())
        check_state(state, expected)
        waiting, steps = state[WAITING], np.asarray(state[STEPS])
        if waiting.ndim != 2 or waiting.shape[1] != self.features or len(waiting) >= self.frames_per_step:  # noqa: PLR2004
            raise ModelError(f"the state's waiting frames have the shape {waiting.shape}.")
        frames: Frames = np.array(waiting, np.float32)
        check_content(frames, self._tokens)
        if steps.shape or steps.dtype.kind not in "iu" or int(steps) < 0:
            raise ModelError(f"the state's count of steps is a whole number from 0 on, not {steps}.")
        self._state = self._ordered({name: state[name].copy() for name in expected})
        self._steps = int(steps)
        self._waiting = frames

    def _owed(self, total: int) -> Frames:
        """Return the outputs of a sequence of `total` steps that have not come yet, with zeros after its end.

        Frames that wait are its last ones. With what came before they are `delay` rows more than the sequence has
        outputs, the first `delay` NaN, however short it is. The stream itself may go on: its state is left as it was.
        """
        kept = self._state, self._steps, self._waiting
        padded = np.zeros((self.frames_per_step, self.features), np.float32)
        padded[: len(self._waiting)] = self._waiting
        rows = []
        for _ in range(self._steps - self.delay, total):
            rows.append(self._advance(padded.reshape(self._step_shape)))
            padded = np.zeros_like(padded)
        self._state, self._steps, self._waiting = kept
        return np.array(rows, np.float32).reshape(len(rows), self.outputs)

    def _check_room(self, steps: int) -> None:
        """Refuse steps beyond the model's end: they would be wrong in silence."""
        if self._max_frames is not None and (self._steps + steps) * self.frames_per_step > self._max_frames:
            raise ModelError(f"the model is made for {self._max_frames} frames from a reset; reset it.")

    def _advance(self, x: Frames) -> Frames:
        """Make one step on checked frames and count it."""
        y = self._compute(x)
        self._steps += 1
        return np.full(self.outputs, np.nan, np.float32) if self._steps <= self.delay else y


def numbers(x: Any) -> NDArray[Any]:
    """Return what was given as an array of real numbers. Raises ModelError where it is none."""
    try:
        given: NDArray[Any] = np.asanyarray(x)
    except ValueError as cause:
        raise ModelError(f"frames are an array of numbers; its rows are not alike: {cause}") from cause
    if given.dtype.kind not in "fiub":
        what = type(x).__name__ if given.dtype.kind == "O" and not isinstance(x, np.ndarray) else given.dtype
        raise ModelError(f"frames are an array of real numbers (float32), not {what}.")
    return given


def check_out(out: Any, shape: tuple[int, ...]) -> None:
    """Raise ModelError for what outputs of a shape cannot be written to, before anything is computed."""
    if not isinstance(out, np.ndarray):
        raise ModelError(f"out takes the outputs as a float32 array of shape {shape}, not {type(out).__name__}.")
    if out.shape != shape or out.dtype.kind != "f" or not out.flags.writeable:
        locked = "" if out.flags.writeable else ", which is read-only"
        raise ModelError(f"out takes outputs of shape {shape} as float32, not {out.dtype}{out.shape}{locked}.")


def check_content(x: Frames, tokens: Mapping[int, int]) -> None:
    """Raise ModelError for frames that are not finite, and for tokens that there are not. tokens: as of Stepping."""
    if not np.isfinite(x).all():
        raise ModelError("a frame holds NaN or infinity, which the model's state would never forget.")
    if x.dtype.kind == "f" and x.dtype.itemsize > 4 and x.size and np.abs(x).max() > LARGEST:  # noqa: PLR2004 - float32's
        raise ModelError(f"a frame holds {np.abs(x).max():g}, beyond what float32 holds; the model computes in that.")
    for column, count in tokens.items():
        given = x[..., column]
        wrong = given[(given != np.rint(given)) | (given < 0) | (given >= count)]
        if wrong.size:
            raise ModelError(f"there is no token {wrong.flat[0]:g}; the model knows those from 0 to {count - 1}.")


def check_state(state: State, expected: State) -> None:
    """Raise ModelError for a state whose names, shapes or types are not these, STEPS and WAITING beside them."""
    wanted = {*expected, STEPS, WAITING}
    if not isinstance(state, Mapping):
        raise ModelError(f"a state is the dict that get_state gave, not {type(state).__name__}.")
    if set(state) != wanted:
        raise ModelError(f"the state has {sorted(state)}, the model wants {sorted(wanted)}.")
    for name, given in state.items():
        if not isinstance(given, np.ndarray):
            raise ModelError(f"the state '{name}' is an array, not {type(given).__name__}.")
    for name, value in expected.items():
        if state[name].shape != value.shape or state[name].dtype != value.dtype:
            raise ModelError(
                f"the state '{name}' is {state[name].dtype}{state[name].shape}, "
                f"the model wants {value.dtype}{value.shape}."
            )
