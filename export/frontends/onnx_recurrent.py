"""RNN, GRU and LSTM as the ONNX specification has them, for the original in float64.

ONNX's own reference of these ops takes no notice of activations and clip. Equations: ONNX operators RNN-22, GRU-22 and
LSTM-22. What enters an activation is clipped, as onnxruntime does it: in an LSTM the gates, not the cell.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnx.reference.op_run import OpRun

Array = NDArray[np.floating]
Activation = Callable[[Array], Array]

ACTIVATIONS: dict[str, Callable[[Array, float, float], Array]] = {
    "Relu": lambda x, _a, _b: np.maximum(x, 0),
    "Tanh": lambda x, _a, _b: np.tanh(x),
    "Sigmoid": lambda x, _a, _b: 0.5 * (np.tanh(0.5 * x) + 1),
    "Affine": lambda x, a, b: a * x + b,
    "LeakyRelu": lambda x, a, _b: np.where(x < 0, a * x, x),
    "ThresholdedRelu": lambda x, a, _b: np.where(x > a, x, 0),
    "ScaledTanh": lambda x, a, b: a * np.tanh(b * x),
    "HardSigmoid": lambda x, a, b: np.clip(a * x + b, 0, 1),
    "Elu": lambda x, a, _b: np.where(x < 0, a * np.expm1(x), x),
    "Softsign": lambda x, _a, _b: x / (1 + np.abs(x)),
    "Softplus": lambda x, _a, _b: np.logaddexp(0, x),
}
DEFAULTS = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
ALPHA = {"LeakyRelu": 0.01, "HardSigmoid": 0.2, "Elu": 1.0, "ThresholdedRelu": 1.0, "Affine": 1.0, "ScaledTanh": 1.0}
BETA = {"HardSigmoid": 0.5, "ScaledTanh": 1.0}


NEEDED = {"Affine", "ScaledTanh", "ThresholdedRelu"}
"""Activations that have no values of their own in the specification."""


@dataclass(frozen=True)
class _Function:
    """An activation with its values and the limit of what enters it."""

    name: str
    alpha: float
    beta: float
    limit: float

    def __call__(self, x: Array) -> Array:
        limited = x if self.limit == np.inf else np.clip(x, -self.limit, self.limit)
        return ACTIVATIONS[self.name](limited, self.alpha, self.beta)


@dataclass(frozen=True)
class _Cell:
    """One direction of a node: recurrence [gates, hidden, hidden] transposed, its biases [gates, hidden], peepholes."""

    r: Array
    b: Array
    p: Array | None
    functions: list[Activation]
    after: bool


class _Recurrent(OpRun):
    """What the three have in common."""

    op_domain = ""
    states = 1

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        b: Array | None = None,
        sequence_lens: NDArray[np.integer] | None = None,
        *given: Array | None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        """Run all directions. What lies beyond a sequence's length leaves the states alone and gives zeros."""
        layout = attributes.get("layout") or 0
        x = np.swapaxes(x, 0, 1) if layout else x
        directions, rows, hidden = w.shape[0], w.shape[1], r.shape[2]
        initial = [*given[: self.states], *(None,) * (self.states - len(given))]
        peephole = given[self.states] if len(given) > self.states else None
        functions = self._functions(attributes)
        each = len(DEFAULTS[self.op_type])
        ys, lasts = [], []
        for place in range(directions):
            back = place == 1 or attributes.get("direction") == "reverse"
            last = [
                np.zeros((x.shape[1], hidden), x.dtype) if h is None else (np.swapaxes(h, 0, 1) if layout else h)[place]
                for h in initial
            ]
            bias = np.zeros((2, rows), x.dtype) if b is None else b[place].reshape(2, rows)
            cell = _Cell(
                np.swapaxes(r[place].reshape(-1, hidden, hidden), 1, 2),
                bias[1].reshape(-1, hidden),
                None if peephole is None else peephole[place].reshape(3, hidden),
                functions[place * each : (place + 1) * each],
                bool(attributes.get("linear_before_reset")),
            )
            # All that depends on the input alone, at once: [time, gates, batch, hidden].
            entering = np.swapaxes((x @ w[place].T + bias[0]).reshape(*x.shape[:2], -1, hidden), 1, 2)
            y = []
            for t in reversed(range(len(x))) if back else range(len(x)):
                now = self.step(entering[t], last, cell)
                if sequence_lens is None:
                    last = now
                    y.append(last[0])
                    continue
                counts = t < sequence_lens[:, None]
                last = [np.where(counts, new, old) for new, old in zip(now, last, strict=True)]
                y.append(np.where(counts, last[0], 0))
            ys.append(np.stack(y[::-1] if back else y))
            lasts.append(last)
        results = [np.stack(ys, axis=1), *(np.stack(states) for states in zip(*lasts, strict=True))]
        if layout:
            results = [np.transpose(results[0], (2, 0, 1, 3)), *(np.swapaxes(h, 0, 1) for h in results[1:])]
        return tuple(result.astype(x.dtype) for result in results[: len(self.onnx_node.output)])

    def _functions(self, attributes: dict[str, Any]) -> list[Activation]:
        """Return the activations of all directions."""
        default = DEFAULTS[self.op_type]
        names = list(attributes.get("activations") or default * 2)
        clip = attributes.get("clip") or np.inf
        alphas, betas = (list(attributes.get(f"activation_{which}") or []) for which in ("alpha", "beta"))
        # The lists hold values for those functions alone that take one, in order.
        functions: list[Activation] = []
        for place, name in enumerate(names):
            alpha = alphas.pop(0) if name in ALPHA and alphas else ALPHA.get(name, 0.0)
            beta = betas.pop(0) if name in BETA and betas else BETA.get(name, 0.0)
            on_cell = place % len(default) == 2  # noqa: PLR2004 - the LSTM's third
            functions.append(_Function(name, alpha, beta, np.inf if on_cell else clip))
        return functions

    def step(self, x: Array, state: list[Array], cell: _Cell) -> list[Array]:
        """Return the next state. x: what the input brings to each gate [gates, batch, hidden]."""
        raise NotImplementedError


class RNN(_Recurrent):
    """h = f(W x + R h + b)."""

    def step(self, x: Array, state: list[Array], cell: _Cell) -> list[Array]:
        """Return the next state."""
        return [cell.functions[0](x[0] + state[0] @ cell.r[0] + cell.b[0])]


class GRU(_Recurrent):
    """Gates z, r, h."""

    def step(self, x: Array, state: list[Array], cell: _Cell) -> list[Array]:
        """Return the next state."""
        (h,), (f, g) = state, cell.functions
        z, reset = f(x[:2] + h @ cell.r[:2] + cell.b[:2, None])
        inner = reset * (h @ cell.r[2] + cell.b[2]) if cell.after else (reset * h) @ cell.r[2] + cell.b[2]
        return [(1 - z) * g(x[2] + inner) + z * h]


class LSTM(_Recurrent):
    """Gates i, o, f, c; peepholes i, o, f."""

    states = 2

    def step(self, x: Array, state: list[Array], cell: _Cell) -> list[Array]:
        """Return the next states."""
        (h, c), (f, g, out) = state, cell.functions
        gates = x + h @ cell.r + cell.b[:, None]
        if cell.p is None:
            i, o, forget = f(gates[:3])
            after = forget * c + i * g(gates[3])
            return [o * out(after), after]
        i, o, forget, new = gates
        pi, po, pf = cell.p
        after = f(forget + pf * c) * c + f(i + pi * c) * g(new)
        return [f(o + po * after) * out(after), after]


OPS: list[type[OpRun]] = [RNN, GRU, LSTM]


def refusal(node: onnx.NodeProto) -> str | None:
    """Return why a recurrent node cannot be taken, or None."""
    given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if given.get("input_forget"):
        return "coupled input and forget gates are not supported."
    names = [word.decode() for word in given.get("activations", [])]
    directions = 2 if given.get("direction") == b"bidirectional" else 1
    if names and (len(names) != directions * len(DEFAULTS[node.op_type]) or not set(names) <= set(ACTIVATIONS)):
        return f"the activations {names} are not known."
    bare = sorted(set(names) & NEEDED)
    if bare and not (given.get("activation_alpha") and (bare == ["ThresholdedRelu"] or given.get("activation_beta"))):
        return f"the activation {bare[0]} comes without its values (activation_alpha, activation_beta)."
    return None


def time_first(model: onnx.ModelProto) -> None:
    """Rewrite recurrent ops that take the batch first (layout=1), which onnxruntime does not, in place."""
    graph, taken = model.graph, {name for node in model.graph.node for name in (*node.input, *node.output)}

    def moved(node: onnx.NodeProto, base: str, order: list[int], *, entering: bool) -> tuple[str, onnx.NodeProto]:
        name = next(n for i in range(len(taken) + 1) if (n := f"{base}.time_first{i or ''}") not in taken)
        taken.add(name)
        source, target = (base, name) if entering else (name, base)
        return name, helper.make_node("Transpose", [source], [target], f"{node.name}.{name}", perm=order)

    nodes = []
    for node in graph.node:
        layout = next((attribute for attribute in node.attribute if attribute.name == "layout"), None)
        if node.op_type not in DEFAULTS or layout is None or not layout.i:
            nodes.append(node)
            continue
        node.attribute.remove(layout)
        after = []
        for place in (0, 5, 6) if node.op_type == "LSTM" else (0, 5):
            if len(node.input) > place and node.input[place]:
                node.input[place], turned = moved(node, node.input[place], [1, 0, 2], entering=True)
                nodes.append(turned)
        for place, output in enumerate(node.output):
            if output:
                order = [2, 0, 1, 3] if place == 0 else [1, 0, 2]
                node.output[place], turned = moved(node, output, order, entering=False)
                after.append(turned)
        nodes.extend([node, *after])
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(kept)
