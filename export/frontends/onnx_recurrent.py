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
        return ACTIVATIONS[self.name](np.clip(x, -self.limit, self.limit), self.alpha, self.beta)


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
        _sequence_lens: object = None,
        *given: Array | None,
        **attributes: Any,
    ) -> tuple[Array, ...]:
        """Run all directions. The sequence lengths are those of the whole, see lengths.py."""
        layout = attributes.get("layout") or 0
        x = np.swapaxes(x, 0, 1) if layout else x
        directions, _, hidden = r.shape
        initial = [*given[: self.states], *(None,) * (self.states - len(given))]
        peephole = given[self.states] if len(given) > self.states else None
        ys, lasts = [], []
        for place in range(directions):
            back = place == 1 or attributes.get("direction") == "reverse"
            start = [
                np.zeros((x.shape[1], hidden), x.dtype) if h is None else (np.swapaxes(h, 0, 1) if layout else h)[place]
                for h in initial
            ]
            bias = np.zeros(2 * w.shape[1], x.dtype) if b is None else b[place]
            weights = w[place], r[place], bias, None if peephole is None else peephole[place]
            rows, last = [], start
            for frame in x[::-1] if back else x:
                last = self.step(frame, last, weights, self._functions(place, attributes), attributes)
                rows.append(last[0])
            ys.append(np.stack(rows[::-1] if back else rows))
            lasts.append(last)
        results = [np.stack(ys, axis=1), *(np.stack(states) for states in zip(*lasts, strict=True))]
        if layout:
            results = [np.transpose(results[0], (2, 0, 1, 3)), *(np.swapaxes(h, 0, 1) for h in results[1:])]
        return tuple(result.astype(x.dtype) for result in results[: len(self.onnx_node.output)])

    def _functions(self, place: int, attributes: dict[str, Any]) -> list[Activation]:
        names = DEFAULTS[self.op_type]
        count = len(names)
        names = list(attributes.get("activations") or names * 2)[place * count : (place + 1) * count]
        clip = attributes.get("clip") or np.inf
        alphas, betas = (list(attributes.get(f"activation_{which}") or []) for which in ("alpha", "beta"))
        # The lists hold values for those functions alone that take one, in order.
        functions: list[Activation] = []
        for name in names:
            alpha = alphas.pop(0) if name in ALPHA and alphas else ALPHA.get(name, 0.0)
            beta = betas.pop(0) if name in BETA and betas else BETA.get(name, 0.0)
            limit = np.inf if len(functions) == 2 else clip  # noqa: PLR2004 - the LSTM's third, on the cell
            functions.append(_Function(name, alpha, beta, limit))
        return functions

    def step(self, x: Array, state: list[Array], weights: Any, functions: Any, attributes: Any) -> list[Array]:
        """Return the next state."""
        raise NotImplementedError


class RNN(_Recurrent):
    """h = f(W x + R h + b)."""

    def step(self, x: Array, state: list[Array], weights: Any, functions: Any, attributes: Any) -> list[Array]:  # noqa: ARG002
        """Return the next state."""
        w, r, b, _ = weights
        bx, bh = np.split(b, 2)
        return [functions[0](x @ w.T + state[0] @ r.T + bx + bh)]


class GRU(_Recurrent):
    """Gates z, r, h."""

    def step(self, x: Array, state: list[Array], weights: Any, functions: Any, attributes: Any) -> list[Array]:
        """Return the next state."""
        w, r, b, _ = weights
        (h,), (f, g) = state, functions
        bx, bh = np.split(b, 2)
        xz, xr, xn = np.split(x @ w.T + bx, 3, -1)
        rz, rr, rn = np.split(r, 3)
        hz, hr, hn = np.split(bh, 3)
        z, reset = f(xz + h @ rz.T + hz), f(xr + h @ rr.T + hr)
        after = attributes.get("linear_before_reset")
        inner = reset * (h @ rn.T + hn) if after else (reset * h) @ rn.T + hn
        return [(1 - z) * g(xn + inner) + z * h]


class LSTM(_Recurrent):
    """Gates i, o, f, c; peepholes i, o, f."""

    states = 2

    def step(self, x: Array, state: list[Array], weights: Any, functions: Any, attributes: Any) -> list[Array]:  # noqa: ARG002
        """Return the next states."""
        w, r, b, p = weights
        (h, c), (f, g, out) = state, functions
        bx, bh = np.split(b, 2)
        i, o, forget, cell = np.split(x @ w.T + h @ r.T + bx + bh, 4, -1)
        pi, po, pf = np.split(np.zeros(3 * c.shape[-1]) if p is None else p, 3)
        after = f(forget + pf * c) * c + f(i + pi * c) * g(cell)
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
