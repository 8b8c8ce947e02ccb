"""Fix the time axis to the frames of one step: every shape is then known, and all arithmetic on shapes folds away."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common

from export.graph import Array, StreamGraph, probe
from export.passes import time_axis


def apply(stream: StreamGraph) -> bool:
    """Set one step, fold what depends on no data, and write down every value's shape and type."""
    for frames, value in zip(stream.frames, stream.inputs, strict=True):
        value.shape = ir.Shape(frames.shaped(stream.frames_per_step))
    values = [v for node in stream.graph for v in node.outputs if v.name and (v.uses() or v.is_graph_output())]
    content = probe(stream.model, feeds(stream), values)
    other = probe(stream.model, feeds(stream, 1), values) if stream.held else content
    on_data = time_axis.data_dependent(stream)
    for value in values:
        if str(value.name) not in content:
            continue
        array = content[str(value.name)]
        if value not in on_data and not value.is_graph_output():
            value.replace_all_uses_with(stream.constant(f"{value.name}_folded", array))
        # What lies along a held value's own length has no fixed size.
        dims = zip(array.shape, other[str(value.name)].shape, strict=True)
        value.shape = ir.Shape([a if a == b else None for a, b in dims])
        value.type = ir.TensorType(ir.DataType.from_numpy(array.dtype))
    common.RemoveUnusedNodesPass()(stream.model)
    return True


def feeds(stream: StreamGraph, example: int = 0) -> dict[str, Array]:
    """Return inputs for one step: zero frames, the states at reset, one of the examples of what is held."""
    step: dict[str, Array] = {
        frames.name: np.zeros(frames.shaped(stream.frames_per_step), frames.dtype) for frames in stream.frames
    }
    step.update({str(state.input.name): state.initial for state in stream.states})
    return step | {name: examples[example] for name, examples in stream.held.items()}
