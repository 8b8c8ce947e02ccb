"""A GRU's operations, put together into one where they are what the GRU operator means.

Its product with the inputs stays an operation of its own, which many steps can have computed ahead (ahead.py); where
they have not, the cell computes it on the way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edgeseq.backends.native.program import Description, Op


def cells(ops: Sequence[Op], told: Description) -> list[Op]:
    """Return operations with GRUs put together: out = n + z (h - n), n = tanh(x + r h), z, r = sigmoid(x + h)."""
    return _Finder(ops, told).ops()


class _Finder:
    def __init__(self, ops: Sequence[Op], told: Description) -> None:
        self.all, self.told = ops, told
        self.made = {op.output: op for op in ops}
        self.reads = Counter(name for op in ops for name in op.inputs)
        self.reads.update([*told.outputs, *(state.output for state in told.states)])

    def ops(self) -> list[Op]:
        instead: dict[str, Op | None] = {}
        for op in self.all:
            found = self._found(op) if op.kind == "Mixed" else None
            if found is not None and not found.keys() & instead.keys():
                instead |= found
        replaced = (instead.get(op.output, op) for op in self.all)
        return [op for op in replaced if op is not None]

    def _found(self, out: Op) -> dict[str, Op | None] | None:
        """Return what stands in place of operations, by their outputs; None where an operation ends no GRU."""
        new, z, mixed = out.inputs
        tanh = self._of(new, "GatedTanh")
        if tanh is None:
            return None
        inputs_n, r, state_n = (self._part(name) for name in tanh.inputs)
        part_z = self._part(z)
        if inputs_n is None or state_n is None or r is None or part_z is None or r[0] != part_z[0]:
            return None
        gates = self._of(r[0], "SumSigmoid", 2)
        sums = [self._part(name) for name in gates.inputs] if gates is not None else []
        if gates is None or any(part is None for part in sums):
            return None
        by_source = {part[0]: part[1] for part in sums if part is not None}
        x, h = self._of(inputs_n[0], "Linear", 2), self._of(state_n[0], "Linear", 2)
        if x is None or h is None or {*by_source} != {x.output, h.output} or x is h:
            return None
        units = self.told.tensors[out.output].shape[-1]
        whole, halves = (0, 2 * units), [(0, units), (units, 2 * units)]
        fits = {*by_source.values()} == {whole} and sorted((part_z[1], r[1])) == halves
        last = (2 * units, 3 * units)
        if not fits or (inputs_n[1], state_n[1]) != (last, last) or not all(map(self._plain, (x, h))):
            return None
        order: list[int | float] = [0, 1, 2] if part_z[1] == halves[0] else [1, 0, 2]
        gone = [h.output, new, z, gates.output, *tanh.inputs, *gates.inputs]
        first = Op(kind="GruInputs", output=x.output, inputs=x.inputs, attributes={"order": order}, arrays=x.arrays)
        cell = Op(
            kind="Gru", output=out.output, inputs=[x.output, h.inputs[0], mixed], node=out.node,
            attributes={"order": order}, arrays=h.arrays,
        )  # fmt: skip
        return {**dict.fromkeys(gone), x.output: first, out.output: cell}

    def _of(self, name: str, kind: str, reads: int = 1) -> Op | None:
        """Return the operation of a kind that makes a tensor, if so many others read it and nobody else."""
        op = self.made.get(name)
        return op if op is not None and op.kind == kind and self.reads[name] == reads else None

    def _part(self, name: str) -> tuple[str, tuple[int, int]] | None:
        """Return which columns of which tensor another is, if it is read once."""
        op = self._of(name, "Slice")
        if op is None:
            return None
        starts, ends, steps = (op.attributes[key] for key in ("starts", "ends", "steps"))
        if not isinstance(starts, list) or not isinstance(ends, list) or steps != [1] * len(starts):
            return None
        before = [0] * (len(starts) - 1), self.told.tensors[op.inputs[0]].shape[:-1]
        return (op.inputs[0], (int(starts[-1]), int(ends[-1]))) if (starts[:-1], ends[:-1]) == before else None

    def _plain(self, op: Op) -> bool:
        """Say whether a product is one of real numbers and nothing else."""
        tensors = [self.told.tensors.get(name) for name in (*op.inputs, op.output)]
        real = all(tensor is not None and tensor.dtype == "float32" and tensor.scale is None for tensor in tensors)
        return real and not op.attributes.get("relu")
