"""Let a rolled model run several sequences side by side, where all else in it does: `--restart` runs copies as a batch.

The states of a loop begin as they were written down, for one sequence. They are spread over as many as come in: along
the first of their axes of size 1, or else the second. It counts only if three sequences at once then give what each
gives alone; otherwise the model stays one for a single sequence.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.graph import Array, Input, session

COPIES = 3
STEPS = 5


def widened(model: onnx.ModelProto, inputs: tuple[Input, ...]) -> onnx.ModelProto:
    """Return the model for any number of sequences, or as it is where that cannot be."""
    batch = 1 - inputs[0].time_axis
    if any(entry.time_axis != inputs[0].time_axis or len(entry.shape) < 2 for entry in inputs):  # noqa: PLR2004 - a batch
        return model
    if inputs[0].time_axis > 1 or any(entry.shape[batch] != 1 for entry in inputs):
        return model
    for choice in range(2):
        wide = _spread(model, inputs[0].name, batch, choice)
        if _equal(model, wide, inputs, batch):
            return wide
    return model


def _spread(model: onnx.ModelProto, source: str, batch: int, choice: int) -> onnx.ModelProto:
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    starts = {tensor.name: tensor for tensor in graph.initializer}
    added = [helper.make_node("Shape", [source], ["batch.count"], "batch.count", start=batch, end=batch + 1)]
    for node in graph.node:
        if node.op_type != "Scan":
            continue
        count = len(node.input) - helper.get_node_attr_value(node, "num_scan_inputs")
        for place, name in enumerate(node.input[:count]):
            dims = list(starts[name].dims)
            ones = [axis for axis, dim in enumerate(dims) if dim == 1]
            if choice >= len(ones):
                continue
            before, after = f"{name}.before", f"{name}.after"
            for part, content in ((before, dims[: ones[choice]]), (after, dims[ones[choice] + 1 :])):
                graph.initializer.append(numpy_helper.from_array(np.array(content, np.int64), part))
            added.append(helper.make_node("Concat", [before, "batch.count", after], [f"{name}.shape"], axis=0))
            added.append(helper.make_node("Expand", [name, f"{name}.shape"], [f"{name}.wide"]))
            node.input[place] = f"{name}.wide"
    nodes = [*added, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return wide


def _equal(model: onnx.ModelProto, wide: onnx.ModelProto, inputs: tuple[Input, ...], batch: int) -> bool:
    """Hold several sequences at once against each of them alone, along whatever axis they come out."""
    rows = [{entry.name: entry.noise(STEPS, seed) for entry in inputs} for seed in range(COPIES)]
    free = onnx.ModelProto()
    free.CopyFrom(wide)
    for value in free.graph.input:
        value.type.tensor_type.shape.dim[batch].dim_param = "batch"
    at_once = {entry.name: np.concatenate([row[entry.name] for row in rows], batch) for entry in inputs}
    try:
        together = session(free).run(None, at_once)
    except Exception:  # noqa: BLE001 - a batch of 1 written into the nodes shows as any kind of failure
        return False
    one = session(model)
    alone: list[list[Array]] = [one.run(None, row) for row in rows]
    for place, given in enumerate(together):
        parts = [each[place] for each in alone]
        axis = next((i for i, (a, b) in enumerate(zip(given.shape, parts[0].shape, strict=True)) if a != b), None)
        if axis is None or parts[0].shape[axis] != 1:
            return False
        expected = np.concatenate(parts, axis)
        if given.shape != expected.shape or not np.allclose(given, expected, rtol=1e-4, atol=1e-5):
            return False
    return True
