"""How each kind of operation becomes views and rows: one file a family, a table of kinds in each.

A rule takes the plan, the operation and its inputs, [streams or 1, *shape], and returns its output.
"""

from __future__ import annotations

from edgeseq.backends.native.program import Tensor
from edgeseq.backends.native.rules import (
    cells,
    convolution,
    elementwise,
    fused,
    integers,
    matrices,
    moving,
    products,
    rows,
    sizes,
)
from edgeseq.backends.native.rules.rule import Rule

REAL: dict[str, Rule] = {
    **products.RULES,
    **convolution.RULES,
    **matrices.RULES,
    **moving.RULES,
    **elementwise.RULES,
    **rows.RULES,
    **sizes.RULES,
    **fused.RULES,
    **cells.RULES,
}


def rule(kind: str, stored: Tensor) -> Rule | None:
    """Return the rule of a kind of operation whose output is stored so; None where the engine has none."""
    quantized = stored.scale is not None or kind == "Dequantize"
    return integers.RULES[kind] if quantized and kind in integers.RULES else REAL.get(kind)
