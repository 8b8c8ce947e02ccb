"""What the litert backend is tested on: a bundle a family of cells, and every op of them in a file of its own.

`python litert_cases.py FOLDER`, with tests/export on PYTHONPATH, writes them, so that an environment without the
exporter can run the same tests.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import models
import numpy as np
import onnx
import torch
from families import FAMILIES, VARIANTS
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import export
from export import tflite
from export.program import Op, Program, ProgramState
from export.quantize.reference import Interpreter
from export.variants import Maker
from export.writers import tflite as writer

FRAMES = 12
"""Frames of a free run whose integers each op is fed, besides as many rows of integers from the whole range."""


class Cell(nn.Module):
    """One recurrent layer and a dense head."""

    def __init__(self, layer: nn.Module, width: int = 12) -> None:
        super().__init__()
        self.layer, self.head = layer, nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.layer(x)[0])


class Mixed(nn.Module):
    """Every elementwise op that can be lowered, a join and a part."""

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


def source(family: str, folder: Path) -> tuple[Any, dict[str, Any]]:
    """Give what `export` takes of a family, and the options it needs."""
    torch.manual_seed(1)
    if family == "gru_before":
        file = folder / "gru_before.onnx"
        onnx.save(gru_before(), file)
        return str(file), {"time_axis": 0}
    made = {
        "rnn": lambda: Cell(nn.RNN(models.FEATURES, 12, batch_first=True)),
        "rnn_relu": lambda: Cell(nn.RNN(models.FEATURES, 12, nonlinearity="relu", batch_first=True)),
        "gru": lambda: Cell(nn.GRU(models.FEATURES, 12, batch_first=True)),
        "lstm": lambda: Cell(nn.LSTM(models.FEATURES, 12, batch_first=True)),
        "residual": lambda: models.Recurrent("gru", 2, 12, norm=False, residual=True, last=False),
        "mixed": Mixed,
    }
    return (made[family]().eval(), models.example()), {}


def exported(family: str, folder: Path) -> Maker:
    """Export a family and give the Maker of its variants."""
    given, options = source(family, folder)
    write_files, makers = tflite.write, []

    def kept(maker: Maker, *more: Any) -> Any:
        makers.append(maker)
        return write_files(maker, *more)

    with mock.patch.object(tflite, "write", kept):
        export.export(given, folder / family, calibration=models.walks(), **options)
    return makers[0]


def write(folder: Path) -> Path:
    """Write `<family>/`, the bundle, and `<family>.ops/`: one .tflite and one .npz an op and variant."""
    for family in FAMILIES:
        maker = exported(family, folder)
        (folder / f"{family}.ops").mkdir()
        for name, content, arrays in ops(maker):
            (folder / f"{family}.ops" / f"{name}.tflite").write_bytes(content)
            np.savez(folder / f"{family}.ops" / f"{name}.npz", **arrays)
    return folder


def ops(maker: Maker) -> Iterator[tuple[str, bytes, dict[str, np.ndarray]]]:
    """Give every op of the quantized variants: its name, a file that holds it alone, what it is fed and must give."""
    rng = np.random.default_rng(0)
    for variant in VARIANTS[1:]:
        program = maker.make(variant).program
        assert program is not None
        interpreter = Interpreter(program)
        rows: list[dict[str, np.ndarray]] = []
        for frame in models.walks(1)[0][:FRAMES]:
            interpreter.step(frame[None])
            rows.append(interpreter.values)
        for place, (op, plan) in enumerate(zip(program.ops, interpreter._plans, strict=True)):
            if op.kind == "constant":
                continue
            seen = [np.concatenate([row[name] for row in rows]) for name in op.inputs if name not in constants(program)]
            wild = [anything(rng, program, name, FRAMES) for name in op.inputs if name not in constants(program)]
            fed = [np.concatenate(pair) for pair in zip(seen, wild, strict=True)]
            fixed = {o.output: o.arrays["value"] for o in program.ops if o.kind == "constant"}
            everything = iter(fed)
            expected = plan(
                *(fixed[name].astype(np.int64) if name in fixed else next(everything) for name in op.inputs)
            )
            small = alone(program, op)
            shapes = {small.input: (1, small.sizes[small.input]), "y": (1, small.sizes[small.output])}
            shapes |= {state.name: (1, small.sizes[state.output]) for state in small.states}
            arrays = {f"in{index}": array for index, array in enumerate(fed)} | {"expected": expected}
            yield f"{variant}.{place}.{op.kind}", writer.write(small, shapes, "y"), arrays


def constants(program: Program) -> set[str]:
    return {op.output for op in program.ops if op.kind == "constant"}


def anything(rng: np.random.Generator, program: Program, name: str, count: int) -> np.ndarray:
    size, kind = program.sizes[name], program.types.get(name)
    if kind is None:
        return (100 * rng.normal(size=(count, size))).astype(np.float32)
    low, high = kind.limits
    return rng.integers(low, high + 1, (count, size))


def alone(program: Program, op: Op) -> Program:
    """Give a Program of one op: its integer inputs enter as states in0, in1, …; what it gives leaves as `result`."""
    fed = [name for name in op.inputs if name not in constants(program)]
    real = op.inputs and op.inputs[0] not in program.types
    entering = op.inputs[0] if real else "frame"
    sizes = {**program.sizes, "frame": 1, "before": program.sizes[op.output]}
    small = Program(entering, entering, [], sizes, types=dict(program.types))
    nothing = np.zeros(0, np.float32)
    if not real:
        small.states = [ProgramState(f"in{index}", name, name, nothing) for index, name in enumerate(fed)]
    small.ops = [o for o in program.ops if o.output in op.inputs and o.kind == "constant"] + [op]
    if op.output in program.types:
        small.types["before"] = program.types[op.output]
        small.states.append(ProgramState("result", "before", op.output, nothing))
    else:
        small.output = op.output
    return small


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    write(target)
