"""SimpleRNN, GRU and LSTM as ONNX's RNN, GRU and LSTM: the same equations, gates in another order, weights transposed.

Keras' gates: GRU z, r, h; LSTM i, f, c, o. ONNX': GRU z, r, h; LSTM i, o, f, c.
Source: keras.layers' documentation and the ONNX operator specification.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from export.frontends.keras_activations import RECURRENT, name_of
from export.frontends.keras_graph import Call, Graph, Value, over_time

ONNX = {"SimpleRNN": "RNN", "GRU": "GRU", "LSTM": "LSTM"}
GATES = {"SimpleRNN": (0,), "GRU": (0, 1, 2), "LSTM": (0, 3, 1, 2)}
"""Which of Keras' gates stands at each place in ONNX."""


def recurrent(graph: Graph, call: Call, inputs: list[Value | float]) -> Value:
    """Append a recurrent layer: [1, time, features] to [1, time, units], or to [1, units] at its last step."""
    x = over_time(call, inputs)
    _check(call)
    units = int(call.config["units"])
    weight, recurrence, bias = _weights(call, x.dims[0], units)
    names = [
        graph.op("Transpose", [x.name], f"{call.name}.time_first", perm=[1, 0, 2]),
        graph.constant(f"{call.name}.kernel", weight),
        graph.constant(f"{call.name}.recurrent_kernel", recurrence),
    ]
    if bias is not None:
        names.append(graph.constant(f"{call.name}.bias", bias))
    attributes = {"hidden_size": units, **_activations(call)}
    if call.kind == "GRU":
        attributes["linear_before_reset"] = int(bool(call.config["reset_after"]))
    sequences = bool(call.config["return_sequences"])
    outputs = [".y"] if sequences else ["", ".last"]
    y = graph.ops(ONNX[call.kind], names, call.name, outputs, **attributes)[-1]
    axis = graph.constant(f"{call.name}.direction", np.array([1 if sequences else 0], np.int64))
    y = graph.op("Squeeze", [y, axis], f"{call.name}.squeeze")
    if sequences:
        y = graph.op("Transpose", [y], f"{call.name}.batch_first", perm=[1, 0, 2])
    return Value(y, (units,), sequences)


def _check(call: Call) -> None:
    if call.config.get("go_backwards"):
        raise call.error(
            "go_backwards reads the sequence from its end: its output depends on frames that have not come yet. "
            "Train it forward."
        )
    if call.config.get("time_major"):
        raise call.error("time_major is not supported; [batch, time, features] is expected.")


def _weights(
    call: Call, features: int, units: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
    """Return ONNX's W [1, gates * units, features], R [1, gates * units, units] and B [1, 2 * gates * units]."""
    order = GATES[call.kind]
    wide = len(order) * units
    twofold = call.kind == "GRU" and bool(call.config["reset_after"])
    shapes: list[tuple[int, ...]] = [(features, wide), (units, wide)]
    if call.config["use_bias"]:
        shapes.append((2, wide) if twofold else (wide,))
    call.expect(*shapes)

    def gates(array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Put the gates, which lie along the last axis, into ONNX's order."""
        parts = np.split(array, len(order), axis=-1)
        return np.concatenate([parts[place] for place in order], axis=-1)

    weight, recurrence = (gates(array).T[None] for array in call.weights[:2])
    if not call.config["use_bias"]:
        return weight, recurrence, None
    both = call.weights[2] if twofold else np.stack([call.weights[2], np.zeros(wide, np.float32)])
    return weight, recurrence, gates(both).reshape(1, -1)


def _activations(call: Call) -> dict[str, list[str] | list[float]]:
    """Return the attributes that say the activations: one for the gates, one for what they let through."""
    inner = name_of(call, call.config["activation"])
    names = [inner] if call.kind == "SimpleRNN" else [name_of(call, call.config["recurrent_activation"]), inner]
    if call.kind == "LSTM":
        names.append(inner)
    unknown = next((name for name in names if name not in RECURRENT), None)
    if unknown is not None:
        raise call.error(
            f"the activation '{unknown}' inside a recurrent layer has no counterpart. These have: "
            f"{', '.join(RECURRENT)}."
        )
    known = [RECURRENT[name] for name in names]
    attributes: dict[str, list[str] | list[float]] = {"activations": [name for name, _, _ in known]}
    # ONNX hands these out in order, to the functions that take one.
    alphas, betas = ([entry[place] for entry in known if entry[place] is not None] for place in (1, 2))
    if alphas:
        attributes["activation_alpha"] = alphas  # type: ignore[assignment]
    if betas:
        attributes["activation_beta"] = betas  # type: ignore[assignment]
    return attributes
