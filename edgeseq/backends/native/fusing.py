"""Elementwise operations that follow one another, joined into one where a kernel computes them in one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from edgeseq.backends.native.program import Description, Op

Form = tuple[Any, ...]
FORMS: dict[str, Form] = {
    "GatedTanh": ("Tanh", ("Add", "a", ("Mul", "b", "c"))),
    "SumTanh": ("Tanh", ("Add", "a", "b")),
    "SumSigmoid": ("Sigmoid", ("Add", "a", "b")),
    "Mixed": ("Add", "a", ("Mul", "b", ("Sub", "c", "a"))),
    "Carried": ("Add", ("Mul", "a", "b"), ("Mul", "c", "d")),
    "Shown": ("Mul", "a", ("Tanh", "b")),
}
"""Kind -> the operations it stands for, over operands by letter: the first that fits is taken."""
EITHER_WAY = {"Add", "Mul"}


def fused(told: Description) -> list[Op]:
    """Return a program's operations, joined where all that lies between is real, of one shape, and read once."""
    return _Fuser(told).ops()


class _Fuser:
    def __init__(self, told: Description) -> None:
        self.told = told
        self.made = {op.output: op for op in told.ops}
        self.reads = Counter(name for op in told.ops for name in op.inputs)
        self.reads.update([*told.outputs, *(state.output for state in told.states)])

    def ops(self) -> list[Op]:
        gone: set[str] = set()
        kept: list[Op] = []
        for op in reversed(self.told.ops):
            if op.output in gone:
                continue
            joined, inner = self._joined(op) or (op, set())
            gone |= inner
            kept.append(joined)
        return kept[::-1]

    def _joined(self, op: Op) -> tuple[Op, set[str]] | None:
        if op.kind not in {form[0] for form in FORMS.values()} or not self._plain(op.output):
            return None
        for kind, form in FORMS.items():
            found = self._match(op.output, form, {}, frozenset())
            if found is not None:
                letters, inner = found
                inputs = [letters[letter] for letter in sorted(letters)]
                if all(self._plain(name) for name in inputs):
                    return Op(kind=kind, output=op.output, inputs=inputs, node=op.node), set(inner) - {op.output}
        return None

    def _match(
        self, name: str, form: Form | str, letters: dict[str, str], inner: frozenset[str]
    ) -> tuple[dict[str, str], frozenset[str]] | None:
        """Fit a form to what makes a tensor; return which tensors the letters stand for, and what lies within."""
        if isinstance(form, str):
            return ({**letters, form: name}, inner) if letters.get(form, name) == name else None
        op = self.made.get(name)
        if op is None or op.kind != form[0] or not self._plain(name) or (inner and self.reads[name] != 1):
            return None
        orders: Sequence[Sequence[str]] = [op.inputs]
        if op.kind in EITHER_WAY:
            orders = [op.inputs, op.inputs[::-1]]
        for order in orders:
            found: tuple[dict[str, str], frozenset[str]] | None = (letters, inner | {name})
            # What is made of operations is fitted first: a letter fits anything.
            for part, source in sorted(zip(form[1:], order, strict=True), key=lambda pair: isinstance(pair[0], str)):
                found = None if found is None else self._match(source, part, *found)
            if found is not None:
                return found
        return None

    def _plain(self, name: str) -> bool:
        """Say whether a tensor is real."""
        tensor = self.told.tensors.get(name)
        return tensor is not None and tensor.dtype == "float32" and tensor.scale is None
