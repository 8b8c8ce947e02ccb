"""Step graph → Program: what ONNX says in many ways is said in one, recurrent ops become their equations.

builder.py writes ops and sees to views; products.py, cells.py, moving.py and pointwise.py each know some of ONNX's ops.
"""

from __future__ import annotations

from export.errors import ExportError, NoIntegerForm, node_error
from export.graph import StreamGraph
from export.lowering import cells, moving, pointwise, products
from export.lowering.builder import Builder, Rule
from export.program import Program

RULES: dict[str, Rule] = {**products.RULES, **cells.RULES, **moving.RULES, **pointwise.RULES}


def lower(stream: StreamGraph) -> Program:
    """Return the step as a float Program. Raises NoIntegerForm naming the node that has none."""
    builder = Builder(stream)
    try:
        for node in stream.graph:
            rule = RULES.get(node.op_type) if node.domain in {"", "ai.onnx"} else None
            if rule is None:
                raise node_error(str(node.name), node.op_type, "it has no integer form yet; export float32 alone.")
            rule(builder, node)
    except ExportError as cause:
        raise NoIntegerForm(str(cause)) from cause
    program = builder.finished()
    products.fuse_relu(program)
    return program
