"""Step graph → Program: what ONNX says in many ways is said in one, recurrent ops become their equations.

builder.py writes ops and sees to views; products.py, cells.py, moving.py, pointwise.py and composed.py each know some
of ONNX's ops, functions.py those that ONNX itself defines by others; gelu.py finds one op where exporters write five.
lengths.py makes one Program for sources of any length of two, each lowered for one length.
"""

from __future__ import annotations

import onnx_ir as ir

from export.errors import ExportError, NoIntegerForm, node_error
from export.graph import StreamGraph
from export.lowering import cells, composed, functions, gelu, lengths, moving, pointwise, products
from export.lowering.builder import Builder, Rule
from export.program import Program

RULES: dict[str, Rule] = {
    **products.RULES, **cells.RULES, **moving.RULES, **pointwise.RULES, **composed.RULES, **functions.RULES,
}  # fmt: skip


def lower(stream: StreamGraph, *, scaling: bool = True) -> Program:
    """Return the step as a float Program. Raises NoIntegerForm naming the node that has none.

    scaling: whether constant factors may be multiplied into weights; those that are stored smaller would not stay so.
    """
    if not stream.held:
        return _lowered(Builder(stream, scaling=scaling))
    # What grows is known once both were written as if they were all there is.
    first = [_lowered(Builder(stream, example, scaling=scaling)) for example in (0, 1)]
    growing = lengths.growing(*first)
    return lengths.merged(*(_lowered(Builder(stream, example, growing, scaling=scaling)) for example in (0, 1)))


def _lowered(builder: Builder) -> Program:
    try:
        for node in builder.stream.graph:
            _lower(builder, node)
    except ExportError as cause:
        raise NoIntegerForm(str(cause)) from cause
    program = builder.finished()
    products.fuse_relu(program)
    gelu.fuse_gelu(program)
    return program


def _lower(builder: Builder, node: ir.Node) -> None:
    standard = node.domain in {"", "ai.onnx"}
    rule = RULES.get(node.op_type) if standard else None
    if rule is not None:
        rule(builder, node)
        return
    body = functions.body(builder, node) if standard else None
    if body is None:
        raise node_error(str(node.name), node.op_type, "it has no integer form yet; export float32 alone.")
    functions.expand(builder, node, body, _lower)
