"""Keras models that cannot stream, and files that are damaged or hostile: always one ExportError, nothing executed."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras_models import FEATURES, keras, layers, saved, sequential

import export
from export.frontends import keras as frontend


def refused(model: Any, folder: Path, message: str, **options: Any) -> None:
    path = saved(model, folder)
    with pytest.raises(export.ExportError, match=message) as caught:
        export.export(path, folder / "b", variants=["float32"], **options)
    assert "\n" not in str(caught.value)
    assert not (folder / "b").exists()


REFUSED: dict[str, tuple[Callable[[], list[Any]], str]] = {
    "bidirectional": (
        lambda: [layers.Bidirectional(layers.LSTM(3), name="both")],
        r"'both' \(Bidirectional\).*forward",
    ),
    "lambda": (lambda: [layers.Lambda(lambda x: x * 2, name="code")], r"'code' \(Lambda\).*pickled"),
    "masking": (lambda: [layers.Masking(name="m"), layers.LSTM(3)], r"'m' \(Masking\).*padded.*LSTM"),
    "masked value": (lambda: [layers.Masking(-1.0, name="m"), layers.Dense(3)], r"'m' \(Masking\)"),
    "backwards": (lambda: [layers.GRU(3, go_backwards=True, name="g")], r"'g' \(GRU\).*go_backwards"),
    "backward cells": (
        lambda: [layers.RNN([layers.GRUCell(3), layers.GRUCell(2)], go_backwards=True, name="r")],
        r"'r/gru_cell\w*' \(GRU\).*go_backwards",
    ),
    "own cell": (lambda: [layers.RNN(OwnCell(3), name="r")], r"'r' \(RNN\).*OwnCell"),
    "flatten": (lambda: [layers.Flatten(name="f"), layers.Dense(1)], r"'f' \(Flatten\).*window"),
    "repeat": (lambda: [layers.LSTM(3), layers.RepeatVector(30, name="r")], r"'r' \(RepeatVector\)"),
    "same stride": (lambda: [layers.Conv1D(3, 3, strides=2, padding="same", name="c")], r"'c' \(Conv1D\).*causal"),
    "sparsemax": (lambda: [layers.Dense(3, activation="sparsemax", name="d")], r"'d' \(Dense\).*sparsemax"),
    "gelu inside": (lambda: [layers.LSTM(3, activation="gelu", name="l")], r"'l' \(LSTM\).*gelu"),
    "own activation": (
        lambda: [layers.Dense(3, activation=layers.LeakyReLU(0.1), name="d")],
        r"'d' \(Dense\).*LeakyReLU",
    ),
    "over time": (lambda: [layers.LayerNormalization(axis=1, name="n")], r"'n' \(LayerNormalization\).*over time"),
    "slopes in time": (lambda: [layers.PReLU(name="p")], r"'p' \(PReLU\).*shared_axes"),
    "reshape": (lambda: [layers.Reshape((15, 10), name="r")], r"'r' \(Reshape\).*time and features"),
    "distributed": (
        lambda: [layers.TimeDistributed(layers.RepeatVector(2), name="t")],
        r"'t' \(TimeDistributed\).*Repeat",
    ),
    "float16": (lambda: [layers.Dense(3, dtype="mixed_float16", name="d")], r"'d' \(Dense\).*mixed_float16"),
    "permute": (lambda: [layers.Permute((2, 1), name="p")], r"'p' \(Permute\)"),
    "unknown": (lambda: [layers.UnitNormalization(name="u")], r"'u' \(UnitNormalization\).*not known"),
    "mean": (lambda: [layers.GlobalAveragePooling1D(name="g")], r"'g' \(ReduceMean\)"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_stream_is_refused_by_the_layers_name(name: str, tmp_path: Path) -> None:
    parts, message = REFUSED[name]
    model = keras.Sequential([keras.Input((30, FEATURES)), *parts()])
    refused(model, tmp_path, message, state="carry")


def test_a_last_step_needs_a_choice(tmp_path: Path) -> None:
    refused(sequential(layers.LSTM(3), layers.Dense(1), window=30), tmp_path, "--state carry")


def test_several_inputs_outputs_and_states_read_are_refused(tmp_path: Path) -> None:
    x, other = keras.Input((None, FEATURES)), keras.Input((None, FEATURES))
    refused(keras.Model([x, other], layers.Add()([x, other])), tmp_path, "2 inputs and 1 outputs")
    refused(keras.Model(x, [layers.Dense(1)(x), layers.Dense(2)(x)]), tmp_path, "1 inputs and 2 outputs")
    _, state = layers.GRU(3, return_state=True, name="memory")(x)
    refused(keras.Model(x, state), tmp_path, "'memory'.*state is read")
    refused(keras.Model(x, layers.GRU(3, name="g")(x, initial_state=layers.GRU(3)(x))), tmp_path, "'g'.*initial_state")
    refused(keras.Model(x, layers.Dropout(0.5, name="d")(x, training=True)), tmp_path, "'d'.*training")
    refused(keras.Model(x, layers.Dense(1)(x[:, 0])), tmp_path, "GetItem.*last time step")


class OwnCell(layers.GRUCell):  # type: ignore[misc]
    pass


class Own(keras.Model):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.dense = layers.Dense(2)

    def call(self, x: Any) -> Any:
        return self.dense(x)


class OwnLayer(layers.Dense):  # type: ignore[misc]
    pass


def test_classes_of_the_users_own_are_refused(tmp_path: Path) -> None:
    model = Own()
    model(np.zeros((1, 3, FEATURES), np.float32))
    refused(model, tmp_path, "'Own'.*class of its own.*Functional")
    refused(sequential(OwnLayer(2, name="mine")), tmp_path, r"'mine' \(OwnLayer\).*executed")


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, content: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(sequential(layers.LSTM(3, return_sequences=True), layers.Dense(1)), tmp_path_factory.mktemp("plain"))


def rejected(path: Path, message: str) -> None:
    with pytest.raises(export.ExportError, match=message) as caught:
        frontend.load(path, input_name=None, time_axis=None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"../config.json": b"{}"}, "leads out of its folder"),
        ({"/etc/passwd": b""}, "leads out of its folder"),
        ({"..\\evil": b""}, "leads out of its folder"),
        ({"config.json": None}, r"holds no config\.json"),
        ({"model.weights.h5": None}, r"holds no model\.weights\.h5"),
        ({"config.json": b"[" * 200_000}, r"config\.json is no JSON"),
        ({"config.json": b"[]"}, "no JSON object"),
        ({"config.json": b"{}"}, "class of its own"),
        ({"config.json": b'{"class_name": "Sequential", "config": {}}'}, "not as Keras 3 writes it"),
        ({"config.json": b'{"class_name": "Sequential", "config": {"layers": [7]}}'}, "not as Keras 3 writes it"),
        ({"metadata.json": b'{"keras_version": "2.15.0"}'}, "Keras 3"),
        ({"model.weights.h5": b"nothing"}, "no HDF5 file"),
    ],
)
def test_hostile_and_damaged_archives(
    change: dict[str, bytes | None], message: str, plain: Path, tmp_path: Path
) -> None:
    content = {**members(plain), **change}
    path = written(tmp_path / "m.keras", {name: data for name, data in content.items() if data is not None})
    rejected(path, message)


def test_bombs_are_not_unpacked(plain: Path, tmp_path: Path) -> None:
    content = {**members(plain), "config.json": b" " * (10 << 20)}
    rejected(written(tmp_path / "m.keras", content, zipfile.ZIP_DEFLATED), "claims 10,485,760 bytes")


def test_truncated_files_at_any_length(plain: Path, tmp_path: Path) -> None:
    data, path = plain.read_bytes(), tmp_path / "m.keras"
    for length in np.linspace(0, len(data) - 1, 40, dtype=int):
        path.write_bytes(data[:length])
        rejected(path, r"no readable \.keras file")


def test_flipped_bytes_are_found_or_harmless(plain: Path, tmp_path: Path) -> None:
    """Whatever a damaged byte does, it ends in ExportError or in a model: never in another exception."""
    data, path = bytearray(plain.read_bytes()), tmp_path / "m.keras"
    for at in np.random.default_rng(0).integers(0, len(data), 60):
        damaged = bytearray(data)
        damaged[at] ^= 0xFF
        path.write_bytes(damaged)
        try:
            frontend.load(path, input_name=None, time_axis=None)
        except export.ExportError:
            continue


def test_any_damage_inside_the_weights_ends_in_one_kind_of_error(plain: Path, tmp_path: Path) -> None:
    content, rng = members(plain), np.random.default_rng(1)
    for _ in range(150):
        damaged = bytearray(content["model.weights.h5"])
        for at in rng.integers(0, len(damaged), 3):
            damaged[at] = int(rng.integers(256))
        path = written(tmp_path / "m.keras", {**content, "model.weights.h5": bytes(damaged)})
        with contextlib.suppress(export.ExportError):
            frontend.load(path, input_name=None, time_axis=None)


def with_weights(plain: Path, path: Path, change: Callable[[h5py.File], None]) -> Path:
    content = members(plain)
    buffer = io.BytesIO(content["model.weights.h5"])
    with h5py.File(buffer, "a") as file:
        change(file)
    return written(path, {**content, "model.weights.h5": buffer.getvalue()})


KERNEL = "layers/dense/vars/0"


def _replaced(file: h5py.File, **options: Any) -> None:
    del file[KERNEL]
    file.create_dataset(KERNEL, **options)


WEIGHTS: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "missing": (lambda f: f.pop(KERNEL), "missing"),
    "huge": (lambda f: _replaced(f, shape=(1 << 40, 1), dtype="f4", chunks=(1 << 10, 1)), "more than the file"),
    "shape": (lambda f: _replaced(f, data=np.zeros((4, 1), np.float32)), r"'dense\w*' \(Dense\).*shapes"),
    "type": (lambda f: _replaced(f, data=np.zeros((3, 1), np.float64)), "float64"),
    "nan": (lambda f: f[KERNEL].write_direct(np.full((3, 1), np.nan, np.float32)), "NaN"),
    "external": (lambda f: _replaced(f, shape=(3, 1), dtype="f4", external=[("/etc/hostname", 0, 12)]), "another file"),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_hostile_and_damaged_weights(name: str, plain: Path, tmp_path: Path) -> None:
    change, message = WEIGHTS[name]
    rejected(with_weights(plain, tmp_path / "m.keras", change), message)


@pytest.mark.parametrize("link", [h5py.ExternalLink("/etc/hostname", "/x"), h5py.SoftLink("/layers/dense/vars/1")])
def test_links_are_not_followed(link: Any, plain: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        del file[KERNEL]
        file[KERNEL] = link

    rejected(with_weights(plain, tmp_path / "m.keras", change), "not followed")


def test_configurations_that_lie_are_refused(plain: Path, tmp_path: Path) -> None:
    """Every number, list and text of the configuration in turn becomes something else: only ExportError may come."""
    content = members(plain)
    config = json.loads(content["config.json"])
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            places.append((part, key))
            if isinstance(value, dict | list):
                walk(value)

    walk(config["config"]["layers"])
    for part, key in places:
        before = part[key]
        for other in (None, -1, "no", [], {}):
            part[key] = other
            path = written(tmp_path / "m.keras", {**content, "config.json": json.dumps(config).encode()})
            with contextlib.suppress(export.ExportError):
                frontend.load(path, input_name=None, time_axis=None)
            part[key] = before


def test_keras_is_not_imported(plain: Path) -> None:
    code = (
        "import sys; from export.frontends import load; load(sys.argv[1]);"
        "assert not {'keras', 'tensorflow', 'torch', 'pickle5'} & set(sys.modules), 'loaded'"
    )
    subprocess.run([sys.executable, "-c", code, str(plain)], check=True)
