"""`--restart N`: N copies of the state, each started from zero at another frame, step side by side as a batch.

The copy that was started N - 1 frames ago has seen exactly the last N frames, so its output is that of the window as
trained, at the cost of one step of a batch of N instead of N steps.

1. Every frame goes to all copies. At step t the copy t mod N is set to the state at reset first.
2. The output is taken from the copy (t + 1) mod N, the oldest. The first N - 1 outputs do not exist.
3. Only recurrent states can be restarted: a model with other memory, or without a batch axis, is refused.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.errors import ExportError
from export.graph import StreamGraph, probe, sizes
from export.passes import align, buffers, clean, convolution, padding, recurrent, single_step, time_axis, timeline
from export.passes.window import whole_window

RANK = 3


def rewrite(stream: StreamGraph, length: int) -> StreamGraph:
    """Turn a sequence graph into the step graph of restarted copies, in place."""
    shape = sizes(stream.input)
    if len(shape) != RANK:
        raise ExportError("--restart needs a model with a batch axis; use --window.")
    batch_axis = 1 - stream.time_axis
    output_axis = _batch_of_output(stream, batch_axis)
    wide: list[int | str] = [*shape]
    wide[batch_axis], wide[stream.time_axis] = length, "time"
    stream.input.shape = ir.Shape(wide)
    passes = (clean, time_axis, timeline, align, padding, convolution)
    for rule in passes:
        rule.apply(stream)
    if stream.states:
        raise ExportError(f"--restart is for recurrent models; this one also has the memory '{stream.states[0].name}'. "
                          "Use --window.")  # fmt: skip
    recurrent.apply(stream)
    copies = list(stream.states)
    first = next(iter(stream.graph))
    now = buffers.emit(
        stream, first, "Mod", [buffers.clock(stream), stream.constant("n", np.array([length], np.int64))]
    )
    phases = stream.constant("phases", np.arange(length, dtype=np.int64).reshape(1, length, 1))
    starting = buffers.emit(stream, first, "Equal", [phases, now])
    for state in copies:
        initial = stream.constant(f"{state.name}.initial", state.initial)
        entering = buffers.emit(stream, first, "Where", [starting, initial, state.input])  # 1
        for node, index in list(state.input.uses()):
            if node is not entering.producer():
                node.replace_input_with(index, entering)
    _one_frame_for_all(stream, first, batch_axis, length)
    following = buffers.emit(
        stream, first, "Add", [buffers.clock(stream), stream.constant("one", np.ones(1, np.int64))]
    )
    oldest = buffers.emit(stream, first, "Mod", [following, stream.constant("n", np.array([length], np.int64))])
    output = stream.outputs[0]
    last = buffers.take(stream, output, output_axis, oldest)  # 2
    stream.graph.outputs[list(stream.graph.outputs).index(output)] = last
    stream.timing = {last: whole_window(length)}
    single_step.apply(stream)
    return stream


def _one_frame_for_all(stream: StreamGraph, first: ir.Node, batch_axis: int, length: int) -> None:
    """Let the step take one frame, and spread it over the batch."""
    old = stream.input
    shape = sizes(old)
    shape[stream.time_axis] = shape[batch_axis] = 1
    frame = ir.Value(name=old.name, shape=ir.Shape(shape), type=old.type)
    stream.graph.inputs[0] = frame
    old.name = None
    shape[batch_axis] = length
    wide = buffers.emit(stream, first, "Expand", [frame, stream.constant("wide", np.array(shape, np.int64))])
    for node, index in list(old.uses()):
        node.replace_input_with(index, wide)


def _batch_of_output(stream: StreamGraph, batch_axis: int) -> int:
    """Find the output's batch axis by running the model on two batch sizes."""
    output, seen = stream.graph.outputs[0], []
    for count in (2, 3):
        shape = sizes(stream.input)
        shape[batch_axis], shape[stream.time_axis] = count, time_axis.LENGTHS[0]
        kept = stream.input.shape
        stream.input.shape = ir.Shape(shape)
        feeds = {str(stream.input.name): np.zeros(shape, np.float32)}
        try:
            seen.append(probe(stream.model, feeds, [output])[str(output.name)].shape)
        except ExportError as cause:
            raise ExportError(f"--restart runs copies as a batch, but the model's batch is fixed ({cause}). "
                              "Use --window.") from cause  # fmt: skip
        finally:
            stream.input.shape = kept
    grown = [axis for axis, (a, b) in enumerate(zip(*seen, strict=True)) if a != b]
    if len(grown) != 1:
        raise ExportError(f"--restart needs an output with a batch axis; this one's shape is {seen[0]}. Use --window.")
    return grown[0]
