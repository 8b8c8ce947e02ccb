"""Loops over time, as torch.jit.script leaves them and as written by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from models import FEATURES, example, walks
from onnx import TensorProto, helper, numpy_helper
from scans import node, scramble, value, whole
from torch import Tensor, nn
from torch._higher_order_ops.scan import scan as torch_scan

import edgeseq
import export

OPTIONS: dict[str, Any] = {"calibration": walks(), "variants": ["float32"]}
HIDDEN = 6


@torch.jit.script
def cell(xt: Tensor, h: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    z, r, n = (xt @ weight.t()).chunk(3, 1)
    hz, hr, hn = (h @ recurrence.t()).chunk(3, 1)
    z, r = torch.sigmoid(z + hz), torch.sigmoid(r + hr)
    return (1 - z) * torch.tanh(n + r * hn) + z * h


@torch.jit.script
def listed(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    for t in range(x.size(1)):
        h = cell(x[:, t], h, weight, recurrence)
        outputs.append(h)
    return torch.stack(outputs, 1)


@torch.jit.script
def grown(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs = torch.zeros(x.size(0), 0, 6)
    for t in range(x.size(1)):
        h = cell(x[:, t], h, weight, recurrence)
        outputs = torch.cat([outputs, h.unsqueeze(1)], 1)
    return outputs


@torch.jit.script
def filled(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs = torch.zeros(x.size(0), x.size(1), 6)
    for t in range(x.size(1)):
        h = cell(x[:, t], h, weight, recurrence)
        outputs[:, t] = h
    return outputs


@torch.jit.script
def counted(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    t = 0
    while t < x.size(1):
        h = cell(x[:, t], h, weight, recurrence)
        outputs.append(h.unsqueeze(1))
        t += 1
    return torch.cat(outputs, 1)


@torch.jit.script
def time_first(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(1, 6)
    outputs: list[Tensor] = []
    for t in range(x.size(1)):
        h = cell(x.transpose(0, 1)[t], h, weight, recurrence)
        outputs += [h]
    return torch.stack(outputs).transpose(0, 1)


@torch.jit.script
def stacked(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    first = listed(x, weight, recurrence)
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    for t in range(first.size(1)):
        h = torch.tanh(first[:, t] @ recurrence[:6].t() + 0.5 * h)
        outputs.append(h + first[:, t])
    return torch.stack(outputs, 1)


@torch.jit.script
def backwards(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    for t in range(x.size(1)):
        h = cell(x[:, x.size(1) - 1 - t], h, weight, recurrence)
        outputs.append(h)
    return torch.stack(outputs, 1)


@torch.jit.script
def until(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    t = 0
    while bool(x[0, t, 0] < 100.0) and t < x.size(1) - 1:
        h = cell(x[:, t], h, weight, recurrence)
        outputs.append(h)
        t += 1
    outputs.append(h)
    return torch.stack(outputs, 1)


@torch.jit.script
def numbered(x: Tensor, weight: Tensor, recurrence: Tensor) -> Tensor:
    h = torch.zeros(x.size(0), 6)
    outputs: list[Tensor] = []
    for t in range(x.size(1)):
        h = cell(x[:, t], h, weight, recurrence)
        outputs.append(h * t)
    return torch.stack(outputs, 1)


class Looping(nn.Module):
    def __init__(self, loop: Any) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.front = nn.Linear(FEATURES, FEATURES)
        self.cell = nn.GRUCell(FEATURES, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)
        self.loop = loop

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.loop(torch.tanh(self.front(x)), self.cell.weight_ih, self.cell.weight_hh))


@pytest.mark.parametrize("loop", [listed, grown, filled, counted, time_first, stacked], ids=lambda loop: loop.name)
def test_a_scripted_loop_streams(loop: Any, tmp_path: Path) -> None:
    module = Looping(loop).eval()
    bundle = export.export((module, example()), tmp_path / "b", **OPTIONS)
    ops = {n.op_type for n in onnx.load(tmp_path / "b" / "step.float32.onnx").graph.node}
    assert not ops & {"Loop", "Scan", "SequenceEmpty", "SequenceInsert", "ScatterND"}
    assert [state.name for state in bundle.manifest.graphs[0].states] == [
        f"scan{n}.s0" for n in range(2 if loop is stacked else 1)
    ]
    x = walks(1, 70, seed=4)[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    model = edgeseq.load(bundle)
    model.run(x[:9])
    model.reset()
    given = np.concatenate([model.run(x[:13]), model.step(x[13])[None], model.run(x[14:])])
    np.testing.assert_allclose(given, expected, atol=2e-6)


def test_a_scripted_gru_is_quantized(tmp_path: Path) -> None:
    bundle = export.export((Looping(listed).eval(), example()), tmp_path / "b", calibration=walks())
    assert [e.variant for e in bundle.manifest.parity if e.backend == "ort"] == ["float32", "int8", "w8a16"]
    assert next(file.float_macs for file in bundle.manifest.files if file.variant == "int8") == 0


@pytest.mark.parametrize(
    ("loop", "says"),
    [(backwards, "backwards over time"), (until, "depends on the data"), (numbered, "number of the round")],
    ids=lambda given: getattr(given, "name", None),
)
def test_a_loop_that_cannot_stream_is_refused(loop: Any, says: str, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=rf"node '.*' \((Loop|Gather)\): .*{says}"):
        export.export((Looping(loop).eval(), example()), tmp_path / "b", **OPTIONS)
    assert not (tmp_path / "b").exists()


def test_the_number_of_the_round_has_an_end_with_max_steps(tmp_path: Path) -> None:
    module = Looping(numbered).eval()
    bundle = export.export((module, example()), tmp_path / "b", max_steps=500, **OPTIONS)
    assert bundle.manifest.graphs[0].max_steps == 500
    x = walks(1, 70, seed=4)[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(edgeseq.load(bundle).run(x), expected, rtol=1e-5, atol=1e-5)


def test_a_loop_runs_over_whole_windows(tmp_path: Path) -> None:
    module = Looping(backwards).eval()
    model = edgeseq.load(export.export((module, example()), tmp_path / "b", window=8, **OPTIONS))
    x = walks(1, 30, seed=4)[0]
    with torch.no_grad():
        expected = [module(torch.from_numpy(x[None, end - 8 : end]))[0, -1].numpy() for end in range(8, 31)]
    np.testing.assert_allclose(model.run(x)[7:], expected, atol=2e-6)


class WrittenOut(nn.Module):
    """An LSTM whose whole module is scripted: two carried values, the first layer's outputs read from a list."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.above = nn.LSTMCell(FEATURES, HIDDEN), nn.LSTMCell(HIDDEN, HIDDEN)
        self.head = nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        h, c = torch.zeros(x.shape[0], 6), torch.zeros(x.shape[0], 6)
        below: list[Tensor] = []
        for t in range(x.shape[1]):
            h, c = self.cell(x[:, t], (h, c))
            below.append(h)
        h, c = torch.zeros(x.shape[0], 6), torch.zeros(x.shape[0], 6)
        outputs: list[Tensor] = []
        for t in range(len(below)):
            h, c = self.above(below[t], (h, c))
            outputs.append(h)
        return self.head(torch.stack(outputs, dim=1))


class HigherOrder(nn.Module):
    """PyTorch's own scan, which its newer exporter writes as ONNX Scan."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.cell, self.head = nn.GRUCell(FEATURES, HIDDEN), nn.Linear(HIDDEN, 2)

    def forward(self, x: Tensor) -> Tensor:
        def step(h: Tensor, entry: Tensor) -> tuple[Tensor, Tensor]:
            h = self.cell(entry, h)
            return h, h.clone()

        return self.head(torch_scan(step, torch.zeros(x.shape[0], HIDDEN, dtype=x.dtype), x, dim=1)[1])


@pytest.mark.long
@pytest.mark.parametrize("make", [lambda: torch.jit.script(WrittenOut()), HigherOrder], ids=["scripted", "scan"])
def test_a_module_written_out_is_quantized(make: Any, tmp_path: Path) -> None:
    module = make().eval()
    bundle = export.export((module, example()), tmp_path / "b", calibration=walks())
    assert [e.variant for e in bundle.manifest.parity if e.backend == "ort"] == ["float32", "int8", "w8a16"]
    x = walks(1, 50, seed=4)[0]
    with torch.no_grad():
        expected = module(torch.from_numpy(x[None]))[0].numpy()
    np.testing.assert_allclose(edgeseq.load(bundle, variant="float32").run(x), expected, atol=2e-6)


def written(path: Path, start: int, short: int) -> str:
    """h = 0.9 h + x[t + start], so many rounds short of the sequence's length; the round's output is a Loop's own."""
    body = helper.make_graph(
        [
            node("Add", "t start", "at"),
            node("Unsqueeze", "at zero", "from"),
            node("Add", "from one", "to"),
            node("Slice", "x0 from to zero", "entry"),
            node("Squeeze", "entry zero", "xt"),
            node("Mul", "h decay", "kept"),
            node("Add", "kept xt", "h1"),
            node("Identity", "h1", "hy"),
            node("Identity", "go", "going"),
        ],
        "body",
        [value("t", [], TensorProto.INT64), value("go", [], TensorProto.BOOL), value("h", [1, FEATURES])],
        [value("going", [], TensorProto.BOOL), value("h1", [1, FEATURES]), value("hy", [1, FEATURES])],
    )
    nodes = [
        node("Transpose", "x", "x0", perm=[1, 0, 2]),
        node("Shape", "x", "dims"),
        node("Gather", "dims first", "length"),
        node("Sub", "length short", "trip"),
        helper.make_node("Loop", ["trip", "", "h0"], ["h_last", "ys"], "loop", body=body),
        node("Transpose", "ys", "y", perm=[1, 0, 2]),
    ]
    arrays = {
        "start": np.array(start), "short": np.array(short), "zero": np.array([0]), "one": np.array([1]),
        "first": np.array(1), "decay": np.array(0.9, np.float32), "h0": np.ones((1, FEATURES), np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        nodes, "g", [value("x", ["batch", "time", FEATURES])], [value("y", [None] * 3)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return scramble(str(path))


@pytest.mark.parametrize(("start", "short"), [(0, 0), (2, 2), (0, 1), (1, 2)])
def test_a_loop_over_part_of_the_sequence(start: int, short: int, tmp_path: Path) -> None:
    file = written(tmp_path / "m.onnx", start, short)
    bundle = export.export(file, tmp_path / "b", **OPTIONS)
    x = walks(1, 50, seed=6)[0]
    model = edgeseq.load(bundle)
    given = np.concatenate([model.run(x), model.flush()])[model.delay :]
    expected = whole(file, x, last=True).reshape(-1, FEATURES)
    np.testing.assert_allclose(given[: len(expected)], expected, rtol=1e-5, atol=1e-5)
