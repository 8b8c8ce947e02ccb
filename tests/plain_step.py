"""A step model in plain NumPy: the reference that pipeline tests compare with, small enough to be seen to be right."""

from typing import Self

import numpy as np

from edgeseq.types import Frames, State


class PlainStep:
    """h = 0.9 h + (sum of the step's frames), y = [h, h ** 2 at the same step], in float32; the row's age is `delay`.

    With delay, row j says what h was at frame j - delay: the first `delay` rows are NaN, and flush gives those owed.
    """

    backend = "plain"
    variant = "float32"
    receptive_field = None

    def __init__(self, features: int, *, frames_per_step: int = 1, delay: int = 0, warm_up: int = 0) -> None:
        self.features = features
        self.frames_per_step = frames_per_step
        self.delay = delay
        self.warm_up = warm_up
        self.calls: list[int] = []
        self.reset()

    def reset(self) -> None:
        self.h = np.float32(0)
        self.waiting: list[Frames] = []
        self.owed = [np.full(2, np.nan, np.float32) for _ in range(self.delay)]

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        y = self.run(np.atleast_2d(x))[0]
        if out is None:
            return y
        out[:] = y
        return out

    def run(self, x: Frames) -> Frames:
        assert x.ndim == 2 and x.shape[1] == self.features and x.dtype == np.float32  # noqa: PT018
        assert np.isfinite(x).all(), "a frame that is not finite reached the model"
        self.calls.append(len(x))
        rows = []
        for frame in x:
            self.waiting.append(frame)
            if len(self.waiting) == self.frames_per_step:
                total = np.sum(np.stack(self.waiting), dtype=np.float32)
                self.waiting = []
                self.h = np.float32(0.9) * self.h + total
                self.owed.append(np.array([self.h, self.h * self.h], np.float32))
                rows.append(self.owed.pop(0))
        return np.array(rows, np.float32).reshape(-1, 2)

    def flush(self) -> Frames:
        rows, self.owed = self.owed, []
        return np.array(rows, np.float32).reshape(-1, 2)

    def get_state(self) -> State:
        return {
            "h": np.array(self.h),
            "waiting": np.array(self.waiting, np.float32).reshape(-1, self.features),
            "owed": np.array(self.owed, np.float32).reshape(-1, 2),
        }

    def set_state(self, state: State) -> None:
        self.h = np.float32(state["h"])
        self.waiting = list(state["waiting"].astype(np.float32))
        self.owed = list(state["owed"].astype(np.float32))

    def fork(self) -> Self:
        return type(self)(self.features, frames_per_step=self.frames_per_step, delay=self.delay, warm_up=self.warm_up)
