"""What TFLite's QUANTIZE is given is limited, unless it cannot be too great; and what is said to be small is."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import pytest
import torch
from quantized_families import FAMILIES, FRAMES, VARIANTS, family, frames
from test_tflite import NAMES, read
from torch import nn

import edgeseq
import export
from export.quantize.reference import Interpreter
from export.writers.tflite.magnitudes import magnitudes

FAR = 1e30
"""A frame's number far beyond what 32 bits of steps hold."""


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", FAMILIES)
def test_no_value_is_greater_than_is_said(name: str, variant: str) -> None:
    made = family(name)
    program = made.program(variant)
    known = magnitudes(program)
    interpreter, count = Interpreter(program), 40
    given = frames(made.stream, count).reshape(count, made.stream.frames_per_step, -1)
    spread = 1 if any(entry.dtype == "int64" for entry in program.inputs) else 1000
    for x in given * spread:
        interpreter.step(x[None])
        for op in program.ops:
            value = interpreter.values[op.output]
            if op.output not in program.types and value.dtype.kind == "f":
                assert np.abs(value).max() <= known[op.output] * (1 + 1e-6), op


class Normed(nn.Module):
    """A norm, a gelu and a softmax between dense layers: of what they give, nothing is far from zero."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.inner, self.head = nn.Linear(models.FEATURES, 8), nn.Linear(8, 8), nn.Linear(8, 2)
        self.norm = nn.LayerNorm(8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.gelu(self.inner(self.norm(self.front(x))))
        return self.head(torch.softmax(y, -1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_frames_alone_are_limited(variant: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    given = Normed().eval(), models.example()
    bundle = export.export(given, tmp_path / "b", variants=["float32", variant], **FRAMES)
    file = read(bundle.path / bundle.file(variant, "tflite").path)
    kinds = [NAMES[file.operatorCodes[op.opcodeIndex].builtinCode] for op in file.subgraphs[0].operators]
    assert kinds.count("QUANTIZE") >= {"int8": 3, "w8a16": 1}[variant]
    assert (kinds.count("MAXIMUM"), kinds.count("MINIMUM")) == (1, 1)
    rows = np.array([[FAR] * models.FEATURES, [-FAR] * models.FEATURES, [FAR, -FAR, 0, 1, FAR]], np.float32)
    expected, got = (edgeseq.load(bundle.path, backend, variant).run(rows) for backend in ("native", "litert"))
    # A step of int8, 0.011, moves a share by a quarter of it, and that times a weight of up to 0.35 an output. Without
    # limits they are 0.03 apart.
    np.testing.assert_allclose(got, expected, atol=1e-3)


def test_what_leaves_is_not_copied(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = export.export((models.gru(), models.example()), tmp_path / "b", variants=["float32"], **FRAMES)
    file = read(bundle.path / bundle.file("float32", "tflite").path)
    graph = file.subgraphs[0]
    shapes = [tuple(tensor.shape) for tensor in graph.tensors]
    assert {int(index) for op in graph.operators for index in (*op.inputs, *op.outputs)} == {*range(len(shapes))}
    reshaped = [op for op in graph.operators if NAMES[file.operatorCodes[op.opcodeIndex].builtinCode] == "RESHAPE"]
    assert not [op for op in reshaped if shapes[op.inputs[0]] == shapes[op.outputs[0]]]
    assert {graph.tensors[index].name.decode() for index in graph.outputs} == {"output", "gru0.h.out"}
