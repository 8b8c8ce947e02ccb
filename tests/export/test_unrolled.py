"""Loops over time that an exporter unrolled: rolled again to what they were, at every length."""

from __future__ import annotations

from typing import Any

import models
import numpy as np
import onnx
import pytest
import torch
from renamed import renamed
from torch import nn
from unrolled_models import INPUTS, KINDS, Stack, Written, exported, flat, frames, gru, repeated, seeded, zeros

from export.frontends import onnx as frontend
from export.graph import session
from export.unrolled import rolled


def equals(model: onnx.ModelProto, module: nn.Module, length: int, loops: int) -> None:
    """Hold what is rolled against the module, at the length exported and at others."""
    result, count = rolled(model, INPUTS, length)
    assert (count, sum(node.op_type == "Scan" for node in result.graph.node)) == (loops, loops)
    runtime = session(result)
    for steps in (1, 2, length - 1, length, length + 1, 40):
        x = frames(steps, steps)
        with torch.no_grad():
            expected = module(torch.from_numpy(x))
        expected = expected if isinstance(expected, tuple) else (expected,)
        for given, wanted in zip(runtime.run(None, {"x": x}), expected, strict=True):
            assert given.shape == tuple(wanted.shape)
            np.testing.assert_allclose(given, wanted.numpy(), atol=1e-5)


@pytest.mark.parametrize("last", [False, True], ids=["every", "last"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_cell_of_any_kind_is_rolled(kind: str, last: bool) -> None:  # noqa: FBT001
    module = seeded(0, lambda: Stack([kind], 6, last=last))
    equals(exported(module, 7), module, 7, 1)


@pytest.mark.parametrize("kind", ["rnn", "reset", "peephole", "norm"])
def test_the_newer_exporter_unrolls_otherwise(kind: str) -> None:
    module = seeded(1, lambda: Stack([kind], 6, last=False))
    equals(exported(module, 6, dynamo=True), module, 6, 1)


@pytest.mark.parametrize("seed", models.seeds(10, range(5)))
def test_random_layers_are_rolled_with_scrambled_names(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = [str(kind) for kind in rng.choice(KINDS, rng.integers(1, 4))]
    last, together, norm = (bool(rng.integers(2)) for _ in range(3))
    hidden, length = int(rng.integers(2, 9)), int(rng.integers(3, 12))
    module = seeded(seed, lambda: Stack(kinds, hidden, last=last, together=together, norm=norm))
    equals(renamed(exported(module, length), seed, kept=["x"]), module, length, 1 if together else len(kinds))


def _second(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = torch.tanh(self.line(x) + 0.3 * state[0] - 0.5 * state[1])
    return h, (h, state[0])


def _third(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = torch.tanh(self.line(x) + 0.3 * state[0] - 0.5 * state[2])
    return h, (h, *state[:2])


def _difference(self: Any, x: torch.Tensor, state: Any) -> Any:
    h = self.cell(x - state[1], state[0])
    return h, (h, x)


def _lstm(self: Any, x: torch.Tensor, state: Any) -> Any:
    state = self.lstm(x, state)
    return state[0], state


def _twins(self: Any, x: torch.Tensor, state: Any) -> Any:
    a, b = self.cell(x, state[0]), self.cell(x, state[1])
    return a * b - b, (a, b)


def _growing(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, 0, 6)
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows = torch.cat([rows, h[:, None]], 1)
    return self.head(rows)


def _filled(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, x.shape[1], 6)
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows[:, t] = h
    return self.head(rows)


def _filled_last(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), torch.zeros(1, 6, x.shape[1])
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        rows[:, :, t] = h
    return rows.transpose(1, 2)


def _time_first(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = torch.zeros(1, 6), []
    for part in x.split(1, 1):
        h = self.cell(part.squeeze(1), h)
        rows.append(self.head(h))
    return torch.stack(rows).transpose(0, 1)


def _sum(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, total = torch.zeros(1, 6), 0
    for t in range(x.shape[1]):
        h = self.cell(x[:, t], h)
        total = total + h
    return self.head(torch.relu(total) + self.line(x[:, -1]))


def _none_at_first(self: Any, x: torch.Tensor) -> torch.Tensor:
    h, rows = None, []
    for t in range(x.shape[1]):
        h = torch.tanh(self.line(x[:, t]) if h is None else self.line(x[:, t]) + 0.5 * h)
        rows.append(h)
    return torch.stack(rows, 1)


def _with_last_state(self: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    rows = repeated(gru, zeros)(self, x)
    return rows, rows[:, -1] * 2


def _behind_a_convolution(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Padded on both sides and cut to as many steps as there are, as before a selective state-space layer."""
    weight = torch.stack([self.line.weight, -self.line.weight, 0.5 * self.line.weight], -1)
    y = nn.functional.conv1d(x.transpose(1, 2), weight, self.line.bias, padding=2)[:, :, : x.shape[1]].transpose(1, 2)
    h, rows = torch.zeros(1, 6), []
    for t in range(x.shape[1]):
        h = torch.sigmoid(y[:, t]) * h + y[:, t]
        rows.append(h)
    return self.head(torch.stack(rows, 1) * torch.sigmoid(y))


LOOPS = {
    "behind a convolution": _behind_a_convolution,
    "two turns back": repeated(_second, lambda _: (torch.zeros(1, 6),) * 2),
    "three turns back": repeated(_third, lambda _: (torch.zeros(1, 6),) * 3),
    "the frame before": repeated(_difference, lambda _: (torch.zeros(1, 6), torch.zeros(1, models.FEATURES))),
    "a learned start": repeated(gru, lambda self: self.start),
    "a learned start of an LSTM": repeated(_lstm, lambda self: (self.start, self.second)),
    "twins from two starts": repeated(_twins, lambda self: (torch.zeros(1, 6), self.start)),
    "no state": repeated(lambda self, x, _: (torch.tanh(self.line(x)), None), zeros),
    "a tensor that grows": _growing,
    "a tensor that is filled": _filled,
    "a tensor that is filled along its last axis": _filled_last,
    "rows side by side": flat,
    "time first, head inside": _time_first,
    "a sum": _sum,
    "no state at first": _none_at_first,
    "the last state too": _with_last_state,
}


@pytest.mark.long
@pytest.mark.parametrize("dynamo", [False, True])
@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_written_otherwise_is_rolled(name: str, dynamo: bool) -> None:  # noqa: FBT001
    module = seeded(2, lambda: Written(LOOPS[name]))
    equals(exported(module, 9, dynamo=dynamo), module, 9, 1)


def test_the_rolled_graph_equals_the_original_in_both_float_types() -> None:
    module = seeded(3, lambda: Stack(["peephole", "norm"], 8, last=False))
    model = exported(module, 12)
    result, _ = rolled(model, INPUTS, 12)
    x = frames(12)
    ours, theirs = (session(each).run(None, {"x": x})[0] for each in (result, model))
    np.testing.assert_allclose(ours, theirs, atol=1e-6)
    twins = [frontend.evaluator(each).run(None, {"x": x.astype(np.float64)})[0] for each in (result, model)]
    np.testing.assert_allclose(*twins, atol=1e-7)  # constants that the exporter folded are float32
    long = session(result).run(None, {"x": frames(90)})[0]
    np.testing.assert_array_equal(long[:, :30], session(result).run(None, {"x": frames(90)[:, :30]})[0])


def test_a_great_graph_is_rolled() -> None:
    model = exported(seeded(4, lambda: Stack(["lstm", "gru"], 8, last=True)), 128)
    assert len(model.graph.node) > 5000
    assert rolled(model, INPUTS, 128)[1] == 2
