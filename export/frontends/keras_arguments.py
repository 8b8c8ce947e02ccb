"""What one call of a layer is given, as Keras 3 writes it: results of other calls, numbers, options, masks.

1. Embedding(mask_zero=True) gives a mask along, tokens != 0, that later calls read as `mask`, `query_mask` and so on. 0
   stands for padding there, which a stream has not: the mask is true everywhere, and is left out.
Source: the configurations that Keras 3 writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Items
from typing import Any

from export.errors import ExportError

MASKED = ("mask", "query_mask", "value_mask", "key_mask")
ROLES = ("query", "value", "key")
WITH_HEADS = ("MultiHeadAttention", "GroupQueryAttention")
"""Layers that are given their inputs in these roles, by place or by name."""
MASK_OPS = ("ConvertToTensor", "LogicalAnd", "ExpandDims", "BroadcastTo", "Concatenate", "All", "Any")
"""What makes a mask of masks, true everywhere where those are."""
MASK_HELPER = "ZerosLike"
"""What a layer that joins its inputs has beside their masks to make its own; nothing else reads it."""
Config = Mapping[str, Any]
Source = tuple[str, int]


def find_masks(calls: Items[tuple[Config, int, Config]], given: set[Source]) -> set[Source]:
    """Return the calls that make masks a stream does not have (1). given: what the model's input is called."""
    masks: set[Source] = set()
    for _ in calls:
        more = {(str(layer["name"]), number) for layer, number, node in calls if _is_mask(layer, node, masks, given)}
        if more == masks:
            break
        masks = more
    return masks


def _is_mask(layer: Config, node: Config, masks: set[Source], given: set[Source]) -> bool:
    kind, args = str(layer["class_name"]), list(node["args"])
    found = _tensors(args)
    if kind == "NotEqual":
        return len(found) == 1 and found[0] in given and len(args) == 2 and args[1] == 0  # noqa: PLR2004 - tokens != 0
    if kind == "LogicalOr":
        return not masks.isdisjoint(found)
    return kind in MASK_OPS and bool(found) and masks.issuperset(found)


def history(given: Any) -> list[Source]:
    """Return the layers and call numbers that ["name", 0, 0], or a list or dict of such, points to."""
    if isinstance(given, dict):
        given = list(given.values())
    entries = [given] if isinstance(given[0], str) else given
    return [_source(*entry) for entry in entries]


def arguments(layer: Config, node: Config, masks: set[Source]) -> tuple[list[Source | float], Config]:
    """Return what one call of a layer is given: results of other calls, numbers, and options."""
    name, kind = str(layer["name"]), str(layer["class_name"])
    args, options = list(node["args"]), dict(node["kwargs"])
    if kind in WITH_HEADS:
        args += [options.pop(role) for role in ROLES[len(args) :] if options.get(role) is not None]
    for key, value in options.items():
        if key in MASKED and masks.issuperset(_tensors(value)):
            continue
        if _tensors(value) or (key == "training" and value):
            reason = (
                "it runs as in training, which is random"
                if key == "training"
                else f"it is given '{key}' that is computed from the data"
            )
            raise ExportError(f"layer '{name}' ({kind}): {reason}; that is not streamed.")
    if kind == "GetItem":
        return list(_tensors(args[0])), {"key": args[1]}
    found: list[Source | float] = []
    for arg in args if len(args) != 1 or not isinstance(args[0], list) else args[0]:
        if isinstance(arg, int | float) and not isinstance(arg, bool):
            found.append(float(arg))
        elif isinstance(arg, dict) and arg.get("class_name") == "__keras_tensor__":
            found.extend(_tensors(arg))
        else:
            raise ExportError(f"layer '{name}' ({kind}): it is given {arg!r:.60}, which is not understood.")
    return found, {key: value for key, value in options.items() if not _tensors(value)}


def _tensors(value: Any) -> list[Source]:
    """Return the calls whose results stand anywhere in an argument."""
    if isinstance(value, list):
        return [found for part in value for found in _tensors(part)]
    if not isinstance(value, dict) or value.get("class_name") != "__keras_tensor__":
        return []
    return [_source(*value["config"]["keras_history"])]


def _source(name: str, number: int, output: int) -> Source:
    if output != 0:
        raise ExportError(
            f"layer '{name}': its state is read as an output, or its scores; only its first output is streamed."
        )
    return str(name), int(number)
