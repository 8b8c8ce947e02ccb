"""Keras models: read from their file, streamed, and held against Keras itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_checks import close, equals_keras, predicted, streams_as_keras
from keras_models import FEATURES, frames, keras, layers, randomized, saved, sequential
from models import seeds

import edgeseq
import export
from export.frontends import keras as frontend
from export.frontends.keras_activations import ACTIVATIONS, RECURRENT
from export.graph import session

MODELS = Path(os.environ.get("EDGESEQ_MODELS", "models"))
REAL = MODELS / "rul-lstm-keras" / "lstm_model.keras"


def random_model(seed: int) -> Any:
    """Build a front (convolutions, poolings, norms), 1 to 4 recurrent layers, residuals, a head; some with a window."""
    rng = np.random.default_rng(seed)
    keras.utils.set_random_seed(seed)
    width = int(rng.integers(3, 9))
    x = keras.Input((None, FEATURES))
    head = str(rng.choice(["every", "distributed", "last", "item"]))
    # A last step that comes late is refused by the rewrite.
    fronts = ["none", "causal"] if head in ("last", "item") else ["causal", "same", "depthwise", "stride"]
    front = str(rng.choice(fronts))
    y = layers.Dense(width, activation=str(rng.choice(["tanh", "gelu", "silu"])))(x)
    if front in ("causal", "same"):
        y = layers.Conv1D(width, int(rng.integers(1, 5)), padding=front, activation="relu")(y) + y
        y = layers.BatchNormalization()(y)
    elif front == "depthwise":
        y = layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2)(y)
        y = layers.SeparableConv1D(width, 3, padding="same")(y)
    elif front == "stride":
        y = layers.Conv1D(width, 3, strides=2, padding="causal")(y)
    for _ in range(int(rng.integers(1, 5))):
        kind, biased = rng.choice(["SimpleRNN", "GRU", "LSTM"]), bool(rng.integers(2))
        extra = {"reset_after": bool(rng.integers(2))} if kind == "GRU" else {}
        z = getattr(layers, kind)(width, return_sequences=True, use_bias=biased, unroll=False, **extra)(y)
        z = layers.Dropout(0.2)(z)
        if rng.integers(2):
            z = layers.LayerNormalization()(z)
        y = layers.Add()([y, z]) if rng.integers(2) else layers.Concatenate()([y, z])
        y = layers.Dense(width, activation="softsign")(y)
    if head == "last":
        y = layers.LSTM(width)(y)
    elif head == "item":
        y = y[:, -1]
    dense = layers.Dense(2)
    return randomized(keras.Model(x, (layers.TimeDistributed(dense) if head == "distributed" else dense)(y)), seed)


@pytest.mark.parametrize("seed", seeds(10, range(5)))
def test_random_models_stream(seed: int, tmp_path: Path) -> None:
    streams_as_keras(random_model(seed), tmp_path)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_every_activation(name: str, tmp_path: Path) -> None:
    equals_keras(sequential(layers.Dense(6, activation="tanh"), layers.Activation(name), seed=3), tmp_path)


def test_every_activation_of_keras_is_known_or_refused_for_a_reason() -> None:
    named = {name for name in dir(keras.activations) if not name.startswith("_")} - {"get", "serialize", "deserialize"}
    assert named - set(ACTIVATIONS) - {"swish", "hard_swish"} <= {"sparsemax", "threshold"}


@pytest.mark.parametrize("kind", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("name", sorted(RECURRENT))
def test_activations_inside_recurrent_layers(kind: str, name: str, tmp_path: Path) -> None:
    gates = {} if kind == "SimpleRNN" else {"recurrent_activation": "hard_sigmoid" if name == "tanh" else "sigmoid"}
    make = getattr(layers, kind)
    model = sequential(make(4, activation=name, return_sequences=True, **gates), make(3, activation=name, **gates))
    equals_keras(randomized(model, 1, scale=0.15), tmp_path)


def test_unusual_activations_inside_recurrent_layers_stream(tmp_path: Path) -> None:
    streams_as_keras(
        sequential(
            layers.LSTM(4, activation="softsign", recurrent_activation="hard_sigmoid", return_sequences=True),
            layers.GRU(4, activation="elu", recurrent_activation="hard_sigmoid", return_sequences=True),
        ),
        tmp_path,
    )


PARTS: dict[str, Callable[[], list[Any]]] = {
    "grouped": lambda: [layers.Dense(6), layers.Conv1D(4, 3, padding="causal", dilation_rate=2, groups=2)],
    "even same": lambda: [layers.Conv1D(4, 4, padding="same", activation="leaky_relu")],
    "valid stride": lambda: [layers.Conv1D(4, 3, strides=2, use_bias=False)],
    "causal stride": lambda: [layers.Conv1D(4, 4, strides=3, padding="causal")],
    "depthwise": lambda: [layers.DepthwiseConv1D(3, depth_multiplier=2, padding="same", activation="tanh")],
    "depthwise stride": lambda: [layers.DepthwiseConv1D(4, strides=2)],
    "separable": lambda: [layers.SeparableConv1D(5, 3, depth_multiplier=2, padding="same", dilation_rate=2)],
    "max": lambda: [layers.MaxPooling1D(3)],
    "max same": lambda: [layers.MaxPooling1D(2, strides=1, padding="same")],
    "average": lambda: [layers.AveragePooling1D(3, strides=2)],
    "average same": lambda: [layers.AveragePooling1D(3, strides=1, padding="same")],
    "padded": lambda: [layers.ZeroPadding1D((3, 1)), layers.Conv1D(3, 4), layers.Cropping1D((0, 1))],
    "norms": lambda: [layers.BatchNormalization(), layers.LayerNormalization(), layers.GaussianNoise(0.2)],
    "bare norms": lambda: [layers.BatchNormalization(scale=False), layers.LayerNormalization(center=False),
                           layers.LayerNormalization(scale=False), layers.SpatialDropout1D(0.3)],
    "adapted": lambda: [layers.Normalization()],
    "normalized": lambda: [layers.Normalization(mean=[1.0, 2, 3, 4, 5], variance=[1.0, 2, 3, 4, 5])],
    "inverted": lambda: [layers.Normalization(mean=2.0, variance=3.0, invert=True), layers.Rescaling(0.5, 1.0)],
    "slopes": lambda: [layers.PReLU(shared_axes=[1]), layers.LeakyReLU(0.3), layers.ELU(0.5), layers.Softmax()],
    "relu": lambda: [layers.ReLU(max_value=1, negative_slope=0.2, threshold=0.5)],
    "relus": lambda: [layers.ReLU(negative_slope=0.1, max_value=2), layers.ReLU()],
    "distributed": lambda: [layers.TimeDistributed(layers.Dense(3, activation="relu")),
                            layers.TimeDistributed(layers.BatchNormalization())],
    "reshaped": lambda: [layers.Reshape((-1, FEATURES, 1)), layers.Dense(2), layers.Reshape((-1, 2 * FEATURES))],
    "harmless mask": lambda: [layers.Masking(0.0), layers.Dense(3)],
    "inner": lambda: [keras.Sequential([layers.GRU(4, return_sequences=True), layers.Dense(4)]), layers.Dense(2)],
}  # fmt: skip


@pytest.mark.parametrize("name", PARTS)
def test_layers_equal_keras(name: str, tmp_path: Path) -> None:
    equals_keras(sequential(*PARTS[name]()), tmp_path)


@pytest.mark.parametrize(
    "name", ["grouped", "even same", "causal stride", "separable", "max same", "average same", "padded", "slopes"]
)
def test_layers_stream(name: str, tmp_path: Path) -> None:
    streams_as_keras(sequential(*PARTS[name]()), tmp_path)


def test_operations_on_tensors_and_shared_layers(tmp_path: Path) -> None:
    x = keras.Input((None, FEATURES))
    y = layers.Conv1D(6, 3, padding="causal", name="front")(x)
    shared = layers.Dense(6, name="shared")
    y = shared(shared(y) + y) * 0.5
    y = layers.Maximum()([2.0 - y, layers.Average()([y, y / 3.0])])
    y = keras.activations.relu(keras.activations.tanh(y))
    read = equals_keras(randomized(keras.Model(x, y[:, -1, :])), tmp_path)
    assert [call.name for call in read.calls if "shared" in call.name] == ["shared", "shared@2"]


def test_after_the_last_step_anything_may_be_reshaped(tmp_path: Path) -> None:
    tail = [layers.Flatten(), layers.Reshape((2, 2)), layers.Flatten(), layers.Dense(1)]
    equals_keras(sequential(layers.LSTM(4), *tail), tmp_path)


def test_names_of_layers_are_names_of_nodes(tmp_path: Path) -> None:
    path = saved(
        sequential(layers.GRU(3, name="memory", return_sequences=True), layers.Dense(1, name="head")), tmp_path
    )
    sequence = frontend.load(path, input_name=None, time_axis=None)
    assert {"memory": "GRU", "head": "MatMul"}.items() <= {n.name: n.op_type for n in sequence.model.graph.node}.items()
    assert sequence.framework == "Keras"


def test_a_window_is_made_free_and_told(tmp_path: Path) -> None:
    sequence = frontend.load(saved(sequential(layers.LSTM(3), window=30), tmp_path), input_name=None, time_axis=None)
    assert (sequence.window, sequence.inputs[0].shape) == (30, (1, -1, FEATURES))
    assert any("30 steps" in note for note in sequence.notes)


CELLS: dict[str, Callable[[], Any]] = {
    "one": lambda: layers.GRUCell(4, reset_after=False),
    "list": lambda: [layers.LSTMCell(4), layers.GRUCell(3), layers.LSTMCell(5, use_bias=False), layers.GRUCell(2)],
    "stacked": lambda: layers.StackedRNNCells([layers.SimpleRNNCell(4, activation="relu"), layers.LSTMCell(3)]),
}


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", CELLS)
def test_cells_are_layers_one_behind_the_other(name: str, tmp_path: Path, *, last: bool) -> None:
    rnn = layers.RNN(CELLS[name](), return_sequences=not last, name="memory")
    read = equals_keras(sequential(rnn, layers.Dense(2)), tmp_path)
    assert read.calls[-2].name == "memory"
    streams_as_keras(sequential(layers.RNN(CELLS[name](), return_sequences=not last), layers.Dense(2)), tmp_path)


def test_stateful_layers_start_from_zero(tmp_path: Path) -> None:
    parts = [keras.Input(batch_shape=(1, None, FEATURES)), layers.GRU(3, stateful=True, return_sequences=True)]
    model = randomized(keras.Sequential(parts))
    sequence = frontend.load(saved(model, tmp_path), input_name=None, time_axis=None)
    x = frames()
    close(sequence.double([x[None]])[0], predicted(model, x))
    assert any("stateful" in note for note in sequence.notes)


@pytest.mark.skipif(not REAL.is_file(), reason="EDGESEQ_MODELS names no folder with rul-lstm-keras/lstm_model.keras")
def test_a_real_model_equals_its_onnx_twin(tmp_path: Path) -> None:
    import onnxruntime  # noqa: PLC0415 - only here, behind edgeseq's telemetry switch

    sequence = frontend.load(REAL, input_name=None, time_axis=None)
    twin = onnxruntime.InferenceSession(REAL.with_suffix(".onnx"), providers=["CPUExecutionProvider"])
    name = twin.get_inputs()[0].name
    windows = np.random.default_rng(0).normal(size=(20, 30, 17)).astype(np.float32)
    expected = np.concatenate([twin.run(None, {name: window[None]})[0] for window in windows])
    source = sequence.inputs[0].name
    for run in (sequence.single, sequence.double, lambda x: session(sequence.model).run(None, {source: x[0]})):
        given = np.concatenate([run([window[None]])[0] for window in windows])
        np.testing.assert_allclose(given, expected, rtol=2e-6)
    assert sequence.window == 30
    bundle = export.export(REAL, tmp_path / "b", variants=["float32"], state="carry")
    step = edgeseq.load(bundle)
    for window, value in zip(windows[:3], expected, strict=False):
        step.reset()
        np.testing.assert_allclose(step.run(window)[-1], value, rtol=2e-6)
