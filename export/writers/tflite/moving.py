"""What moves numbers about. Both runtimes have these ops for float32, int8, int16, int32, int64 and conditions.

1. A reshape is no op by itself: what reads its result in another shape has it reshaped.
2. Axes next to each other that an op leaves alone are one for it where there are more than four: PAD and SLICE of
   tflite-runtime 2.14 go up to five.
3. tflite-runtime has no PAD for conditions: they are padded as whole numbers.
4. A place from data that is negative counts from the end, as in ONNX; GATHER refuses it.
5. Slices of one tensor that are all of it, equal parts along one axis, are one SPLIT.
6. Axes that grow with the source stay apart, for no view would tell them apart again; else places lie in a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from export.program import Growing, Op, Shape, Type, grows
from export.writers.tflite.stored import weight
from export.writers.tflite.versions import PLAIN_RANK
from export.writers.tflite.writer import WIDEST, Form, Writer

Groups = list[tuple[int, ...]]
BEYOND = int(np.iinfo(np.int32).max)
"""Where what is cut to its end ends."""
PARTED = {"float32": 4, "int32": 4, "int8": BEYOND, "int16": BEYOND}
"""What SPLIT takes in both runtimes, and into how many parts at most: XNNPACK, which runs float32, knows four."""
MOST_CUT = 5
"""Axes up to which SLICE, STRIDED_SLICE and PAD go in both runtimes."""


def _reshape(writer: Writer, op: Op) -> int:
    return writer.now(op.inputs[0])  # 1


def groups(shape: Shape, touched: Iterable[int]) -> Groups:
    """Return axes by four or more groups: those touched by themselves, those between them together (2)."""
    alone = set(touched)
    found: Groups = []
    for axis in range(len(shape)):
        if len(shape) > PLAIN_RANK and found and axis not in alone and not alone.intersection(found[-1]):
            found[-1] = (*found[-1], axis)
        else:
            found.append((axis,))
    return [()] * (PLAIN_RANK - len(found)) + found


def grouped(shape: Shape, parts: Groups) -> Shape:
    """Return a shape with each group of axes as one."""
    return tuple(math.prod(shape[axis] for axis in part) for part in parts)


def _check(writer: Writer, op: Op, parts: Groups, most: int) -> None:
    if len(parts) > most:
        raise writer.refusal(op, f"it tells {len(parts)} axes apart; TFLite goes up to {most}.")


def _transpose(writer: Writer, op: Op) -> int:
    shape, perm = writer.program.shapes[op.inputs[0]], op.attributes["perm"]
    # Axes of one entry go where they like; those that stay next to each other go as one.
    parts: Groups = []
    for axis in (axis for axis in perm if shape[axis] > 1):
        beside = parts and all(shape[between] == 1 for between in range(parts[-1][-1] + 1, axis))
        apart = parts and grows((shape[axis], *(shape[other] for other in parts[-1]))) > 1  # 6
        if beside and not apart and axis > parts[-1][-1]:
            parts[-1] = (*parts[-1], axis)
        else:
            parts.append((axis,))
    _check(writer, op, parts, WIDEST)
    before = sorted(parts)
    missing = max(PLAIN_RANK - len(parts), 0)
    order = (*range(missing), *(missing + before.index(part) for part in parts))
    return writer.turned(writer.read(op.inputs[0], (1,) * missing + grouped(shape, before)), order)


def _slice(writer: Writer, op: Op) -> int:
    shape, result = writer.program.shapes[op.inputs[0]], writer.program.shapes[op.output]
    starts, ends, steps = (op.attributes[key] for key in ("starts", "ends", "steps"))
    if min(steps, default=1) < 1:
        raise writer.refusal(op, "it turns an axis around.")
    parts = groups(shape, (axis for axis in range(len(shape)) if result[axis] != shape[axis]))
    _check(writer, op, parts, MOST_CUT)
    x, target = writer.read(op.inputs[0], grouped(shape, parts)), grouped(result, parts)
    if (equal := _equal_parts(writer, op)) is not None:
        if op.output not in writer.at:
            _split(writer, x, parts.index((equal[0],)), target, equal[1])
        return writer.at[op.output]
    first = [starts[part[0]] if len(part) == 1 else 0 for part in parts]
    if set(steps) == {1} and not grows(shape):
        given = [x, writer.numbers(*first), writer.numbers(*target)]
        return writer.emit("SLICE", given, "SliceOptions", shape=target)
    strides = [steps[part[0]] if len(part) == 1 else 1 for part in parts]
    last = [ends[part[0]] if len(part) == 1 else BEYOND for part in parts]
    to_the_end = sum(1 << place for place, end in enumerate(last) if end >= BEYOND)
    given = [x, *(writer.numbers(*values) for values in (first, [min(end, BEYOND) for end in last], strides))]
    return writer.emit("STRIDED_SLICE", given, "StridedSliceOptions", shape=target, endMask=to_the_end)


def _equal_parts(writer: Writer, op: Op) -> tuple[int, list[str]] | None:
    """5: return the axis that a slice cuts, and what all slices give, in order; None where they are not all there is.

    Where two slices give the same part, the first does.
    """
    shape, result = writer.program.shapes[op.inputs[0]], writer.program.shapes[op.output]
    cut = [axis for axis, size in enumerate(result) if size != shape[axis]]
    most = PARTED.get(writer.program.dtype(op.inputs[0]), 0)
    if len(cut) != 1 or grows(shape) or 0 in result or not most:
        return None
    (axis,) = cut
    found: dict[range, str] = {}
    for other in writer.readers[op.inputs[0]]:
        if other.kind == "Slice" and writer.program.shapes[other.output] == result:
            bounds = slice(*(other.attributes[key][axis] for key in ("starts", "ends", "steps")))
            found.setdefault(range(*bounds.indices(shape[axis])), other.output)
    width = result[axis]
    parts = [found.get(range(start, start + width)) for start in range(0, shape[axis], width)]
    names = [name for name in parts if name is not None]
    whole = len(names) == len(parts) <= most and len(parts) * width == shape[axis]
    return (axis, names) if whole and op.output in names else None


def _split(writer: Writer, x: int, axis: int, target: Shape, names: list[str]) -> None:
    """5: write all parts of a tensor."""
    outputs = [writer.file.tensor(name, target, writer.kind(name)) for name in names]
    writer.file.parts("SPLIT", [writer.numbers(axis), x], outputs, "SplitOptions", numSplits=len(names))
    writer.at.update(zip(names, outputs, strict=True))


def _concat(writer: Writer, op: Op) -> int:
    result, axis = writer.program.shapes[op.output], op.attributes["axis"]
    parts = groups(result, [axis])
    given = [writer.read(name, grouped(writer.program.shapes[name], parts)) for name in op.inputs]
    return writer.emit(
        "CONCATENATION", given, "ConcatenationOptions", shape=grouped(result, parts), axis=parts.index((axis,))
    )


def _gather(writer: Writer, op: Op) -> int:
    shape, axis = writer.program.shapes[op.inputs[0]], op.attributes["axis"]
    parts = groups(shape, [axis])
    target, place = list(grouped(shape, parts)), parts.index((axis,))
    count = writer.program.shapes[op.inputs[1]]
    count = count if grows(count) > 1 else (math.prod(count),)  # 6
    if op.inputs[1] in writer.constants:
        content = writer.constants[op.inputs[1]].reshape(-1)
        if isinstance(shape[axis], Growing) and content.min(initial=0) < 0:
            raise writer.refusal(op, "TFLite takes no entry counted from an end that it does not know.")
        content %= shape[axis]
        places = writer.array(op, "places", content.astype(np.int32))
    else:
        places = _counted(writer, op.inputs[1], shape[axis], count)
    table = writer.constants.get(op.inputs[0])
    if table is not None and op.inputs[0] not in writer.program.types:
        x = weight(writer, f"{op.inputs[0]}.table", table.reshape(target), place)
    else:
        x = writer.read(op.inputs[0], tuple(target))
    target[place : place + 1] = count
    return writer.emit("GATHER", [x, places], "GatherOptions", shape=tuple(target), axis=place)


def _counted(writer: Writer, name: str, size: int, shape: Shape) -> int:
    """4: return places counted from the front."""
    places = writer.read(name, (1,) * (PLAIN_RANK - len(shape)) + shape)
    dtype = writer.file.tensors[places].stored
    behind = writer.each("LESS", [places, writer.scalar(0, dtype)], kind="bool")
    moved = writer.each("ADD", [places, writer.scalar(size, dtype)], "AddOptions")
    chosen = writer.emit(
        "SELECT_V2", [behind, moved, places], "SelectV2Options", shape=writer.shape(places), kind=dtype
    )
    return writer.view(chosen, shape)


def _expand(writer: Writer, op: Op) -> int:
    shape, result = writer.program.shapes[op.inputs[0]], writer.program.shapes[op.output]
    parts = groups(result, (axis for axis in range(len(result)) if result[axis] != shape[axis]))
    _check(writer, op, parts, WIDEST)
    target = grouped(result, parts)
    if grows(target):
        raise writer.refusal(op, "TFLite stretches nothing to a length that it does not know.")
    given = [writer.read(op.inputs[0], grouped(shape, parts)), writer.numbers(*target)]
    return writer.emit("BROADCAST_TO", given, "BroadcastToOptions", shape=target)


def _pad(writer: Writer, op: Op) -> int:
    name, pads, value = op.inputs[0], op.attributes["pads"], op.attributes["value"]
    shape, result, kind = writer.program.shapes[name], writer.program.shapes[op.output], writer.kind(op.output)
    pairs = list(zip(pads[: len(shape)], pads[len(shape) :], strict=True))
    parts = groups(shape, (axis for axis, pair in enumerate(pairs) if any(pair)))
    _check(writer, op, parts, MOST_CUT)
    x, target = writer.read(name, grouped(shape, parts)), grouped(result, parts)
    sides = np.array([pairs[part[0]] if len(part) == 1 else (0, 0) for part in parts], np.int32)
    if kind == "bool":
        x = writer.emit("CAST", [x], "CastOptions", kind="int32")  # 3
    stored = writer.file.tensors[x].stored
    fill = writer.file.constant(
        f"{op.output}.fill", np.array([value], stored), kind if isinstance(kind, Type) else None
    )
    padded = writer.emit("PADV2", [x, writer.array(op, "pads", sides), fill], "PadV2Options", shape=target)
    return writer.emit("CAST", [padded], "CastOptions", kind="bool") if kind == "bool" else padded


def _where(writer: Writer, op: Op) -> int:
    return writer.each("SELECT_V2", writer.operands(op), "SelectV2Options", kind=writer.kind(op.output))


FORMS: Mapping[str, Form] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), _reshape),
    "Transpose": _transpose,
    "Slice": _slice,
    "Concat": _concat,
    "Gather": _gather,
    "Expand": _expand,
    "Pad": _pad,
    "Where": _where,
}
