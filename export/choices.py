"""What a stream makes of a model that was trained on windows: the user chooses, and each choice has its reference.

- stream: the model gives an output at every step and its time axis is free: nothing to choose.
- carry: the state goes on for ever. Reference: the model over all frames from the start, its time axis set free.
- window N: the whole model over the last N frames at every step. Reference: the untouched original on each window.
- restart N: the same function from N states restarted in turn, at the cost of a batch of N.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from export import passes
from export.errors import OptionError
from export.frontends.sequence import Sequence
from export.graph import StreamGraph
from export.passes import restart, window

Frames = NDArray[np.float32]
SAMPLES = 50
"""Places on the calibration frames at which the choices are compared."""


@dataclass(frozen=True)
class Choice:
    """One of the four, and the window's length for the last two."""

    kind: Literal["stream", "carry", "window", "restart"]
    length: int = 0

    def rewrite(
        self, sequence: Sequence, attention_window: int | None = None, max_steps: int | None = None
    ) -> StreamGraph:
        """Return the step graph. Raises ExportError naming the node that cannot stream."""
        for name, value in (("--attention-window", attention_window), ("--max-steps", max_steps)):
            if value is not None and value < 1:
                raise OptionError(f"{name} must be at least 1, not {value}.")
            if value is not None and self.kind in ("window", "restart"):
                raise OptionError(f"--{self.kind} and {name} exclude each other: a whole window has its own end.")
        stream = StreamGraph(ir.from_proto(sequence.model), sequence.inputs)
        if self.length % sequence.groups:
            raise OptionError(
                f"--{self.kind} {self.length}: the model takes frames in groups of {sequence.groups}; choose a "
                "multiple."
            )
        if self.kind == "window":
            return window.rewrite(stream, self.length, sequence.times_of_outputs)
        if self.kind == "restart":
            return restart.rewrite(stream, self.length)
        stream.attention_window, stream.max_steps = attention_window, max_steps
        passes.rewrite(stream)
        if attention_window is not None and not stream.windows:
            raise OptionError("--attention-window narrows attention; this model has none.")
        if max_steps is not None and not stream.limited:
            stream.notes.append("--max-steps was not needed: the stream may go on for ever")
        return stream

    def notes(self) -> list[str]:
        """Return what the user must know of it."""
        if self.kind == "carry":
            return ["the state is carried on for ever; trained on windows, the model is not the function as trained"]
        if self.kind in ("window", "restart"):
            return [
                f"every output is that of the last {self.length} frames from a zero state, as trained ({self.kind})"
            ]
        return []


def choose(
    sequence: Sequence, frames: Items[Frames], state: str | None, window_length: int | None, restart_length: int | None
) -> Choice:
    """Return the user's choice. Raises ExportError where one is needed and none is made, with what hangs on it."""
    asked = {"--state": state, "--window": window_length, "--restart": restart_length}
    given = [name for name, value in asked.items() if value is not None]
    if len(given) > 1:
        raise OptionError(f"{' and '.join(given)} exclude each other: choose one.")
    if sequence.fixed is not None and (window_length is None or window_length != sequence.window):
        works = f"What works: --window {sequence.window}, whole windows of its own length."
        raise OptionError(f"{sequence.fixed} {works}{_taken(sequence)}")
    for length, name in ((window_length, "window"), (restart_length, "restart")):
        if length is not None:
            if length < 1:
                raise OptionError(f"--{name} must be at least 1 frame, not {length}.")
            return Choice("window" if name == "window" else "restart", length)
    if sequence.window is None and sequence.every_step:
        return Choice("stream")
    if state == "carry":
        return Choice("carry")
    raise OptionError(_what_hangs_on_it(sequence, frames))


def exclude(what: str, **options: object) -> None:
    """Raise OptionError for options that do not go with a kind of model."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise OptionError(f"{' and '.join(given)} cannot be used for {what}.")


def _what_hangs_on_it(sequence: Sequence, frames: Items[Frames]) -> str:
    """Say why a choice is needed and, where the window is known, how far the choices lie apart."""
    if sequence.window == 1:
        return (
            f"{sequence.origin}: takes one frame at a time, so it is a step already, of which nothing is remembered "
            "here. Where its states are inputs and outputs, edgeseq runs the file as it is, without an export: "
            "[[model]] in the configuration (docs/operator.md, Models by others). If each output hangs on its own "
            f"frame alone, --state carry exports it.{_taken(sequence)}"
        )
    told = (
        f"was built for windows of {sequence.window} frames" if sequence.window else "gives its last step's output only"
    )
    text = (
        f"{sequence.origin}: {told}, so it was probably trained from a zero state each time. Carried on from step to "
        "step it is another function. Choose: --state carry (the state goes on for ever), --window N (the whole window "
        "again at every frame) or --restart N (the same as --window N from N states restarted in turn, for recurrent "
        f"models).{_taken(sequence)}"
    )
    if sequence.window is None:
        return text
    apart, spread = _apart(sequence, frames, sequence.window)
    return (
        f"{text} On the calibration frames, carried on and windows of {sequence.window} lie {apart:.3g} apart on "
        f"average, where the output's standard deviation is {spread:.3g}."
    )


def _taken(sequence: Sequence) -> str:
    """Say which axis was taken for time where that was a guess, for a wrong one explains much."""
    return "".join(f" ({note[:1].upper()}{note[1:]}.)" for note in sequence.notes if note.startswith("time was taken"))


def _apart(sequence: Sequence, frames: Items[Frames], length: int) -> tuple[float, float]:
    """Return the mean distance between the carried and the windowed outputs, and the windowed ones' spread."""
    longest = max(frames, key=len)
    ends = np.unique(np.linspace(min(length, len(longest)), len(longest), SAMPLES).astype(int))
    carried = np.array([sequence.outputs(longest[:end], sequence.single)[-1] for end in ends])
    windows = np.array([sequence.outputs(longest[max(0, end - length) : end], sequence.single)[-1] for end in ends])
    return float(np.abs(carried - windows).mean()), float(windows.std())
