"""Keras' activations by name as ONNX ops, and as the functions that ONNX's recurrent ops take.

Source: the formulas in keras.activations' documentation. `sparsemax` sorts its input and `threshold` cannot be given by
name alone; both are refused.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export.frontends.keras_graph import Call, Graph, Value

Emit = Callable[[Graph, str, str], str]
ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}
SIXTH = 1 / 6

RECURRENT: dict[str, tuple[str, float | None, float | None]] = {
    "tanh": ("Tanh", None, None),
    "sigmoid": ("Sigmoid", None, None),
    "relu": ("Relu", None, None),
    "linear": ("Affine", 1.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", SIXTH, 0.5),
    "leaky_relu": ("LeakyRelu", 0.2, None),
    "elu": ("Elu", 1.0, None),
    "softsign": ("Softsign", None, None),
    "softplus": ("Softplus", None, None),
}
"""Name in ONNX, alpha and beta of what may stand inside a recurrent op."""


def name_of(call: Call, given: Any) -> str:
    """Return an activation's plain name. Raises ExportError for functions of the user's own."""
    if given is None:
        return "linear"
    if isinstance(given, dict):
        # Keras writes its own functions by name, or as an object of its own module.
        plain = given.get("class_name") == "function"
        known = plain and str(given.get("module", "")).startswith("keras.")
        given = given.get("config") if plain else given.get("class_name")
        if not known:
            raise call.error(
                f"its activation '{given}' is no plain activation of Keras: it would have to be executed to be known. "
                "Use one of Keras' own by name, or an activation layer of its own behind this one."
            )
    name = ALIASES.get(str(given), str(given))
    if name not in ACTIVATIONS:
        raise call.error(f"the activation '{given}' is not known here. Known: {', '.join(sorted(ACTIVATIONS))}.")
    return name


def apply(graph: Graph, call: Call, x: Value, given: Any) -> Value:
    """Append an activation to a value."""
    name = name_of(call, given)
    dims = x.dims
    if name == "glu":
        if dims[-1] % 2:
            raise call.error(f"glu halves its input, which has {dims[-1]} features.")
        dims = (*dims[:-1], dims[-1] // 2)
    node = call.name if call.kind == "Activation" else f"{call.name}.{name}"
    return Value(ACTIVATIONS[name](graph, x.name, node), dims, x.timed)


def clip(graph: Graph, x: str, node: str, low: float, high: float) -> str:
    """Append Clip."""
    return graph.op("Clip", [x, graph.constant(f"{node}.low", low), graph.constant(f"{node}.high", high)], node)


def _plain(op_type: str, **attributes: float) -> Emit:
    return lambda graph, x, node: graph.op(op_type, [x], node, **attributes)


def _clipped(low: float, high: float) -> Emit:
    return lambda graph, x, node: clip(graph, x, node, low, high)


def _affine(graph: Graph, x: str, node: str, factor: float, offset: float) -> str:
    scaled = graph.op("Mul", [x, graph.constant(f"{node}.factor", factor)], f"{node}.scaled")
    return graph.op("Add", [scaled, graph.constant(f"{node}.offset", offset)], f"{node}.moved")


def _linear(_: Graph, x: str, __: str) -> str:
    return x


def _silu(graph: Graph, x: str, node: str) -> str:
    return graph.op("Mul", [x, graph.op("Sigmoid", [x], f"{node}.gate")], node)


def _squareplus(graph: Graph, x: str, node: str) -> str:
    """(x + sqrt(x² + 4)) / 2."""
    square = graph.op("Mul", [x, x], f"{node}.square")
    root = graph.op(
        "Sqrt", [graph.op("Add", [square, graph.constant(f"{node}.b", 4.0)], f"{node}.sum")], f"{node}.root"
    )
    both = graph.op("Add", [x, root], f"{node}.both")
    return graph.op("Mul", [both, graph.constant(f"{node}.half", 0.5)], node)


def _glu(graph: Graph, x: str, node: str) -> str:
    kept, gate = graph.ops("Split", [x], f"{node}.split", [".a", ".b"], axis=-1, num_outputs=2)
    return graph.op("Mul", [kept, graph.op("Sigmoid", [gate], f"{node}.gate")], node)


def _tanh_shrink(graph: Graph, x: str, node: str) -> str:
    return graph.op("Sub", [x, graph.op("Tanh", [x], f"{node}.tanh")], node)


def _hard_shrink(graph: Graph, x: str, node: str) -> str:
    size = graph.op("Abs", [x], f"{node}.abs")
    far = graph.op("Greater", [size, graph.constant(f"{node}.threshold", 0.5)], f"{node}.far")
    return graph.op("Where", [far, x, graph.constant(f"{node}.zero", 0.0)], node)


def _soft_shrink(graph: Graph, x: str, node: str) -> str:
    return graph.op("Sub", [x, clip(graph, x, f"{node}.near", -0.5, 0.5)], node)


def _log_sigmoid(graph: Graph, x: str, node: str) -> str:
    """-softplus(-x)."""
    softplus = graph.op("Softplus", [graph.op("Neg", [x], f"{node}.neg")], f"{node}.softplus")
    return graph.op("Neg", [softplus], node)


def _sparse_plus(graph: Graph, x: str, node: str) -> str:
    """0 up to -1, (x + 1)² / 4 up to 1, x beyond."""
    half = _affine(graph, clip(graph, x, f"{node}.near", -1.0, 1.0), node, 0.5, 0.5)
    square = graph.op("Mul", [half, half], f"{node}.square")
    beyond = graph.op("Relu", [graph.op("Sub", [x, graph.constant(f"{node}.one", 1.0)], f"{node}.far")], f"{node}.over")
    return graph.op("Add", [square, beyond], node)


def _sparse_sigmoid(graph: Graph, x: str, node: str) -> str:
    """0 up to -1, (x + 1) / 2 up to 1, 1 beyond."""
    return clip(graph, _affine(graph, x, node, 0.5, 0.5), node, 0.0, 1.0)


ACTIVATIONS: dict[str, Emit] = {
    "linear": _linear,
    "relu": _plain("Relu"),
    "relu6": _clipped(0.0, 6.0),
    "leaky_relu": _plain("LeakyRelu", alpha=0.2),
    "elu": _plain("Elu", alpha=1.0),
    "celu": _plain("Celu", alpha=1.0),
    "selu": _plain("Selu"),
    "gelu": _plain("Gelu"),
    "glu": _glu,
    "mish": _plain("Mish"),
    "silu": _silu,
    "softplus": _plain("Softplus"),
    "softsign": _plain("Softsign"),
    "softmax": _plain("Softmax", axis=-1),
    "log_softmax": _plain("LogSoftmax", axis=-1),
    "log_sigmoid": _log_sigmoid,
    "squareplus": _squareplus,
    "sparse_plus": _sparse_plus,
    "sparse_sigmoid": _sparse_sigmoid,
    "exponential": _plain("Exp"),
    "tanh": _plain("Tanh"),
    "tanh_shrink": _tanh_shrink,
    "sigmoid": _plain("Sigmoid"),
    "hard_sigmoid": _plain("HardSigmoid", alpha=SIXTH, beta=0.5),
    "hard_silu": _plain("HardSwish"),
    "hard_tanh": _clipped(-1.0, 1.0),
    "hard_shrink": _hard_shrink,
    "soft_shrink": _soft_shrink,
}
