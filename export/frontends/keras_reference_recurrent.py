"""Keras' recurrent layers in NumPy: gates in Keras' order, one step after the other.

Source: keras.layers' documentation (Keras 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.frontends.keras_reference_activations import Floats, Function, function

Config = Mapping[str, Any]
Weights = list[Floats]
Step = Callable[..., list[Floats]]


@dataclass
class Ran:
    """A recurrent layer's last run: what it read, the states after it, and what it gave."""

    read: Floats
    state: list[Floats]
    outputs: list[Floats]


def _recurrent(step: Step, states: int) -> Callable[..., Floats]:
    def run(config: Config, weights: Weights, x: Floats, memory: dict[np.dtype[Any], Ran]) -> Floats:
        kernel, recurrent = weights[:2]
        bias = weights[2] if config["use_bias"] else np.zeros(kernel.shape[1], x.dtype)
        inner, gate = function(config["activation"]), function(config.get("recurrent_activation"))
        # Where the reset gate works on what comes out of the recurrent kernel, that has a bias of its own.
        own = bias[1] if bias.ndim == 2 else None  # noqa: PLR2004 - [input's, recurrent]
        # A stream is held against prefixes of one sequence, each longer than the last: go on where that one ended.
        ran = memory.get(x.dtype)
        if ran is None or len(ran.read[0]) > len(x[0]) or not np.array_equal(ran.read, x[:, : len(ran.read[0])]):
            ran = Ran(x[:, :0], [np.zeros((1, config["units"]), x.dtype)] * states, [])
        state, outputs = ran.state, list(ran.outputs)
        entering = x[:, len(outputs) :] @ kernel + (bias if own is None else bias[0])
        for t in range(entering.shape[1]):
            state = step(entering[:, t], state, recurrent, own, inner, gate, after=bool(config.get("reset_after")))
            outputs.append(state[0])
        memory[x.dtype] = Ran(x, state, outputs)
        return np.stack(outputs, axis=1) if config["return_sequences"] else outputs[-1]

    return run


def _rnn_step(
    x: Floats, state: list[Floats], kernel: Floats, _: Floats | None, inner: Function, __: Function, *, after: bool
) -> list[Floats]:
    """Return h = f(x W + h U + b)."""
    del after
    return [inner(x + state[0] @ kernel)]


def _gru_step(  # noqa: PLR0917 - what a cell is made of
    x: Floats, state: list[Floats], kernel: Floats, bias: Floats | None, inner: Function, gate: Function, *, after: bool
) -> list[Floats]:
    """Return h = z h + (1 - z) f(x Wh + r (h Uh + bh)); without reset_after f(x Wh + (r h) Uh)."""
    (h,) = state
    n = h.shape[1]
    if after:
        inside = h @ kernel if bias is None else h @ kernel + bias
        both = gate(x[:, : 2 * n] + inside[:, : 2 * n])
        z, r = both[:, :n], both[:, n:]
        new = inner(x[:, 2 * n :] + r * inside[:, 2 * n :])
    else:
        both = gate(x[:, : 2 * n] + h @ kernel[:, : 2 * n])
        z, r = both[:, :n], both[:, n:]
        new = inner(x[:, 2 * n :] + (r * h) @ kernel[:, 2 * n :])
    return [z * h + (1 - z) * new]


def _lstm_step(
    x: Floats, state: list[Floats], kernel: Floats, _: Floats | None, inner: Function, gate: Function, *, after: bool
) -> list[Floats]:
    """Return h = o f(c) and c = f c + i f(x Wc + h Uc + bc). Gates stand in the order i, f, c, o."""
    del after
    h, c = state
    n = h.shape[1]
    total = x + h @ kernel
    both = gate(total[:, : 2 * n])
    c = both[:, n:] * c + both[:, :n] * inner(total[:, 2 * n : 3 * n])
    return [gate(total[:, 3 * n :]) * inner(c), c]


RECURRENT: dict[str, Callable[..., Floats]] = {
    "SimpleRNN": _recurrent(_rnn_step, 1),
    "GRU": _recurrent(_gru_step, 1),
    "LSTM": _recurrent(_lstm_step, 2),
}
