"""Recurrent layers as Python loops over cells written by hand: what exporters unroll."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import models
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from export.graph import Input

GATES = {"rnn": 1, "relu": 1, "gru": 3, "reset": 3, "norm": 3, "lstm": 4, "peephole": 4, "projected": 4, "minimal": 2}
KINDS = list(GATES)
PROJECTED = 3
INPUTS = (Input("x", (1, -1, models.FEATURES)),)


class Cell(nn.Module):
    """One cell. reset: a GRU that resets the state before it is multiplied. norm: a GRU with layer norms at gates."""

    def __init__(self, kind: str, inputs: int, hidden: int) -> None:
        super().__init__()
        self.kind, self.hidden = kind, hidden
        self.outputs = PROJECTED if kind == "projected" else hidden
        self.x = nn.Linear(inputs, GATES[kind] * hidden)
        self.r = nn.Linear(self.outputs, GATES[kind] * hidden, bias=kind != "lstm")
        self.norms = nn.ModuleList(nn.LayerNorm(GATES[kind] * hidden) for _ in range(2))
        self.peep = nn.Parameter(torch.randn(3, hidden) * 0.3)
        self.project = nn.Linear(hidden, PROJECTED, bias=False)

    def start(self, batch: int) -> Any:
        zeros = torch.zeros(batch, self.hidden)
        if self.kind in ("lstm", "peephole", "projected"):
            return torch.zeros(batch, self.outputs), zeros
        return zeros

    def forward(self, x: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        h = state[0] if isinstance(state, tuple) else state
        gx, gh = self.x(x), self.r(h)
        if self.kind in ("rnn", "relu"):
            h = torch.tanh(gx + gh) if self.kind == "rnn" else torch.relu(gx + gh)
            return h, h
        if self.kind == "minimal":
            (a, b), (c, d) = gx.chunk(2, -1), gh.chunk(2, -1)
            f = torch.sigmoid(a + c)
            h = (1 - f) * h + f * torch.tanh(b + f * d)
            return h, h
        if isinstance(state, tuple):
            return self._lstm(gx + gh, state[1])
        if self.kind == "norm":
            gx, gh = self.norms[0](gx), self.norms[1](gh)
        (xr, xz, xn), (hr, hz, hn) = gx.chunk(3, -1), gh.chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        rows = slice(2 * self.hidden, None)
        hn = nn.functional.linear(r * h, self.r.weight[rows], self.r.bias[rows]) if self.kind == "reset" else r * hn
        h = (1 - z) * torch.tanh(xn + hn) + z * h
        return h, h

    def _lstm(self, gates: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, Any]:
        i, f, g, o = gates.chunk(4, -1)
        if self.kind == "peephole":
            i, f = i + self.peep[0] * c, f + self.peep[1] * c
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o + self.peep[2] * c if self.kind == "peephole" else o) * torch.tanh(c)
        h = self.project(h) if self.kind == "projected" else h
        return h, (h, c)


class Stack(nn.Module):
    """Layers of cells. together: all of them in one loop over time; otherwise one loop a layer."""

    def __init__(
        self, kinds: list[str], hidden: int, *, last: bool, together: bool = False, norm: bool = False
    ) -> None:
        super().__init__()
        sizes = [models.FEATURES, *(PROJECTED if kind == "projected" else hidden for kind in kinds)]
        self.cells = nn.ModuleList(Cell(kind, size, hidden) for kind, size in zip(kinds, sizes, strict=False))
        self.norms = nn.ModuleList(nn.LayerNorm(size) if norm else nn.Identity() for size in sizes[1:])
        self.head = nn.Sequential(nn.Linear(sizes[-1], 4), nn.ReLU(), nn.Linear(4, 2))
        self.last, self.together = last, together

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.together:
            states, rows = [cell.start(x.shape[0]) for cell in self.cells], []
            for t in range(x.shape[1]):
                y = x[:, t]
                for place, cell in enumerate(self.cells):
                    y, states[place] = cell(y, states[place])
                rows.append(y)
            return self.head(rows[-1] if self.last else torch.stack(rows, 1))
        for cell, norm in zip(self.cells, self.norms, strict=True):
            state, rows = cell.start(x.shape[0]), []
            for t in range(x.shape[1]):
                y, state = cell(x[:, t], state)
                rows.append(y)
            x = norm(torch.stack(rows, 1))
        return self.head(x[:, -1] if self.last else x)


class Written(nn.Module):
    """Layers to be used in a loop that the test writes."""

    def __init__(self, loop: Callable[[Any, torch.Tensor], Any]) -> None:
        super().__init__()
        self.cell, self.lstm = nn.GRUCell(models.FEATURES, 6), nn.LSTMCell(models.FEATURES, 6)
        self.cells = nn.ModuleList(nn.GRUCell(models.FEATURES, 6) for _ in range(24))
        self.line, self.head = nn.Linear(models.FEATURES, 6), nn.Linear(6, 2)
        self.start, self.second = nn.Parameter(torch.randn(1, 6)), nn.Parameter(torch.randn(1, 6))
        self.table = nn.Parameter(torch.randn(64, 6))
        self.loop = loop

    def forward(self, x: torch.Tensor) -> Any:
        return self.loop(self, x)


def repeated(step: Callable[[Any, torch.Tensor, Any], tuple[torch.Tensor, Any]], start: Callable[[Any], Any]) -> Any:
    """Write a loop whose step takes and gives a state of any form."""

    def run(self: Any, x: torch.Tensor) -> torch.Tensor:
        state, rows = start(self), []
        for t in range(x.shape[1]):
            y, state = step(self, x[:, t], state)
            rows.append(y)
        return torch.stack(rows, 1)

    return run


def zeros(*_: Any) -> torch.Tensor:
    return torch.zeros(1, 6)


def gru(self: Any, x: torch.Tensor, h: Any) -> Any:
    h = self.cell(x, h)
    return h, h


def flat(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for part in x.unbind(1):
        h = self.cell(part, h)
        rows.append(h)
    return self.head(torch.cat(rows, 1).view(1, x.shape[1], 6))


def own_weights(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = self.cells[t](x[:, t], h)
        rows.append(h)
    return torch.stack(rows, 1)


def backward(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for t in reversed(range(x.shape[1])):
        h = self.cell(x[:, t], h)
        rows.append(h)
    return torch.stack(rows[::-1], 1)


def whole(self: Any, x: torch.Tensor) -> torch.Tensor:
    mean = self.line(x.mean(1))
    return repeated(lambda self, part, h: gru(self, part, h + mean), zeros)(self, x)


def seeded(seed: int, make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(seed)
    return make().eval()


def exported(module: nn.Module, length: int, *, dynamo: bool = False) -> onnx.ModelProto:
    """Export at one length, which is then in the graph."""
    file = io.BytesIO()
    sample = (torch.zeros(1, length, models.FEATURES),)
    if not dynamo:
        torch.onnx.export(module, sample, file, dynamo=False, input_names=["x"], opset_version=17)
        return onnx.load_from_string(file.getvalue())
    return torch.onnx.export(module, sample, dynamo=True, input_names=["x"], verbose=False).model_proto


def frames(steps: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(1, steps, models.FEATURES)).astype(np.float32)
