"""Keras 3 models, read from their `.keras` file without Keras: layers and weights, not Keras' own ONNX export.

Keras' export unrolls recurrent layers over a fixed number of steps. Here each layer becomes the ONNX ops that mean it,
over a free time axis, under the layer's own name; keras_reference.py says the same in NumPy as what is held against.

    keras_archive.py    the file: zip, JSON, HDF5
    keras_model.py      its configuration as calls of layers (with keras_arguments, keras_cells, keras_distributed)
    keras_layers.py     calls as ONNX nodes (with keras_recurrent, keras_convolution, keras_attention, …)
    keras_reference.py  calls in NumPy, in float32 and float64 (with keras_reference_*)
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from export.errors import ExportError
from export.frontends.keras_archive import Archive
from export.frontends.keras_graph import Call, Graph, Value
from export.frontends.keras_layers import LAYERS
from export.frontends.keras_model import Layers
from export.frontends.keras_reference import Reference
from export.frontends.sequence import Sequence
from export.graph import Array, Input, first_line

TIME_AXIS = 1


def load(path: Path, *, input_name: str | None, time_axis: int | None) -> Sequence:
    """Load a `.keras` file. Raises ExportError naming the layer that cannot be read, or saying what is wrong."""
    archive = Archive(path)
    layers = Layers(archive)
    layers.read()
    if input_name not in (None, layers.input):
        raise ExportError(f"{path}: has no input '{input_name}'; its input is '{layers.input}'.")
    if time_axis not in (None, TIME_AXIS, TIME_AXIS - 2 - len(layers.dims)):
        raise ExportError(f"{path}: Keras keeps time on axis 1 ([batch, time, features]), not on {time_axis}.")
    model = build(layers)
    source, reference = layers.input, Reference(layers)

    def single(x: Items[Array]) -> list[Array]:
        return [reference.run(x[0], np.dtype(np.float32))]

    def double(x: Items[Array]) -> list[Array]:
        return [reference.run(x[0], np.dtype(np.float64))]

    kind: Literal["float32", "int64"] = "float32" if layers.tokens is None else "int64"
    inputs = (Input(source, (1, -1, *layers.dims), kind, layers.tokens),)
    notes = _notes(layers)
    return Sequence(
        model, inputs, single, double, "Keras", path.name, archive.sha256,
        notes=notes, window=layers.window,
    )  # fmt: skip


def build(layers: Layers) -> onnx.ModelProto:
    """Return the ONNX graph of a model's layers."""
    source = Value(layers.input, layers.dims, timed=True)
    graph = Graph(source, layers.tokens is not None, layers.window, taken={layers.input, "output"})
    values = {layers.input: source}
    for call in layers.calls:
        values[call.name] = _layer(graph, call, [_given(values, entry) for entry in call.inputs])
    return graph.model(values[layers.output])


def _given(values: dict[str, Value], entry: str | float) -> Value | float:
    return values[entry] if isinstance(entry, str) else entry


def _layer(graph: Graph, call: Call, inputs: list[Value | float]) -> Value:
    try:
        return LAYERS[call.kind](graph, call, inputs)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ZeroDivisionError) as cause:
        raise call.error(
            f"its configuration is not as Keras 3 writes it ({type(cause).__name__}: {first_line(cause)})."
        ) from cause


def _notes(layers: Layers) -> list[str]:
    notes = [f"read from a file of Keras {layers.archive.version}: layers and weights, nothing executed"]
    if layers.window is not None:
        notes.append(f"built for windows of {layers.window} steps; time was made free, the weights do not depend on it")
    if layers.stateful:
        notes.append(f"stateful in Keras ({', '.join(layers.stateful)}): compared from reset, as after reset_states()")
    if layers.padded is not None:
        notes.append(
            f"token 0 is padding to '{layers.padded}' (mask_zero), which a stream has not: it must not be sent; what "
            "reads the mask in Keras would skip it, the step does not"
        )
    return notes
