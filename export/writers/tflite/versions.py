"""Which version of a TFLite op a use of it needs, and the first runtime that has that version.

1. Most ops have one version for float32, whole numbers and conditions, and others for int8, int16 and int64. The type
   is that of the first input; of QUANTIZE and SPLIT it is the output's.
2. Beyond four axes some ops have further versions; of elementwise ones, where their inputs are broadcast.
3. So has a convolution in groups, whose kernel reads fewer channels than there are.

A version too high is refused by older runtimes, one too low may be computed wrongly.
Source: tensorflow/lite/tools/versioning, op_version.cc and runtime_version.cc.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

PLAIN_RANK = 4

_PLAIN: Mapping[str, str] = {
    "ABS": "1.13.0",
    "ADD": "1.5.0",
    "BATCH_MATMUL": "2.3.0",
    "CAST": "1.5.0",
    "CEIL": "1.14.0",
    "CONCATENATION": "1.5.0",
    "CONV_2D": "1.5.0",
    "COS": "1.14.0",
    "DEPTHWISE_CONV_2D": "1.5.0",
    "DIV": "1.6.0",
    "ELU": "1.14.0",
    "EQUAL": "1.14.0",
    "EXP": "1.7.0",
    "EXPAND_DIMS": "1.10.0",
    "FLOOR": "1.9.0",
    "FLOOR_MOD": "1.13.0",
    "GATHER": "1.6.0",
    "GELU": "2.9.0",
    "GREATER": "1.14.0",
    "GREATER_EQUAL": "1.14.0",
    "HARD_SWISH": "1.15.0",
    "LEAKY_RELU": "1.13.1",
    "LESS": "1.14.0",
    "LESS_EQUAL": "1.14.0",
    "LOG": "1.14.0",
    "LOGICAL_AND": "1.11.0",
    "LOGICAL_NOT": "1.11.0",
    "LOGICAL_OR": "1.11.0",
    "LOGISTIC": "1.14.0",
    "MAXIMUM": "1.14.0",
    "MEAN": "1.6.0",
    "MINIMUM": "1.14.0",
    "MUL": "1.5.0",
    "NEG": "1.9.0",
    "PAD": "1.5.0",
    "PADV2": "1.9.0",
    "POW": "1.10.0",
    "REDUCE_MAX": "1.11.0",
    "REDUCE_MIN": "1.11.0",
    "RANGE": "1.13.0",
    "RELU": "1.5.0",
    "RESHAPE": "1.5.0",
    "RSQRT": "1.10.0",
    "SELECT_V2": "2.2.0",
    "SHAPE": "1.10.0",
    "SIGN": "2.11.0",
    "SIN": "1.9.0",
    "SLICE": "1.14.0",
    "SOFTMAX": "1.5.0",
    "SPLIT": "1.5.0",
    "SQRT": "1.10.0",
    "SQUEEZE": "1.6.0",
    "STRIDED_SLICE": "1.6.0",
    "SUB": "1.6.0",
    "SUM": "1.10.0",
    "TANH": "1.14.0",
    "TRANSPOSE": "1.6.0",
}
"""Op -> the first runtime that has its version 1."""
_TYPED: Mapping[str, Mapping[str, tuple[int, str]]] = {
    "ADD": {"int16": (3, "2.4.0"), "int64": (4, "2.6.0")},
    "BATCH_MATMUL": {"int8": (2, "2.3.0"), "int16": (3, "2.4.0")},
    "BROADCAST_TO": {"int8": (3, "2.5.0"), "int16": (3, "2.5.0"), "": (2, "2.5.0")},
    "CAST": {"int8": (3, "2.8.0")},
    "CONCATENATION": {"int8": (2, "1.14.0"), "int16": (3, "2.3.0")},
    "CONV_2D": {"int8": (3, "1.14.0"), "int16": (4, "2.3.0")},
    "DEPTHWISE_CONV_2D": {"int8": (3, "1.14.0"), "int16": (5, "2.3.0"), "": (2, "1.12.0")},
    "DEQUANTIZE": {"int8": (2, "1.14.0"), "int8 rows": (5, "2.7.0"), "int16": (3, "1.15.0"), "float16": (3, "1.15.0")},
    "FULLY_CONNECTED": {"float32": (5, "2.0.0")},
    "GATHER": {"int8": (2, "1.14.0"), "int16": (4, "2.4.0"), "bool": (3, "1.15.0")},
    "MUL": {"int16": (4, "2.3.0"), "int64": (5, "2.6.0")},
    "PAD": {"int8": (2, "1.14.0"), "int16": (3, "2.4.0")},
    "PADV2": {"int8": (2, "1.14.0"), "int16": (3, "2.4.0")},
    "QUANTIZE": {"int8": (1, "1.14.0"), "int16": (2, "1.15.0")},
    "RELU": {"int8": (2, "2.1.0"), "int16": (3, "2.5.0")},
    "SLICE": {"int8": (2, "1.14.0"), "int16": (4, "2.4.0")},
    "SPLIT": {"int8": (2, "1.14.0"), "int32": (3, "1.14.0"), "int16": (4, "2.3.0")},
    "STRIDED_SLICE": {"int8": (2, "1.14.0"), "bool": (3, "2.1.0")},
    "SUB": {"int16": (5, "2.4.0"), "int64": (4, "2.4.0")},
    "TRANSPOSE": {"int8": (2, "1.14.0"), "bool": (3, "1.15.0"), "int16": (5, "2.4.0")},
}
"""1: op -> type -> version and runtime; "" stands for all types not named, "rows" for a scale an entry of an axis."""
_WIDE: Mapping[str, tuple[int, str]] = {
    "PAD": (4, "2.6.0"),
    "PADV2": (4, "2.6.0"),
    "SLICE": (5, "2.5.0"),
    "STRIDED_SLICE": (4, "2.2.0"),
    "TRANSPOSE": (4, "2.3.0"),
}
"""2: op -> version and runtime beyond four axes."""
_BROADCAST: Mapping[str, tuple[int, str]] = {
    "DIV": (2, "2.3.0"),
    "MAXIMUM": (3, "2.3.0"),
    "MINIMUM": (3, "2.3.0"),
    "SUB": (3, "2.3.0"),
}
_WIDEST: Mapping[str, tuple[int, str]] = {"TRANSPOSE": (6, "2.12.0")}
"""2: op -> version and runtime beyond five axes."""
_GROUPED = (6, "2.9.0")


def version(name: str, dtype: str, shapes: Sequence[tuple[int, ...]]) -> tuple[int, str]:
    """Return the version of an op that reads inputs of these shapes, and the first runtime that has it."""
    rank = max(map(len, shapes))
    typed = _TYPED.get(name, {})
    found = [typed.get(dtype) or typed.get("") or (1, _PLAIN[name])]
    if rank > PLAIN_RANK and name in _WIDE:
        found.append(_WIDE[name])  # 2
    if rank > PLAIN_RANK + 1 and name in _WIDEST:
        found.append(_WIDEST[name])
    if rank > PLAIN_RANK and name in _BROADCAST and len(set(shapes)) > 1:
        found.append(_BROADCAST[name])
    if name == "CONV_2D" and shapes[0][-1] != shapes[1][-1]:
        found.append(_GROUPED)  # 3
    return max(found)
