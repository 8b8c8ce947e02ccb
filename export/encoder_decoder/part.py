"""One part of an encoder, cut out of it: a step over sequences, or what runs once."""

from __future__ import annotations

from collections.abc import Sequence as Items
from dataclasses import dataclass

import onnx_ir as ir

from edgeseq.parts import called
from export import passes
from export.encoder_decoder import directions
from export.encoder_decoder.split import cut
from export.encoder_decoder.times import Lengths, Times
from export.errors import ExportError
from export.graph import Input, StreamGraph


@dataclass(frozen=True)
class Link:
    """A part's nodes. direction: None for a whole. length: that of its sequences. slides: it looks ahead."""

    nodes: tuple[ir.Node, ...]
    direction: str | None = None
    length: Lengths | None = None
    slides: bool = False


@dataclass(frozen=True)
class Part:
    """A part of an encoder: a step, or a graph that holds all it takes and runs once.

    model: the part as it was cut. gives: what it gives, by the names that this has in the encoder. backwards: it goes
    through its sequences from their ends.
    """

    name: str
    stream: StreamGraph
    model: ir.Model
    gives: tuple[str, ...]
    backwards: bool = False

    @property
    def whole(self) -> bool:
        """Whether it is no step."""
        return not self.stream.frames


def made(name: str, seen: Times, link: Link, given: Items[ir.Value], leaving: Items[ir.Value]) -> Part:
    """Cut a part out. given: what it takes; leaving: what it gives. Raises ExportError where it is no step."""
    frames = [value for value in given if link.length is not None and value in seen.lengths]
    held = [value for value in given if value not in frames]
    entering = [str(value.name) for value in (*frames, *held)]
    gives = tuple(str(value.name) for value in leaving)
    model = cut(seen.stream.model, entering, [*gives])
    backwards = link.direction == directions.BACKWARDS
    if backwards:
        directions.turn(model)
    stream = StreamGraph(
        model.clone(), tuple(_frames(seen, value) for value in frames),
        held={str(value.name): seen.examples[value] for value in held},
    )  # fmt: skip
    if link.length is not None:
        passes.rewrite(stream)
        timing = stream.output_timing
        late = timing is not None and (timing.delay or timing.offset)
        if not link.slides and (stream.frames_per_step != 1 or late):
            raise ExportError(f"{called(name)} gives its output late or not at every step.")
        _without_unread(stream)
    return Part(name, stream, model, gives, backwards)


def _frames(seen: Times, value: ir.Value) -> Input:
    """Return a sequence as an input of frames."""
    (source,) = seen.stream.frames
    if value is seen.stream.inputs[0]:
        return source
    axis = seen.stream.time[value]
    shape = (-1 if place == axis else size for place, size in enumerate(seen.examples[value][0].shape))
    return Input(str(value.name), tuple(shape))


def _without_unread(stream: StreamGraph) -> None:
    """Let nothing enter a step that was read for its shape alone, or only is what a state is reset to."""
    unread = [value for value in stream.graph.inputs if not value.uses() and not value.is_graph_output()]
    stream.frames = tuple(entry for entry in stream.frames if entry.name not in {value.name for value in unread})
    taken = {state.input for state in stream.states}
    stream.graph.inputs[:] = [value for value in stream.graph.inputs if value not in unread or value in taken]
