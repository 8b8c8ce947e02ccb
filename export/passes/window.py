"""`--window N`: the step keeps the last N frames and runs the whole model over them, as it was trained, at every frame.

1. The frames before the newest are a history of N - 1. The first N - 1 outputs do not exist.
2. A model that gives an output at every step of the window gives that of the newest one.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from export.graph import StreamGraph, Timing, sizes
from export.passes import buffers, clean, single_step


def rewrite(stream: StreamGraph, length: int, time_of_output: int | None) -> StreamGraph:
    """Turn a sequence graph into the step graph that runs whole windows, in place.

    time_of_output: the output's time axis; None where it has none.
    """
    clean.apply(stream)
    old = stream.input
    shape = sizes(old)
    shape[stream.time_axis] = 1
    newest = ir.Value(name=old.name, shape=ir.Shape(shape), type=old.type)
    stream.graph.inputs[0] = newest
    first = next(iter(stream.graph))
    timing = Timing(stream.time_axis)
    nothing = np.zeros([0 if axis == stream.time_axis else dim for axis, dim in enumerate(shape)], np.float32)
    whole = buffers.history(stream, first, newest, timing, length - 1, nothing, "window")  # 1
    old.name = None
    for node, index in list(old.uses()):
        node.replace_input_with(index, whole)
    if time_of_output is not None:
        output = stream.outputs[0]
        last = buffers.take(stream, output, time_of_output, np.array([-1], np.int64))  # 2
        stream.graph.outputs[list(stream.graph.outputs).index(output)] = last
    stream.timing = {stream.outputs[0]: whole_window(length)}
    single_step.apply(stream)
    return stream


def whole_window(length: int) -> Timing:
    """Return the timing of an output made of exactly so many frames."""
    return Timing(0, delay=length - 1, first=0, last=length - 1, offset=1 - length)
