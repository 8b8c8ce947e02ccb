"""A quantized Program with ops on integers swapped for float: what the tests of integers have to notice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.program import Array, Op, Program


def floated(program: Program, kind: str) -> Program:
    """Swap every op of a kind on integers for dequantize, the same op on real values, quantize."""
    changed = replace(program, ops=[], shapes=dict(program.shapes))
    real: dict[str, str] = {}
    for op in program.ops:
        if op.kind != kind or op.output not in program.types:
            changed.ops.append(op)
            continue
        for name in op.inputs:
            if name not in real:
                real[name] = changed.emit(Op("Dequantize", f"{name}.real", (name,), op.node), changed.shapes[name])
        inner = replace(
            op, output=f"{op.output}.real", inputs=tuple(real[name] for name in op.inputs), arrays=_real(op, program)
        )
        changed.emit(inner, changed.shapes[op.output])
        changed.emit(Op("Quantize", op.output, (inner.output,), op.node), changed.shapes[op.output])
    assert len(changed.ops) > len(program.ops), f"the program has no {kind} on integers"
    return changed


def _real(op: Op, program: Program) -> dict[str, Array]:
    """Return the real weight and bias that a product's integers stand for."""
    if not op.arrays:
        return {}
    weight, scale = op.arrays["weight"], op.arrays["scale"]
    stretched = scale.reshape(-1, *(1,) * (weight.ndim - 1))
    found = {"weight": weight * stretched, "bias": op.arrays["bias"] * scale * program.types[op.inputs[0]].scale}
    return {key: array.astype(np.float32) for key, array in found.items()}
