"""What the litert backend is tested on: a bundle a family of models, and every op of them in a file of its own.

`python litert_cases.py FOLDER`, with tests/export on PYTHONPATH, writes them, so that an environment without the
exporter can run the same tests.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest import mock

import chained_models
import family_models
import models
import numpy as np
import onnx
import op_cases
import quantized_families
import seq2seq_models
import torch
from families import FAMILIES, PAIRS, variants
from onnx import TensorProto, helper, numpy_helper
from test_recurrent_forms import recurrent
from torch import nn

import export
from edgeseq.bundle import STORAGE, GenerateTable
from export import beside
from export.program import Op, Program, ProgramState
from export.quantize.reference import Interpreter, plan
from export.variants import Maker, Variant
from export.writers import tflite as writer

GENERATES = export.About(generate=GenerateTable(start=1, stop=5, max_length=20))
FRAMES = 12
"""Frames of a free run whose integers each op is fed, besides as many rows of integers from the whole range."""
Arrays = dict[str, np.ndarray]


class Cell(nn.Module):
    """One recurrent layer and a dense head."""

    def __init__(self, layer: nn.Module, width: int = 12) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0])


class Mixed(nn.Module):
    """Every elementwise op that integers have, a join and a part."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gate, self.head = (
            nn.GRU(models.FEATURES, 8, batch_first=True),
            nn.Linear(8, 8),
            nn.Linear(16, 2),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.layer(x)[0]
        left, right = torch.split(torch.sigmoid(self.gate(h)) * h - torch.relu(h), 4, dim=-1)
        return self.head(torch.cat([-left, right + 0.25, torch.tanh(h)], dim=-1))


def gru_before() -> onnx.ModelProto:
    """Give a GRU whose reset gate works before the product, as Keras 2 and the papers have it."""
    rng = np.random.default_rng(3)
    shapes = {"w": (1, 36, models.FEATURES), "r": (1, 36, 12), "b": (1, 72), "head": (12, 2), "axes": ()}
    arrays = {name: rng.uniform(-0.3, 0.3, shape).astype(np.float32) for name, shape in shapes.items()}
    arrays["axes"] = np.array([1])
    nodes = [
        helper.make_node("GRU", ["x", "w", "r", "b"], ["ys"], hidden_size=12, linear_before_reset=0),
        helper.make_node("Squeeze", ["ys", "axes"], ["h"]),
        helper.make_node("MatMul", ["h", "head"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value("x", TensorProto.FLOAT, ["time", 1, models.FEATURES])],
        [value("y", TensorProto.FLOAT, ["time", 1, 2])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def peephole() -> onnx.ModelProto:
    """Give an LSTM whose gates see the cell's state."""
    model = recurrent("LSTM", peephole=True)
    for tensor in model.graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(array * np.float32(0.5), tensor.name))
    return model


def source(family: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Give what `export` takes of a family, and the options it needs."""
    torch.manual_seed(1)
    if family in {"gru_before", "peephole"}:
        file = folder / f"{family}.onnx"
        onnx.save(gru_before() if family == "gru_before" else peephole(), file)
        return str(file), {"time_axis": 0, "calibration": models.walks()}
    cells = {
        "rnn": lambda: Cell(nn.RNN(models.FEATURES, 12, batch_first=True)),
        "rnn_relu": lambda: Cell(nn.RNN(models.FEATURES, 12, nonlinearity="relu", batch_first=True)),
        "gru": lambda: Cell(nn.GRU(models.FEATURES, 12, batch_first=True)),
        "lstm": lambda: Cell(nn.LSTM(models.FEATURES, 12, batch_first=True)),
        "residual": lambda: models.Recurrent("gru", 2, 12, norm=False, residual=True, last=False),
        "projected": lambda: Cell(nn.LSTM(models.FEATURES, 12, num_layers=2, proj_size=6, batch_first=True), 6),
        "mixed": Mixed,
    }
    if family in cells:
        return (cells[family]().eval(), models.example()), {"calibration": models.walks()}
    if family == "keras":
        return keras_lstm(folder), {"calibration": models.walks()}
    if family in quantized_families.OWN:
        return quantized_families.source(family)
    module, example, options = family_models.made(family)
    return (module, example), options


def keras_lstm(folder: Path) -> str:
    """Write a Keras file: an LSTM, a norm and a dense layer."""
    import keras_models  # noqa: PLC0415 - Keras takes seconds to load

    layers = keras_models.layers
    parts = layers.LSTM(8, return_sequences=True), layers.LayerNormalization(), layers.Dense(2)
    return str(keras_models.saved(keras_models.sequential(*parts, scale=0.25), folder))


def exported(family: str, folder: Path) -> dict[str, Program]:
    """Export a family and give the Programs of its quantized variants."""
    given, options = source(family, folder)
    write_file, programs = beside.WRITERS["tflite"], {}

    def kept(maker: Maker, variant: Variant, *more: Any) -> Any:
        if variant.program is not None:
            programs[variant.name] = variant.program
        return write_file(maker, variant, *more)

    with mock.patch.dict(beside.WRITERS, {"tflite": kept}):
        export.export(given, folder / family, variants=variants(family), **options)
    return programs


def write(folder: Path) -> Path:
    """Write `<family>/`, the bundle, and `<family>.ops/`: one .tflite and one .npz an op and variant.

    `every.ops` has the ops that families do not come by, `stored` a model whose weights are stored smaller; PAIRS are
    encoder-decoders.
    """
    _written(folder / "every.ops", op_cases.cases())
    # Processes, for each exports its share in minutes; spawned, for PyTorch's threads do not survive a fork.
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        for written in [pool.submit(_one, name, folder) for name in (*FAMILIES, "stored", *PAIRS)]:
            written.result()
    return folder


def _one(name: str, folder: Path) -> None:
    if name in PAIRS:
        export.export((pair(name), seq2seq_models.tokens()), folder / name, about=GENERATES)
    elif name == "stored":
        given, options = source(name, folder)
        export.export(given, folder / name, variants=["float32", *STORAGE], **options)
    else:
        _written(folder / f"{name}.ops", ops(exported(name, folder)))


def pair(name: str) -> nn.Module:
    """Give an encoder-decoder, far from even odds, as trained models are."""
    torch.manual_seed(5)
    kinds: dict[str, Callable[[], nn.Module]] = {
        "pair": lambda: seq2seq_models.Recurrent(attention="additive"),
        "pair_whole": lambda: seq2seq_models.T5(width=8, layers=1),
        "pair_parts": lambda: chained_models.Behind(both=True),
    }
    module: Any = kinds[name]()
    with torch.no_grad():
        module.head.weight.mul_(4.0)
    made: nn.Module = module.eval()
    return made


def _written(folder: Path, found: Iterable[tuple[str, bytes, Arrays]]) -> None:
    folder.mkdir()
    for name, content, arrays in found:
        (folder / f"{name}.tflite").write_bytes(content)
        np.savez(folder / f"{name}.npz", **arrays)  # type: ignore[arg-type]


def ops(programs: Mapping[str, Program]) -> Iterator[tuple[str, bytes, Arrays]]:
    """Give every op of quantized Programs: its name, a file that holds it alone, what it is fed and must give."""
    rng = np.random.default_rng(0)
    for variant, program in programs.items():
        interpreter, fixed = Interpreter(program), program.constants()
        rows: list[Arrays] = []
        for _ in range(FRAMES):
            interpreter.step(frame(rng, program))
            rows.append(interpreter.values)
        for place, op in enumerate(program.ops):
            if op.kind == "Constant" or not op.inputs:
                continue
            if "float64" in map(program.dtype, (op.output, *op.inputs)):
                continue  # TFLite has none: tests/export/test_tflite_doubles.py is on what becomes of them
            given: Arrays = {}
            for name in op.inputs:
                if name in fixed:
                    given[name] = fixed[name][None].astype(np.int64 if name in program.types else fixed[name].dtype)
                    continue
                seen = np.concatenate([row[name] for row in rows])
                places = op.kind == "Gather" and name == op.inputs[1]
                wild = rng.permutation(seen) if places else anything(rng, program, name, FRAMES)
                given[name] = np.concatenate([seen, wild])
            expected = plan(op, program)(*(given[name] for name in op.inputs))
            fed = {f"in{op.inputs.index(name)}": array for name, array in given.items() if name not in fixed}
            yield f"{variant}.{place}.{op.kind}", writer.write(alone(program, op), ["y"]), fed | {"expected": expected}


def frame(rng: np.random.Generator, program: Program) -> np.ndarray:
    """Give a step's frames, [1, frames, features]: measured values, or one of the first tokens."""
    parts = []
    for entry in program.inputs:
        shape = (1, program.frames, entry.columns.stop - entry.columns.start)
        parts.append(rng.normal(size=shape) if entry.dtype == "float32" else rng.integers(0, 4, shape))
    return np.concatenate(parts, axis=2).astype(np.float32)


def anything(rng: np.random.Generator, program: Program, name: str, count: int) -> np.ndarray:
    shape, kind, dtype = program.shapes[name], program.types.get(name), program.dtype(name)
    if kind is not None:
        low, high = kind.limits
        return rng.integers(low, high + 1, (count, *shape))
    if dtype == "float32":
        return (4 * rng.normal(size=(count, *shape))).astype(np.float32)
    most = 2 if dtype == "bool" else 2**40
    return rng.integers(0, most, (count, *shape)).astype(dtype)


def alone(program: Program, op: Op) -> Program:
    """Give a Program of one op: what it is fed enters as states in0, in1, …; what it gives is the output."""
    fixed = program.constants()
    small = Program([], 1, [op.output], shapes=program.shapes, dtypes=program.dtypes, types=program.types)
    small.states = [
        ProgramState(f"in{index}", name, name, np.zeros(program.shapes[name], np.float32))
        for index, name in enumerate(op.inputs) if name not in fixed and name not in op.inputs[:index]
    ]  # fmt: skip
    small.ops = [o for o in program.ops if o.output in op.inputs and o.kind == "Constant"] + [op]
    return small


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write(target)
