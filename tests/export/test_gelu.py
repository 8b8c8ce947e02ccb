"""The five ops of a gelu become one, in whatever order exporters write them; what only looks like it stays as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import models
import onnx
import pytest
import torch
from lowered import equals_its_step, graph, stream_of
from quantized_families import FRAMES
from random_graphs import Builder

import export

ROOT, INVERSE = math.sqrt(2), math.sqrt(0.5)


def risen(b: Builder, x: str, *, by: float = ROOT, times: float = 0, one: float = 1.0) -> str:
    """1 + erf(x / √2)."""
    inner = b.op("Mul", b.constant(times), x) if times else b.op("Div", x, b.constant(by))
    return b.op("Add", b.op("Erf", inner), b.constant(one))


def half_first(b: Builder, x: str) -> str:
    return b.op("Mul", x, b.op("Mul", b.constant(0.5), risen(b, x)))


def half_last(b: Builder, x: str) -> str:
    return b.op("Mul", b.op("Mul", x, risen(b, x, times=INVERSE)), b.constant(0.5))


def half_of_x(b: Builder, x: str) -> str:
    return b.op("Mul", risen(b, x), b.op("Mul", x, b.constant(0.5)))


def by_two(b: Builder, x: str) -> str:
    return b.op("Div", b.op("Mul", risen(b, x), x), b.constant(2.0))


def of_a_multiple(b: Builder, x: str) -> str:
    doubled = b.op("Mul", x, b.constant(2.0))
    return b.op("Mul", doubled, b.op("Mul", risen(b, doubled), b.constant(0.5)))


SAME = {build.__name__: build for build in (half_first, half_last, half_of_x, by_two, of_a_multiple)}
OTHERS: dict[str, Callable[[Builder, str], str]] = {
    "another width": lambda b, x: b.op("Mul", x, b.op("Mul", b.constant(0.5), risen(b, x, by=1.5))),
    "another step": lambda b, x: b.op("Mul", x, b.op("Mul", b.constant(0.5), risen(b, x, one=1.1))),
    "another share": lambda b, x: b.op("Mul", x, b.op("Mul", b.constant(0.4), risen(b, x))),
    "another factor": lambda b, x: b.op("Mul", b.op("Tanh", x), b.op("Mul", b.constant(0.5), risen(b, x))),
    "x twice": lambda b, x: b.op("Mul", x, b.op("Mul", x, b.op("Mul", b.constant(0.5), risen(b, x)))),
    "squared": lambda b, x: b.op("Mul", *[b.op("Mul", b.constant(0.5), risen(b, x))] * 2),
    "none of x": lambda b, x: b.op("Mul", risen(b, x), b.constant(0.5)),
}


def read_within(b: Builder, x: str) -> str:
    """A gelu whose half is read besides."""
    part = b.op("Mul", b.constant(0.5), risen(b, x))
    return b.op("Add", b.op("Mul", x, part), part)


@pytest.mark.parametrize("name", SAME)
def test_a_gelu_is_one_op(name: str, tmp_path: Path) -> None:
    kinds = [op.kind for op in equals_its_step(stream_of(graph(SAME[name], tmp_path)), limit=2e-6).ops]
    assert kinds.count("Gelu") == 1
    assert "Erf" not in kinds


@pytest.mark.parametrize("name", OTHERS)
def test_what_looks_like_one_is_none(name: str, tmp_path: Path) -> None:
    kinds = [op.kind for op in equals_its_step(stream_of(graph(OTHERS[name], tmp_path)), limit=2e-6).ops]
    # "x twice" is a gelu times x.
    assert ("Gelu" in kinds) == (name == "x twice")


def test_one_that_is_read_within_stays(tmp_path: Path) -> None:
    kinds = [op.kind for op in equals_its_step(stream_of(graph(read_within, tmp_path))).ops]
    assert "Erf" in kinds
    assert "Gelu" not in kinds


class Gated(torch.nn.Module):
    """A gelu between two dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.front, self.head = torch.nn.Linear(models.FEATURES, 12), torch.nn.Linear(12, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.nn.functional.gelu(self.front(x)))


def test_onnx_files_keep_their_low_opset(tmp_path: Path) -> None:
    torch.manual_seed(0)
    bundle = export.export((Gated().eval(), models.example()), tmp_path / "b", variants=["float32", "int8"], **FRAMES)
    written = onnx.load(bundle.path / bundle.file("int8", "onnx").path)
    assert {node.op_type for node in written.graph.node} >= {"Erf", "Div"}
    assert written.opset_import[0].version < 20
