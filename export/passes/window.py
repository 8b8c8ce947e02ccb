"""`--window N`: the step keeps the last N frames and runs the whole model over them, as it was trained, at every frame.

1. The frames before the newest are a history of N - 1. The first N - 1 outputs do not exist.
2. A model that gives an output at every step of the window gives that of the newest one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from export.graph import StreamGraph, Timing
from export.passes import branches, buffers, clean, single_step


def rewrite(stream: StreamGraph, length: int, times_of_outputs: Sequence[int | None]) -> StreamGraph:
    """Turn a sequence graph into the step graph that runs whole windows, in place.

    times_of_outputs: the outputs' time axes; None where one has none.
    """
    branches.apply(stream)
    clean.apply(stream)
    first = next(iter(stream.graph))
    for place, (frames, old) in enumerate(zip(stream.frames, stream.inputs, strict=True)):
        newest = ir.Value(name=old.name, shape=ir.Shape(frames.shaped(1)), type=old.type)
        stream.graph.inputs[place] = newest
        nothing = np.zeros(frames.shaped(0), frames.dtype)
        timing = Timing(frames.time_axis)
        name = "window" if place == 0 else f"window{place}"
        whole = buffers.history(stream, first, newest, timing, length - 1, nothing, name)  # 1
        old.name = None
        for node, index in list(old.uses()):
            node.replace_input_with(index, whole)
    for output, axis in zip(stream.outputs, times_of_outputs, strict=True):
        if axis is not None:
            last = buffers.take(stream, output, axis, np.array([-1], np.int64))  # 2
            stream.graph.outputs[list(stream.graph.outputs).index(output)] = last
    stream.timing = dict.fromkeys(stream.outputs, whole_window(length))
    single_step.apply(stream)
    return stream


def whole_window(length: int) -> Timing:
    """Return the timing of an output made of exactly so many frames."""
    return Timing(0, delay=length - 1, first=0, last=length - 1, offset=1 - length)
