"""A step model of several inputs or outputs by their names, as people call it; inside, frames and outputs are rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import Graph
from edgeseq.errors import ModelError
from edgeseq.models.stepping import check_out, numbers
from edgeseq.types import Frames, State, StepModel

Given = Mapping[str, NDArray[np.generic]]


class NamedStep:
    """Takes and gives what a `StepModel` does, with a dict by name where there are several inputs, or outputs.

    Inputs are [features] a step, [frames_per_step, features] where that is above 1, [T, features] for run, all with the
    same times; tokens as int64. Raises ModelError for a name or a shape that the model does not have.
    """

    def __init__(self, model: StepModel, graph: Graph) -> None:
        self._model, self._graph = model, graph
        self._inputs = dict(zip((tensor.name for tensor in graph.inputs), graph.widths, strict=True))
        self._outputs = {tensor.name: int(np.prod(tensor.shape)) for tensor in graph.outputs}
        self.backend, self.variant = model.backend, model.variant
        self.frames_per_step, self.delay = model.frames_per_step, model.delay
        self.warm_up, self.receptive_field = model.warm_up, model.receptive_field

    def reset(self) -> None:
        """Forget everything."""
        self._model.reset()

    def step(self, x: Frames | Given, out: Frames | dict[str, Frames] | None = None) -> Frames | dict[str, Frames]:
        """Take the frames of one step; what they give is written to `out` where given."""
        rows = self._row(x)
        self._check_out(out)
        return self._written(self._parted(self._model.step(rows)), out)

    def run(self, x: Frames | Given) -> Frames | dict[str, Frames]:
        """Take any number of frames; equals single steps bit for bit."""
        return self._parted(self._model.run(self._row(x)))

    def flush(self) -> Frames | dict[str, Frames]:
        """Give the outputs still owed if the sequence ends here."""
        return self._parted(self._model.flush())

    def get_state(self) -> State:
        """Return a copy of everything remembered."""
        return self._model.get_state()

    def set_state(self, state: State) -> None:
        """Take up where `get_state` was called."""
        self._model.set_state(state)

    def fork(self) -> Self:
        """Return another on the same weights, freshly reset."""
        return type(self)(self._model.fork(), self._graph)

    def _row(self, x: Frames | Given) -> Frames:
        """Put the inputs side by side."""
        if not isinstance(x, Mapping):
            if len(self._inputs) > 1:
                raise ModelError(f"the model takes a dict of {', '.join(self._inputs)}.")
            return x
        if set(x) != set(self._inputs):
            raise ModelError(f"the model takes {', '.join(self._inputs)}; given were {', '.join(sorted(x))}.")
        given = {name: numbers(x[name]) for name in self._inputs}
        shapes = {name: each.shape for name, each in given.items()}
        fits = all(shape and shape[-1] == self._inputs[name] for name, shape in shapes.items())
        if not fits or len({shape[:-1] for shape in shapes.values()}) > 1:
            wanted = ", ".join(f"'{name}' [.., {width}]" for name, width in self._inputs.items())
            raise ModelError(f"the model takes {wanted}, all with the same times; given were {shapes}.")
        return np.concatenate([np.asarray(each, np.float32) for each in given.values()], axis=-1)

    def _check_out(self, out: Frames | dict[str, Frames] | None, *streams: int) -> None:
        """Raise ModelError, before anything is computed, for what the outputs cannot be written to."""
        if out is None:
            return
        if len(self._outputs) == 1:
            check_out(out, (*streams, *self._outputs.values()))
            return
        if not isinstance(out, Mapping) or set(out) != set(self._outputs):
            raise ModelError(f"out takes the outputs as a dict of {', '.join(self._outputs)}.")
        for name, size in self._outputs.items():
            check_out(out[name], (*streams, size))

    def _written(
        self, y: Frames | dict[str, Frames], out: Frames | dict[str, Frames] | None
    ) -> Frames | dict[str, Frames]:
        if out is None:
            return y
        if isinstance(y, dict):
            for name, part in y.items():
                out[name][:] = part  # type: ignore[call-overload]
        else:
            out[:] = y  # type: ignore[index]
        return out

    def _parted(self, rows: Frames) -> Frames | dict[str, Frames]:
        if len(self._outputs) == 1:
            return rows
        bounds = np.cumsum(list(self._outputs.values()))[:-1]
        return dict(zip(self._outputs, np.split(rows, bounds, axis=-1), strict=True))


class NamedStreams(NamedStep):
    """The same of many streams: rows of streams, [streams, features] a step, and a mask of those that step."""

    def __init__(self, model: Any, graph: Graph) -> None:
        super().__init__(model, graph)
        self._model: Any
        self.streams = model.streams

    def reset(self, mask: NDArray[np.bool_] | None = None) -> None:
        """Forget everything, of the streams of a mask alone where there is one."""
        self._model.reset(mask)

    def step(
        self,
        x: Frames | Given,
        out: Frames | dict[str, Frames] | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> Frames | dict[str, Frames]:
        """Take the frames of one step of every stream; what they give is written to `out` where given."""
        rows = self._row(x)
        self._check_out(out, self.streams)
        return self._written(self._parted(self._model.step(rows, mask=mask)), out)


def named(model: StepModel, graph: Graph) -> StepModel | NamedStep:
    """Return a step model as its users call it: by names where there are several inputs or outputs."""
    if len(graph.inputs) == len(graph.outputs) == 1:
        return model
    return NamedStreams(model, graph) if hasattr(model, "streams") else NamedStep(model, graph)
