"""A Keras model's configuration as the list of its layers' calls, in order; nothing of it is executed.

1. Sequential and Functional models, also one inside the other: an inner model's layers are named `inner/layer`.
2. Functional models also hold operations on tensors (x + y, x[:, -1]); those that stand for a layer are read as one.
3. Weights are found as Keras stores them: by the layer's class and its number among those of its class.
Source: the configurations that Keras 3 writes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends import keras_distributed
from export.frontends.keras_archive import Archive
from export.frontends.keras_arguments import MASK_HELPER, WITH_HEADS, Source, arguments, find_masks, history
from export.frontends.keras_attention import PARTS
from export.frontends.keras_cells import cells
from export.frontends.keras_graph import Call
from export.frontends.keras_layers import LAYERS
from export.frontends.keras_refused import reason_against
from export.frontends.sequence import IMAGE
from export.graph import first_line

MAX_CALLS = 5_000
MAX_DEPTH = 8
RECURRENT = ("SimpleRNN", "GRU", "LSTM")
ATTENTION = (*WITH_HEADS, "Attention", "AdditiveAttention")
MASK_READERS = {*RECURRENT, "GlobalAveragePooling1D", "Softmax", "TimeDistributed", "RNN", *ATTENTION}
CLASSES = {"GroupQueryAttention": "GroupedQueryAttention"}
"""Layers whose class has another name inside Keras."""
MODELS = ("Sequential", "Functional")
PLAIN_OPS = {"Relu", "Relu6", "Sigmoid", "Tanh", "Silu", "Softplus", "Softsign", "Selu"}
OPERATIONS = {"Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum", "GetItem", "ReLU"}
Config = Mapping[str, Any]


@dataclass
class Layers:
    """A model as calls in order. dims: shape of one frame. window: the length it was built for, if fixed.

    tokens: how many there are, if frames are tokens; dims is () then. padded: the Embedding to which 0 is padding.
    """

    archive: Archive
    calls: list[Call] = field(default_factory=list)
    input: str = ""
    output: str = ""
    dims: tuple[int, ...] = ()
    tokens: int | None = None
    padded: str | None = None
    window: int | None = None
    stateful: list[str] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)

    def read(self) -> None:
        """Read the whole configuration. Raises ExportError naming the layer that cannot be read."""
        try:
            self.output = self._model(self.archive.config, "", "", None)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, RecursionError) as cause:
            raise ExportError(
                f"{self.archive.path}: its configuration is not as Keras 3 writes it "
                f"({type(cause).__name__}: {first_line(cause)})."
            ) from cause
        if not self.input:
            raise ExportError(f"{self.archive.path}: the model has no input layer.")
        self._check_tokens()
        readers = self.kinds & MASK_READERS
        if "Masking" in self.kinds and readers:
            masking = next(call for call in self.calls if call.kind == "Masking")
            raise masking.error(f"{reason_against('Masking')} ({', '.join(sorted(readers))} would read its mask.)")

    def _check_tokens(self) -> None:
        """Tokens are read by Embedding alone, whatever the input's type: Keras takes float32 where none is said."""
        readers = [call for call in self.calls if self.input in call.inputs]
        tables = [call for call in readers if call.kind == "Embedding"]
        other = next((call for call in readers if call not in tables), None)
        if not self.dims and other is None and tables:
            self.tokens = min(int(call.config["input_dim"]) for call in tables)
            self.padded = next((call.name for call in tables if call.config.get("mask_zero")), None)
        elif not self.dims:
            told = "an output" if other is None else f"the layer '{other.name}' ({other.kind})"
            raise ExportError(
                f"{self.archive.path}: the input '{self.input}' is [batch, time], which is tokens, and {told} reads "
                "it; only Embedding reads tokens. Frames of one number are [batch, time, 1]."
            )
        elif any(call.kind == "Embedding" for call in self.calls):
            found = next(call for call in self.calls if call.kind == "Embedding")
            raise found.error("it reads numbers, not tokens; tokens are an input of their own, [batch, time].")

    def _model(self, entry: Config, name: str, group: str, feed: str | None) -> str:
        """Read a model; return the name of its output. feed: what an outer model gives it."""
        if name.count("/") > MAX_DEPTH:
            raise ExportError(f"{self.archive.path}: models stand more than {MAX_DEPTH} deep inside each other.")
        kind = str(entry.get("class_name"))
        module = str(entry.get("module", "keras"))
        if kind not in MODELS or not _of_keras(module):
            raise ExportError(
                f"{self.archive.path}: the model is a '{kind}' of '{module}', a class of its own: its code would have "
                "to be executed to know it. Build it as a Sequential or Functional model and copy the weights."
            )
        config = entry["config"]
        layers = config["layers"]
        if not isinstance(layers, list) or not layers:
            raise ExportError(f"{self.archive.path}: the model has no layers.")
        places = _places(layers, f"{group}layers/")
        if kind == "Sequential":
            return self._sequential(config, layers, places, name, feed)
        return self._functional(config, layers, places, name, feed)

    def _sequential(self, config: Config, layers: list[Config], places: list[str], name: str, feed: str | None) -> str:
        value = feed
        if value is None and layers[0]["class_name"] != "InputLayer":
            value = self._input("input", config.get("build_input_shape"), "float32")
        for layer, place in zip(layers, places, strict=True):
            if layer["class_name"] == "InputLayer":
                value = value or self._input_layer(layer)
            else:
                value = self._layer(layer, name, place, [value or ""], {})
        return value or ""

    def _functional(self, config: Config, layers: list[Config], places: list[str], name: str, feed: str | None) -> str:
        sources, targets = (history(config[key]) for key in ("input_layers", "output_layers"))
        if len(sources) != 1 or len(targets) != 1:
            raise ExportError(
                f"{self.archive.path}: the model has {len(sources)} inputs and {len(targets)} outputs; one of each is "
                "expected. Make a keras.Model of the one input and the one output that are to be streamed."
            )
        made: dict[Source, str] = {}
        waiting: list[tuple[Config, str, int, Config]] = []
        for layer, place in zip(layers, places, strict=True):
            if layer["class_name"] == "InputLayer":
                made[str(layer["name"]), 0] = feed or self._input_layer(layer)
            waiting.extend((layer, place, number, node) for number, node in enumerate(layer["inbound_nodes"]))
        if len(waiting) > MAX_CALLS:
            raise ExportError(f"{self.archive.path}: the model has more than {MAX_CALLS:,} layers.")
        tokens = {source for source, value in made.items() if value == self.input and not self.dims}
        masks = find_masks([(layer, number, node) for layer, _, number, node in waiting], tokens)
        helpers = {
            (str(layer["name"]), number) for layer, _, number, _ in waiting if layer["class_name"] == MASK_HELPER
        }
        waiting = [call for call in waiting if (str(call[0]["name"]), call[2]) not in masks | helpers]
        # A shared layer's second call may read what stands behind it in the list, so go round until all are read.
        while waiting:
            left = []
            for layer, place, number, node in waiting:
                inputs, options = arguments(layer, node, masks)
                if any(isinstance(source, tuple) and source not in made for source in inputs):
                    left.append((layer, place, number, node))
                    continue
                given = [made[source] if isinstance(source, tuple) else source for source in inputs]
                made[str(layer["name"]), number] = self._layer(layer, name, place, given, options)
            if len(left) == len(waiting):
                raise ExportError(f"{self.archive.path}: the layer '{left[0][0]['name']}' reads what nothing gives.")
            waiting = left
        return made[targets[0]]

    def _input_layer(self, layer: Config) -> str:
        config = layer["config"]
        return self._input(str(config["name"]), config.get("batch_shape"), str(config.get("dtype", "float32")))

    def _input(self, name: str, shape: Any, dtype: str) -> str:
        if self.input:
            raise ExportError(f"{self.archive.path}: the model has several inputs; one of frames is expected.")
        tokens = dtype in ("int32", "int64")
        if not tokens and dtype != "float32":
            raise ExportError(
                f"{self.archive.path}: the input '{name}' is {dtype}; frames are float32, tokens int32 or int64."
            )
        ranks = (2,) if tokens else (2, 3, IMAGE)
        if not isinstance(shape, list) or len(shape) not in ranks or not all(isinstance(n, int) for n in shape[2:]):
            wanted = (
                "[batch, time]" if tokens else "[batch, time, features] (and channels) with a fixed number of features"
            )
            raise ExportError(f"{self.archive.path}: the input '{name}' has the shape {shape}; {wanted} is expected.")
        self.input, self.dims = name, tuple(shape[2:])
        self.window = None if shape[1] is None else int(shape[1])
        return name

    def _layer(self, layer: Config, outer: str, place: str, inputs: list[str | float], options: Config) -> str:
        """Add the call of one layer, or of all the layers of a model inside; return its name."""
        config: Config = layer["config"]
        kind, name = str(layer["class_name"]), f"{outer}{config['name']}"
        if kind in MODELS:
            if len(inputs) != 1:
                raise ExportError(f"layer '{name}' ({kind}): it is given {len(inputs)} inputs; one is expected.")
            return self._model(layer, f"{name}/", f"{place}/", str(inputs[0]))
        _check_dtype(name, kind, config)
        self.kinds.add(kind)
        if kind == "RNN" and _is_layer(layer):
            for called, inner, given, at in cells(config, name):
                _check_dtype(called, inner, given)
                weights = self.archive.variables(f"{place}/{at}")
                inputs = [self._call(Call(self._unique(called), inner, given, weights, tuple(inputs), options))]
            return str(inputs[0])
        if kind == "TimeDistributed":
            known = _of_keras(str(config["layer"].get("module", "keras")))
            keras_distributed.check(config["layer"], name, known=known)
            weights = self._weights(str(config["layer"]["class_name"]), f"{place}/layer")
            kind, config, weights = keras_distributed.on_steps(config["layer"], weights, name)
        else:
            kind, config = _meaning(layer, name)
            weights = self._weights(kind, place) if _is_layer(layer) else ()
        return self._call(Call(self._unique(name), kind, config, weights, tuple(inputs), options))

    def _call(self, call: Call) -> str:
        if call.config.get("stateful"):
            self.stateful.append(call.name)
        self.calls.append(call)
        if len(self.calls) > MAX_CALLS:
            raise ExportError(f"{self.archive.path}: the model has more than {MAX_CALLS:,} layers.")
        return call.name

    def _weights(self, kind: str, place: str) -> tuple[NDArray[np.float32], ...]:
        if kind in WITH_HEADS:
            # Earlier versions of Keras 3 named the parts with an underscore in front.
            parts = [self.archive.variables(f"{place}/{part}") or self.archive.variables(f"{place}/_{part}")
                     for part in PARTS]  # fmt: skip
            return tuple(weight for part in parts for weight in part)
        return self.archive.variables(f"{place}/cell" if kind in RECURRENT else place)

    def _unique(self, name: str) -> str:
        taken = {call.name for call in self.calls} | {self.input}
        return next(n for i in range(len(taken) + 1) if (n := f"{name}@{i + 1}" if i else name) not in taken)


def _meaning(layer: Config, name: str) -> tuple[str, Config]:
    """Return the kind and configuration of a layer, or of the layer that an operation stands for."""
    kind, config = str(layer["class_name"]), layer["config"]
    if not _of_keras(str(layer.get("module", "keras"))):
        raise ExportError(
            f"layer '{name}' ({kind}): it is no layer of Keras but a class of its own: its code would have to be "
            "executed to know it. Use Keras' own layers."
        )
    if kind in PLAIN_OPS and not _is_layer(layer):
        kind, config = "Activation", {"activation": kind.lower()}  # 2
    if kind == "TrueDivide":
        kind = "Divide"
    if kind not in LAYERS or not (_is_layer(layer) or kind in OPERATIONS or kind == "Activation"):
        raise ExportError(f"layer '{name}' ({kind}): {reason_against(kind)}")
    return kind, config


def _of_keras(module: str) -> bool:
    return module == "keras" or module.startswith("keras.")


def _is_layer(layer: Config) -> bool:
    """Say whether this is a layer, not an operation on tensors."""
    return str(layer.get("module", "keras")) in ("keras", "keras.layers") or "src.layers" in str(layer["module"])


def _places(layers: list[Config], group: str) -> list[str]:
    """Return where each layer's weights lie: its class in snake case, numbered among those of its class."""
    seen: Counter[str] = Counter()
    places = []
    for layer in layers:
        kind = str(layer["class_name"])
        name = snake_case(CLASSES.get(kind, kind))
        if not _is_layer(layer) and str(layer["class_name"]) not in MODELS:
            places.append("")
            continue
        places.append(f"{group}{name}_{seen[name]}" if seen[name] else f"{group}{name}")
        seen[name] += 1
    return places


def snake_case(name: str) -> str:
    """Return a class's name as Keras writes it in paths: LSTM is lstm, Conv1D conv1d, PReLU p_re_lu."""
    split = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


def _check_dtype(name: str, kind: str, config: Config) -> None:
    given = config.get("dtype", "float32")
    policy = given.get("config", {}).get("name", given.get("class_name")) if isinstance(given, dict) else given
    if policy not in (None, "float32"):
        raise ExportError(
            f"layer '{name}' ({kind}): its dtype is {policy}; float32 is expected. Set keras.config.set_dtype_policy"
            "('float32'), build the model again, copy the weights and save it; edgeseq quantizes by itself."
        )
