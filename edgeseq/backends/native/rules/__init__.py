"""How each kind of operation becomes views and rows: one file a family, a table of kinds in each.

A rule takes the plan, the operation and its inputs, [streams or 1, *shape], and returns its output.
"""

from __future__ import annotations

from edgeseq.backends.native.rules import convolution, elementwise, matrices, moving, products, rows
from edgeseq.backends.native.rules.rule import Rule

RULES: dict[str, Rule] = {
    **products.RULES,
    **convolution.RULES,
    **matrices.RULES,
    **moving.RULES,
    **elementwise.RULES,
    **rows.RULES,
}
