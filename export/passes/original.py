"""What the graph held before it was rewritten: values that depend on the length alone are read off runs of it."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common

from export.errors import ExportError
from export.graph import Array, StreamGraph, probe


def content(stream: StreamGraph, value: ir.Value, length: int) -> Array:
    """Return what a value of the original holds in a run of some frames."""
    if stream.original is None or value.name is None:
        raise ExportError(f"'{value.name}' is no value of the original.")
    model = stream.original.clone()
    here = next(v for node in model.graph for v in node.outputs if v.name == value.name)
    model.graph.outputs[:] = [here]
    common.RemoveUnusedNodesPass()(model)
    return probe(model, stream.noise(length), [here])[value.name]
