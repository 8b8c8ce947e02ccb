"""What stands between the quantization points of a Program, and of the ONNX file in its QDQ form.

Such a file says of no op that it works on integers: between what dequantizes and what quantizes stands an op on real
values, and where exactly one that it has a kernel for stands there, the runtime takes all for one op on integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import onnx
from onnx import TensorProto, helper

from export.operations import MOVING
from export.program import Op, Program
from export.writers import onnx as writer

Between = tuple[str, tuple[str, ...], str]
"""The ops between the points, in the order of their names; the types of what enters; that of what is stored."""
Step = tuple[list[str], Iterable[str]] | str | None
"""How a tensor is made: of these ops and those tensors; or it enters with a type; or it is a constant."""


def in_program(program: Program) -> Iterator[Between]:
    """Give what a Program asks for, in ONNX's names. What moves integers takes them as they are."""
    makers = {op.output: op for op in program.ops}

    def made(name: str) -> Step:
        op = makers.get(name)
        if op is not None and op.kind == "Constant":
            return None
        return program.dtype(name) if op is None or name in program.types else (_nodes(program, op), op.inputs)

    for op in program.ops:
        if op.output not in program.types or op.kind == "Constant":
            continue
        dtype = program.dtype(op.output)
        if op.kind in MOVING and (op.kind, dtype) not in writer.OVER_REAL:
            yield f"{op.kind} of integers", (dtype,), dtype
        else:
            yield *_between(made, _nodes(program, op), op.inputs), dtype


def in_onnx(model: onnx.ModelProto) -> Iterator[Between]:
    """Give the same of a file."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    makers, fixed = {node.output[0]: node for node in graph.node}, {entry.name for entry in graph.initializer}
    types = {entry.name: entry.type.tensor_type.elem_type for entry in (*graph.input, *graph.value_info, *graph.output)}

    def dtype(name: str) -> str:
        return "int8" if types[name] == TensorProto.UINT8 else helper.tensor_dtype_to_np_dtype(types[name]).name

    def made(name: str) -> Step:
        node = makers.get(name)
        if name in fixed or (node is not None and node.op_type == "DequantizeLinear" and node.input[0] in fixed):
            return None
        if node is not None and node.op_type == "DequantizeLinear":
            return dtype(node.input[0])
        return dtype(name) if node is None else ([node.op_type], node.input)

    for name, node in makers.items():
        if node.op_type == "QuantizeLinear":
            yield *_between(made, [], node.input[:1]), dtype(name)
        elif node.op_type in MOVING and dtype(name) in {"int8", "int16"}:
            yield f"{node.op_type} of integers", (dtype(name),), dtype(name)


def _between(made: Callable[[str], Step], ops: list[str], names: Iterable[str]) -> tuple[str, tuple[str, ...]]:
    """Follow tensors to where integers or what enters the step begins."""
    found, entering, left, seen = [*ops], set[str](), [*names], set[str]()
    while left:
        name = left.pop()
        step = None if name in seen else made(name)
        seen.add(name)
        if isinstance(step, str):
            entering.add(step)
        elif step is not None:
            found += step[0]
            left += step[1]
    return " ".join(sorted(found)), tuple(sorted(entering))


def _nodes(program: Program, op: Op) -> list[str]:
    """Return the nodes that an op is in ONNX."""
    if op.kind in {"Quantize", "Requantize"}:
        return []
    if op.kind == "Dequantize":
        return [node for node, key in (("Mul", "factor"), ("Add", "offset")) if key in op.arrays]
    if op.kind == "Gelu" and op.attributes["approximate"] == "none":
        return ["Div", "Erf", "Add", "Mul", "Mul"]
    if op.kind not in {"Linear", "Conv"}:
        return [op.kind]
    nodes = ["Gemm" if op.kind == "Linear" else "Conv"]
    if op.attributes.get("relu") and program.dtype(op.output) != "int8":  # there the least integer is its limit
        nodes.append("Relu")
    if op.inputs[0] not in program.types:  # or its weights would be quantized by the runtime
        nodes.append("Max")
    return nodes


def without_a_point(model: onnx.ModelProto, op_type: str) -> onnx.ModelProto:
    """Leave out the point behind the first op of a type whose result is quantized and read: real values go on."""
    makers = {node.output[0]: node for node in model.graph.node}
    for node in model.graph.node:
        stored = makers.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        real = makers.get(stored.input[0]) if stored is not None and stored.op_type == "QuantizeLinear" else None
        if real is not None and real.op_type == op_type:
            changed = onnx.ModelProto.FromString(model.SerializeToString())
            for other in changed.graph.node:
                for place, name in enumerate(other.input):
                    other.input[place] = real.output[0] if name == node.output[0] else name
            return changed
    raise AssertionError(f"the file has no {op_type} with a point behind it")
