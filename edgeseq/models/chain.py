"""Stages one after another as a step model: what a model without a bundle is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from edgeseq.models.stepping import Stepping
from edgeseq.types import Frames, Shape, Stage, State

SOURCE = "source"
"""The name under which stages take the source's samples."""
Place = tuple[str, str]
"""A stage's name and the name of one of its outputs; (SOURCE, "") for the source."""


@dataclass(frozen=True, slots=True)
class Link:
    """A stage in its place. takes: where the value of each of its inputs comes from, always from before it."""

    name: str
    stage: Stage
    takes: Mapping[str, Place]


class Chain(Stepping):
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
        super().__init__(frames_per_step=hop, features=channels, outputs=int(np.prod(shape)), delay=delay)
        self.links = tuple(links)
        self.backend = backend
        self.signal = signal
        self._result, self._shape = result, shape
        self.reset()

    def flush(self) -> Frames:
        """Give the outputs that the sequence, ending here, still owes, with zeros after its end; the state stays."""
        waiting = len(self._waiting)
        unfinished = self.signal and waiting > 0
        owed = self._owed(self._steps + unfinished)
        if unfinished and len(owed):
            owed[-1, waiting:] = np.nan
        return owed

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

    def _initial(self) -> list[State]:
        return [link.stage.initial() for link in self.links]

    def _named(self, state: list[State]) -> State:
        return {
            f"{link.name}.{name}": value
            for link, held in zip(self.links, state, strict=True)
            for name, value in held.items()
        }

    def _ordered(self, state: State) -> list[State]:
        return [{name: state[f"{link.name}.{name}"] for name in link.stage.initial()} for link in self.links]

    def _compute(self, x: Frames) -> Frames:
        samples = np.asarray(x, np.float32).reshape(self.frames_per_step, self.features)
        values: dict[Place, Frames] = {(SOURCE, ""): samples}
        following = []
        for link, held in zip(self.links, self._state, strict=True):
            outputs, state = link.stage.step({key: values[place] for key, place in link.takes.items()}, held)
            following.append(dict(state))
            for name, value in outputs.items():
                values[link.name, name] = value
        self._state = following
        return np.array(values[self._result], np.float32).reshape(self.outputs)


def written(place: Place) -> str:
    """Return a place as the configuration writes it: stage.output."""
    return ".".join(filter(None, place))
