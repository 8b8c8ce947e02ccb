"""What a rule is given and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgeseq.backends.native.plan import Array
from edgeseq.backends.native.program import Tensor


@dataclass(frozen=True)
class Given:
    """An operation as a rule sees it. kinds: how its inputs are stored; stored: how its output is."""

    kind: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, Array]
    kinds: tuple[Tensor, ...]
    stored: Tensor


Rule = Callable[..., Array]
"""(Plan, Given, *inputs) -> output. Raises ValueError where the operation is none that can be."""
