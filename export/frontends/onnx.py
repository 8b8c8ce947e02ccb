"""ONNX files: checked, their time axis inferred, external data only from the model's own folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence as Items
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from export.errors import ExportError, node_error
from export.frontends import encoder_decoder, fixed, lengths, onnx_quantized, onnx_recurrent
from export.frontends import example as examples
from export.frontends.doubles import evaluator
from export.frontends.encoder_decoder import EncoderDecoder
from export.frontends.lengths import Lengths, RunPadded, steps_of
from export.frontends.sequence import IMAGE, Sequence, axis_of, batch_axis, image_axis, in_groups
from export.graph import Array, Input, first_line, floats, session

MIN_OPSET = 13
MAX_BYTES = 2 << 30
TIME_WORDS = ("time", "seq", "step", "frame", "length", "t")
WEIGHTED = {"RNN", "GRU", "LSTM", "MatMul", "Gemm", "Conv", "LayerNormalization"}
ELEMENTS: dict[int, Literal["float32", "int64"]] = {TensorProto.FLOAT: "float32", TensorProto.INT64: "int64"}
NO_FRAMES = (
    "is neither float32 (frames) nor int64 (tokens). Of a quantized model keep the QuantizeLinear behind its input, "
    "which says what the integers mean."
)
BATCH_WORDS = ("batch", "n", "b")


def load(
    path: Path, *, input_name: str | None, time_axis: int | None, example: Mapping[str, Array] | None = None
) -> Sequence | EncoderDecoder:
    """Load an ONNX sequence model; the source of an encoder-decoder is its first input. example: by inputs' names.

    Raises ExportError saying what is wrong with it.
    """
    model = read(path)
    _check_nodes(model)
    notes: list[str] = []
    if onnx_quantized.written_out(model):
        notes.append(onnx_quantized.NOTE)
    chosen = _choose_inputs(path, model, input_name)
    known = examples.chosen(example, [value.name for value in chosen]) if example else {}
    counts = _find_lengths(path, model, chosen, time_axis, known)
    taken = [value for value in chosen if all(value.name != count.name for count in counts)]
    inputs, window = _inputs(path, model, taken, time_axis, known, notes)
    try:
        engine = evaluator(model)
    except Exception as cause:
        raise ExportError(f"{path}: has no meaning in float64: {first_line(cause)}") from cause
    onnx_recurrent.time_first(model)
    runtime = session(model)

    def of(each: Any, dtype: type[np.floating]) -> RunPadded:
        return lambda x, entries, steps: _run(path, each, _feeds(floats(x, dtype), inputs, entries, steps))

    def single(x: Items[Array]) -> Items[Array]:
        return of(runtime, np.float32)(x, counts, steps_of(x, inputs))

    def double(x: Items[Array]) -> Items[Array]:
        return of(engine, np.float64)(x, counts, steps_of(x, inputs))

    for count in counts:
        lengths.derive(model, count, inputs[count.counts])

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if window is None and encoder_decoder.recognized(inputs, single):
        source, target = inputs
        padded = lengths.padded((of(runtime, np.float32), of(engine, np.float64)), inputs, counts)
        notes += [entry.note_of(inputs) for entry in counts]
        return EncoderDecoder(model, source, target, single, double, "ONNX", path.name, digest, notes, padded)
    notes += [entry.note for entry in counts]
    for entry in inputs:
        fix_shape(model, entry.name, entry.shape)
    sequence = Sequence(model, tuple(inputs), single, double, "ONNX", path.name, digest, window=window, notes=notes)
    sequence = fixed.freed(in_groups(sequence))
    sequence.rounds = onnx_quantized.rounds(model)
    sequence.count_tokens()
    sequence.keep_streamed()
    return sequence


def _feeds(x: Items[Array], inputs: Items[Input], counts: Items[Lengths], steps: Items[int]) -> dict[str, Array]:
    """Return what a graph takes: frames, and lengths of so many steps of each."""
    given = dict(zip((entry.name for entry in inputs), x, strict=True))
    return given | {count.name: count.of(steps[count.counts]) for count in counts}


def _inputs(  # noqa: PLR0917 - two calls, above and below
    path: Path,
    model: onnx.ModelProto,
    values: Items[onnx.ValueInfoProto],
    time_axis: int | None,
    known: Mapping[str, Array],
    notes: list[str],
) -> tuple[list[Input], int | None]:
    """Describe the inputs of frames, their batch set to 1 and their time free; return how long they were fixed, too."""
    inputs, windows = [], []
    for value in values:
        dims = _dims(path, value)
        if value.name in known:
            tokens = value.type.tensor_type.elem_type == TensorProto.INT64
            dims = examples.filled(value.name, dims, tokens, known[value.name], time_axis)
        axis = _choose_axis(path, value, dims, time_axis, notes)
        shape = tuple(-1 if i == axis else dim if isinstance(dim, int) else 1 for i, dim in enumerate(dims))
        # Each time by itself at first: onnxruntime takes axes of one name for equally long.
        fix_shape(model, value.name, shape, f"{value.name}_length")
        inputs.append(Input(value.name, shape, ELEMENTS[value.type.tensor_type.elem_type]))
        length = dims[axis]
        windows.append(length if isinstance(length, int) else None)
    if len(set(windows)) > 1:
        said = ", ".join(f"'{entry.name}' at {window or 'any'}" for entry, window in zip(inputs, windows, strict=True))
        raise ExportError(
            f"{path}: its inputs have different lengths of time ({said}); all must have the same. States are no inputs "
            "here: export the model again with its initial state as a constant."
        )
    return inputs, windows[0]


def _find_lengths(
    path: Path,
    model: onnx.ModelProto,
    values: Items[onnx.ValueInfoProto],
    time_axis: int | None,
    known: Mapping[str, Array],
) -> list[Lengths]:
    """Return the inputs that are lengths, their shapes set. Raises ExportError for other integers than tokens."""
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}
    maybe = [v for v in values if v.type.tensor_type.elem_type in lengths.ELEMENTS and ranks[v.name] <= 1]
    others = [value for value in values if value not in maybe]
    if not maybe or not others:
        return []
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    inputs, candidates = _inputs(path, copy, others, time_axis, known, [])[0], []
    for value in maybe:
        fix_shape(copy, value.name, (1,) * ranks[value.name])
        kind = lengths.ELEMENTS[value.type.tensor_type.elem_type]
        candidates.append(Lengths(value.name, list(values).index(value), (1,) * ranks[value.name], kind))

    def run(x: Items[Array], counts: Items[Lengths], steps: Items[int]) -> list[Array]:
        return _run(path, runtime, _feeds(x, inputs, counts, steps))

    onnx_recurrent.time_first(copy)
    runtime = session(copy)
    if found := lengths.told_apart(run, inputs, candidates):
        for entry in found:
            fix_shape(model, entry.name, entry.shape)
        return found
    wrong = next((v for v in maybe if v.type.tensor_type.elem_type not in ELEMENTS or not ranks[v.name]), None)
    if wrong is None:
        return []
    raise ExportError(
        f"{path}: the input '{wrong.name}' is one number a sequence, but not its length: with it set to the number of "
        "frames, what lies beyond still counts, or the outputs follow its value. Export the model again with it as a "
        "constant."
    )


def _run(path: Path, engine: Any, feeds: dict[str, Array]) -> list[Array]:
    try:
        return [np.asarray(y) for y in engine.run(None, feeds)]
    except Exception as cause:
        shape = next(iter(feeds.values())).shape
        raise ExportError(f"{path}: does not run on frames of the shape {shape}: {first_line(cause)}") from cause


def _graphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """Return a graph and all graphs that its nodes run inside."""
    held = [attribute.g for node in graph.node for attribute in node.attribute if attribute.HasField("g")]
    return [graph, *(inner for each in held for inner in _graphs(each))]


def _check_nodes(model: onnx.ModelProto) -> None:
    graphs = _graphs(model.graph)
    weights = {tensor.name: tensor for graph in graphs for tensor in graph.initializer}
    for graph in graphs:
        for node in graph.node:
            _check_node(weights, node)


def _check_node(weights: dict[str, onnx.TensorProto], node: onnx.NodeProto) -> None:
    """Refuse weights that are no numbers, and what ONNX's reference passes over without a word."""
    reason = onnx_recurrent.refusal(node) if node.op_type in onnx_recurrent.DEFAULTS else None
    if reason is not None:
        raise node_error(node.name, node.op_type, reason)
    for name in node.input:
        tensor = weights.get(name)
        if tensor is None or tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16):
            continue
        array = numpy_helper.to_array(tensor)
        # Infinity has honest uses elsewhere, as what a mask fills in.
        if np.isnan(array).any() or (node.op_type in WEIGHTED and not np.isfinite(array).all()):
            raise node_error(node.name, node.op_type, f"its weights '{name}' hold NaN or infinity.")


def read(path: Path) -> onnx.ModelProto:
    """Read and check an ONNX file. Raises ExportError."""
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file.")
    if path.stat().st_size > MAX_BYTES:
        raise ExportError(f"{path}: larger than {MAX_BYTES >> 30} GiB.")
    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as cause:
        raise ExportError(f"{path}: is no ONNX model ({first_line(cause)}).") from cause
    _check_external(path, model)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
        onnx.checker.check_model(model)
    except Exception as cause:
        raise ExportError(f"{path}: is not a valid ONNX model: {first_line(cause)}") from cause
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if opset < MIN_OPSET:
        raise ExportError(
            f"{path}: has opset {opset}; opset {MIN_OPSET} or later is needed. "
            f"Convert it with onnx.version_converter.convert_version(model, {MIN_OPSET})."
        )
    if not model.graph.output:
        raise ExportError(f"{path}: its graph has no output.")
    return model


def _check_external(path: Path, model: onnx.ModelProto) -> None:
    """External data may lie only inside the model's folder, and not behind a link."""
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key != "location":
                continue
            location = PurePosixPath(entry.value)
            file = path.parent / location
            outside = location.is_absolute() or ".." in location.parts
            linked = any(part.is_symlink() for part in (file, *file.parents) if part.is_relative_to(path.parent))
            if outside or (linked and file != path.parent):
                raise ExportError(
                    f"{path}: the weights of '{tensor.name}' lie at '{entry.value}', outside the model's folder or "
                    "behind a link. They are not read; put the file beside the model."
                )
            if not file.is_file():
                raise ExportError(f"{path}: the weights of '{tensor.name}' are missing at '{entry.value}'.")


def _choose_inputs(path: Path, model: onnx.ModelProto, name: str | None) -> list[onnx.ValueInfoProto]:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    names = ", ".join(f"'{value.name}'" for value in inputs) or "none"
    if name is not None and name not in [value.name for value in inputs]:
        raise ExportError(f"{path}: has no input '{name}'; its inputs: {names}.")
    if not inputs:
        raise ExportError(f"{path}: it has no input of frames.")
    for value in inputs:
        if value.type.tensor_type.elem_type not in (*ELEMENTS, *lengths.ELEMENTS):
            raise ExportError(f"{path}: the input '{value.name}' {NO_FRAMES}")
    # Weights listed as inputs are defaults that a caller may override; here they are constants.
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    return list(model.graph.input)


def _dims(path: Path, value: onnx.ValueInfoProto) -> list[int | str]:
    if value.type.tensor_type.elem_type not in ELEMENTS:
        raise ExportError(f"{path}: the input '{value.name}' {NO_FRAMES}")
    dims: list[int | str] = [
        # Some exporters write a free axis as 0 or -1.
        dim.dim_value if dim.dim_value > 0 else dim.dim_param
        for dim in value.type.tensor_type.shape.dim
    ]
    tokens = value.type.tensor_type.elem_type == TensorProto.INT64
    if len(dims) not in ((1, 2, 3) if tokens else (2, 3, IMAGE)):
        raise ExportError(
            f"{path}: the input '{value.name}' has the shape {dims}; [batch, time, features], [time, batch, features], "
            "[time, features] or [batch, channels, time, features] is expected; of tokens also [batch, time] or "
            "[time]. States are no inputs here: export the model again with its initial state as a constant, and over "
            "the whole sequence."
        )
    return dims


def _choose_axis(
    path: Path, value: onnx.ValueInfoProto, dims: list[int | str], given: int | None, notes: list[str]
) -> int:
    """Infer the time axis: the one given, else by the axes' names, else by which are free, else batch first."""
    tokens = value.type.tensor_type.elem_type == TensorProto.INT64
    matrix = len(dims) == 2  # noqa: PLR2004 - [time, features], or tokens as [batch, time]
    free = [axis for axis, dim in enumerate(dims) if not isinstance(dim, int)]
    named = [axis for axis in free if _named(dims[axis], TIME_WORDS)]
    batch = [axis for axis in free if _named(dims[axis], BATCH_WORDS)]
    rest = [axis for axis in free if axis not in batch]
    if given is not None:
        axis = axis_of(given, dims, str(path))
    elif len(dims) == 1 or (matrix and not tokens):
        axis = 0
    elif len(named) == 1:
        axis = named[0]
    elif len(dims) != IMAGE and not isinstance(dims[-1], int):
        axis = len(dims) - 1
    elif len(rest) == 1 and (batch or dims[batch_axis(rest[0])] == 1):
        axis = rest[0]
    else:
        # [batch, time, features], time fixed or not, or an image over time.
        axis = image_axis(dims) if len(dims) == IMAGE else 1
        notes.append(f"time was taken to be axis {axis} of '{value.name}' {dims}; --time-axis says otherwise")
    batched = len(dims) > 1 and (tokens or not matrix)
    features = [dim for place, dim in enumerate(dims) if place != axis and not (batched and place == batch_axis(axis))]
    if not all(isinstance(dim, int) for dim in features):
        raise ExportError(
            f"{path}: the number of features of '{value.name}' is not fixed (shape {dims}): say it with --example."
        )
    size = dims[batch_axis(axis)] if batched else 1
    if isinstance(size, int) and size != 1:
        raise ExportError(
            f"{path}: '{value.name}' {dims} takes a batch of {size}; a stream is one sequence. "
            "Export the model again for a batch of 1 or a free one."
        )
    return axis


def _named(dim: int | str, words: tuple[str, ...]) -> bool:
    text = str(dim).lower()
    return text in words or any(word in text for word in words if len(word) > 1)


def fix_shape(model: onnx.ModelProto, name: str, shape: tuple[int, ...], time: str = "time") -> None:
    """Set batch to 1 and name the time axis, in place."""
    value = next(value for value in model.graph.input if value.name == name)
    for dim, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
        if size == -1:
            dim.dim_param = time
        else:
            dim.dim_value = size
    # Shapes noted for another batch size would now contradict the input's.
    for graph in _graphs(model.graph):
        del graph.value_info[:]
    for output in model.graph.output:
        for dim in output.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.Clear()
