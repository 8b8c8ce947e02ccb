"""`--restart N`: N copies of the state, each started from zero at another frame, step side by side as a batch.

The copy that was started N - 1 frames ago has seen exactly the last N frames, so its output is that of the window as
trained, at the cost of one step of a batch of N instead of N steps.

1. Every frame goes to all copies. At step t the copy t mod N is set to the state at reset first.
2. The output is taken from the copy (t + 1) mod N, the oldest. The first N - 1 outputs do not exist.
3. Recurrent states can be restarted, and what runs along of all frames since (mean.py): a model with other memory, or
   without a batch axis, is refused.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx_ir as ir

from export.errors import ExportError
from export.frontends.sequence import batch_axis
from export.graph import Input, State, StreamGraph, probe
from export.lengths import accepted
from export.passes import (
    align,
    attention_pooling,
    branches,
    buffers,
    clean,
    convolution,
    cumulative,
    front,
    joined,
    lengths,
    loops,
    mean,
    padding,
    recurrent,
    scan,
    single_step,
    time_axis,
    timeline,
)
from export.passes.window import whole_window


def rewrite(stream: StreamGraph, length: int) -> StreamGraph:
    """Turn a sequence graph into the step graph of restarted copies, in place."""
    alone = stream.frames
    batches = _batches_of_outputs(stream)
    other = StreamGraph(stream.model.clone(), stream.frames)
    _make_states(other, length + 1)
    _make_states(stream, length)
    copies = list(stream.states)
    first = next(iter(stream.graph))
    now = buffers.emit(
        stream, first, "Mod", [buffers.clock(stream), stream.constant("n", np.array([length], np.int64))]
    )
    for state, wider in zip(copies, other.states, strict=True):
        readers = list(state.input.uses())
        shape = [length if place == _batch(state, wider) else 1 for place in range(state.initial.ndim)]
        phases = stream.constant("phases", np.arange(length, dtype=np.int64).reshape(shape))
        starting = buffers.emit(stream, first, "Equal", [phases, now])
        initial = stream.constant(f"{state.name}.initial", state.initial)
        entering = buffers.chosen(stream, first, starting, initial, state.input)  # 1
        for node, index in readers:
            node.replace_input_with(index, entering)
    stream.frames = alone
    _one_frame_for_all(stream, first, length)
    following = buffers.emit(
        stream, first, "Add", [buffers.clock(stream), stream.constant("one", np.ones(1, np.int64))]
    )
    oldest = buffers.emit(stream, first, "Mod", [following, stream.constant("n", np.array([length], np.int64))])
    for output, axis in zip(stream.outputs, batches, strict=True):
        last = buffers.take(stream, output, axis, oldest)  # 2
        stream.graph.outputs[list(stream.graph.outputs).index(output)] = last
    stream.timing = dict.fromkeys(stream.outputs, whole_window(length))
    single_step.apply(stream)
    return stream


def _make_states(stream: StreamGraph, count: int) -> None:
    """Give the states of so many copies to the graph."""
    _widen(stream, count)
    stream.restarted = True
    for rule in (branches, clean, loops, lengths, time_axis):
        rule.apply(stream)
    if stream.counts or any(cumulative.claims(stream, node) for node in stream.graph):
        raise ExportError("--restart is for recurrent models; this one also reads all of the window. Use --window.")
    for rule in (joined, timeline, align, padding, front, convolution):
        rule.apply(stream)
    if stream.frames_per_step > 1:
        raise ExportError(f"--restart is for models that give something for every frame; this one takes "
                          f"{stream.frames_per_step} a step. Use --window.")  # fmt: skip
    if stream.states:
        raise ExportError(f"--restart is for recurrent models; this one also has the memory '{stream.states[0].name}'. "
                          "Use --window.")  # fmt: skip
    for rule in (recurrent, scan, mean, attention_pooling):
        rule.apply(stream)


def _batch(state: State, wider: State) -> int:
    """Return a state's batch axis: the one along which that of one more copy is greater."""
    shapes = zip(state.initial.shape, wider.initial.shape, strict=True)
    grown = [axis for axis, (a, b) in enumerate(shapes) if a != b]
    if len(grown) != 1:
        raise ExportError(f"--restart runs copies as a batch, but the state '{state.name}' has no batch axis. "
                          "Use --window.")  # fmt: skip
    return grown[0]


def _widen(stream: StreamGraph, count: int) -> None:
    """Give every input so many sequences as its batch."""
    stream.frames = tuple(_wide(frames, count) for frames in stream.frames)
    for frames, value in zip(stream.frames, stream.inputs, strict=True):
        value.shape = ir.Shape(["time" if dim == -1 else dim for dim in frames.shape])


def _wide(frames: Input, count: int) -> Input:
    axis = batch_axis(frames.time_axis)
    plain = 2 if frames.dtype == "int64" else 3  # [batch, time] of tokens, [batch, time, features]
    if len(frames.shape) < plain:
        raise ExportError("--restart needs a model with a batch axis; use --window.")
    return replace(frames, shape=(*frames.shape[:axis], count, *frames.shape[axis + 1 :]))


def _one_frame_for_all(stream: StreamGraph, first: ir.Node, length: int) -> None:
    """Let the step take one frame, and spread it over the batch."""
    for place, (frames, old) in enumerate(zip(stream.frames, stream.inputs, strict=True)):
        frame = ir.Value(name=old.name, shape=ir.Shape(frames.shaped(1)), type=old.type)
        stream.graph.inputs[place] = frame
        old.name = None
        shape = np.array(_wide(frames, length).shaped(1), np.int64)
        wide = buffers.emit(stream, first, "Expand", [frame, stream.constant("wide", shape)])
        for node, index in list(old.uses()):
            node.replace_input_with(index, wide)


def _batches_of_outputs(stream: StreamGraph) -> list[int]:
    """Find each output's batch axis by running the model on two batch sizes."""
    seen, alone, outputs = [], stream.frames, stream.outputs
    for count in (2, 3):
        _widen(stream, count)
        try:
            (length,) = accepted(lambda steps: probe(stream.model, stream.noise(steps), outputs), time_axis.LENGTHS[:1])
            content = probe(stream.model, stream.noise(length), outputs)
        except ExportError as cause:
            raise ExportError(f"--restart runs copies as a batch, but the model's batch is fixed ({cause}). "
                              "Use --window.") from cause  # fmt: skip
        finally:
            stream.frames = alone
        seen.append([content[str(output.name)].shape for output in outputs])
    batches = []
    for few, more in zip(*seen, strict=True):
        grown = [axis for axis, (a, b) in enumerate(zip(few, more, strict=True)) if a != b]
        if len(grown) != 1:
            raise ExportError(f"--restart needs an output with a batch axis; this one's shape is {few}. Use --window.")
        batches.append(grown[0])
    return batches
