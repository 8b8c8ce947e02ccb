"""Causal attention: rings of keys, masks however written, positions from the clock; equal from output 0."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import models
import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

import edgeseq
import export
from edgeseq.errors import ModelError
from export import passes, reference
from export.frontends import load
from export.frontends import torch as frontend
from export.frontends.sequence import Sequence
from export.graph import StreamGraph, session
from export.writers import onnx as writer

BAND, TABLE = 12, 300


@dataclass(frozen=True)
class Plan:
    """How a model is put together."""

    mask: str = "fill"
    position: str = "none"
    heads: int = 2
    shared: int = 1
    layers: int = 1
    post_norm: bool = False


class Gpt(nn.Module):
    """A small transformer written by hand, its mask and positions in one of many ways."""

    def __init__(self, plan: Plan, seed: int = 0, features: int = 8) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.plan, self.size = plan, features // plan.heads
        keys = self.size * plan.heads // plan.shared
        self.front, self.back = nn.Linear(models.FEATURES, features), nn.Linear(features, 2)
        self.query = nn.ModuleList(nn.Linear(features, features) for _ in range(plan.layers))
        self.key = nn.ModuleList(nn.Linear(features, keys) for _ in range(plan.layers))
        self.value = nn.ModuleList(nn.Linear(features, keys) for _ in range(plan.layers))
        self.mix = nn.ModuleList(nn.Linear(features, features) for _ in range(plan.layers))
        self.norm = nn.ModuleList(nn.LayerNorm(features) for _ in range(plan.layers))
        self.table = nn.Parameter(torch.randn(1, TABLE, features) * 0.5)
        width = features if plan.position == "sine" else self.size
        self.register_buffer("rate", torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width)))

    def _age(self, x: torch.Tensor) -> torch.Tensor:
        step = torch.arange(x.shape[1])
        return step[:, None] - step[None]

    def _turned(self, z: torch.Tensor) -> torch.Tensor:
        if self.plan.position != "rotary":
            return z
        angle = torch.arange(z.shape[2]).to(z.dtype)[:, None] * self.rate
        angle = torch.cat([angle, angle], -1)
        half = self.size // 2
        return z * angle.cos() + torch.cat([-z[..., half:], z[..., :half]], -1) * angle.sin()

    def _placed(self, x: torch.Tensor) -> torch.Tensor:
        if self.plan.position == "learned":
            return x + self.table[:, : x.shape[1]]
        if self.plan.position == "gathered":
            return x + functional.embedding(torch.arange(x.shape[1]), self.table[0])
        if self.plan.position == "sine":
            angle = torch.arange(x.shape[1]).to(x.dtype)[:, None] * self.rate
            return x + torch.cat([angle.sin(), angle.cos()], -1)
        return x

    def _weights(self, scores: torch.Tensor, age: torch.Tensor) -> torch.Tensor:
        mask, inside = self.plan.mask, (age >= 0) & (age < BAND)
        if self.plan.position == "alibi":
            slopes = torch.tensor([0.5 ** (head + 1) for head in range(self.plan.heads)], dtype=scores.dtype)
            scores = scores - age.to(scores.dtype) * slopes[:, None, None]
        if mask in ("fill", "einsum"):
            scores = scores.masked_fill(~inside, -math.inf)
        elif mask == "add":
            scores = scores + (1 - inside.to(scores.dtype)) * -1e9
        elif mask == "two":
            scores = torch.where(age >= 0, scores, torch.full_like(scores, -1e9))
            scores = torch.where(age < BAND, scores, torch.full_like(scores, -1e9))
        elif mask == "causal":
            scores = scores.masked_fill(age < 0, -math.inf)
        elif mask == "relu":
            return torch.relu(scores) * inside.to(scores.dtype)
        elif mask == "triangles":
            return torch.triu(torch.tril(scores), 1 - BAND)
        elif mask == "written out":
            weights = torch.exp(scores - scores.amax(-1, keepdim=True)) * inside.to(scores.dtype)
            return weights / weights.sum(-1, keepdim=True)
        elif mask == "blocks":
            step = torch.arange(age.shape[0])
            same = (step[:, None] // BAND) == (step[None] // BAND)
            scores = scores.masked_fill(~(same & inside), -math.inf)
        return scores.softmax(-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self._placed(self.front(x))
        for query, key, value, mix, norm in zip(self.query, self.key, self.value, self.mix, self.norm, strict=True):
            y = x if self.plan.post_norm else norm(x)
            q, k, v = (
                part(y).unflatten(-1, (-1, self.size)).transpose(1, 2).repeat_interleave(copies, 1)
                for part, copies in ((query, 1), (key, self.plan.shared), (value, self.plan.shared))
            )
            q, k = self._turned(q), self._turned(k)
            if self.plan.mask == "sdpa":
                y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            else:
                y = self._weights(q @ k.transpose(-1, -2) / math.sqrt(self.size), self._age(x)) @ v
            y = x + mix(y.transpose(1, 2).flatten(2))
            x = norm(y) if self.plan.post_norm else y
        return self.back(x)


class Encoder(nn.Module):
    """PyTorch's own encoder with its own causal mask."""

    def __init__(self, *, norm_first: bool) -> None:
        super().__init__()
        torch.manual_seed(1)
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        self.front, self.back = nn.Linear(models.FEATURES, 8), nn.Linear(8, 2)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(x.shape[1]).to(x.dtype)
        return self.back(self.layers(self.front(x), mask=mask, is_causal=True))


def noise(steps: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(steps, models.FEATURES)).astype(np.float32)


def read(module: nn.Module) -> Sequence:
    return frontend.from_module(module.eval(), models.example(), "model", "")


@functools.cache
def read_plan(plan: Plan) -> Sequence:
    """Read a plan's model once, however many tests rewrite it: PyTorch's newer exporter takes seconds."""
    return read(Gpt(plan))


def rewritten(
    source: Plan | nn.Module, window: int | None = None, max_steps: int | None = None
) -> tuple[Sequence, StreamGraph]:
    sequence = read_plan(source) if isinstance(source, Plan) else read(source)
    stream = StreamGraph(ir.from_proto(sequence.model), sequence.inputs)
    stream.attention_window, stream.max_steps = window, max_steps
    return sequence, passes.rewrite(stream)


def stepped(stream: StreamGraph, x: np.ndarray, start: int = 0) -> np.ndarray:
    """Run the step over frames; start: how many steps the clock says went before."""
    runtime = session(writer.float_step(stream))
    state = {str(entry.input.name): entry.initial for entry in stream.states}
    clock = next(entry for entry in stream.states if entry.name == "clock.step")
    state[str(clock.input.name)] = np.array([start], np.int64)
    fetch = [str(stream.outputs[0].name), *(str(entry.output.name) for entry in stream.states)]
    given = []
    for frame in x:
        y, *left = runtime.run(fetch, {str(stream.inputs[0].name): frame[None, None], **state})
        state = dict(zip(state, left, strict=True))
        given.append(y.reshape(-1))
    return np.array(given)


def streams_as_the_original(
    source: Plan | nn.Module, window: int | None = None, max_steps: int | None = None, steps: int = 60
) -> StreamGraph:
    sequence, stream = rewritten(source, window, max_steps)
    x = noise(steps)
    held, _ = reference.bounded(sequence, stream, x)
    expected = held.outputs(x, held.double)
    np.testing.assert_allclose(stepped(stream, x), expected, rtol=0, atol=1e-5 * expected.std())
    return stream


@pytest.mark.parametrize(
    "plan",
    [
        Plan("fill", heads=4, shared=4),
        Plan("add", post_norm=True),
        Plan("two", heads=4, shared=2),
        Plan("relu"),
        Plan("triangles"),
        Plan("written out"),
        Plan("fill", "sine"),
        Plan("fill", "rotary"),
        Plan("fill", "alibi"),
    ],
    ids=str,
)
def test_a_band_however_written_needs_no_choice(plan: Plan) -> None:
    stream = streams_as_the_original(plan)
    assert set(stream.windows.values()) == {BAND}
    timing = stream.output_timing
    assert timing is not None
    assert timing.first == -plan.layers * (BAND - 1)


@pytest.mark.parametrize(
    ("plan", "max_steps"),
    [
        (Plan("causal", layers=2), None),
        (Plan("sdpa", "rotary"), None),
        (Plan("causal", "alibi"), None),
        (Plan("causal", "sine"), None),
        (Plan("causal", "learned"), TABLE),
        (Plan("causal", "gathered"), 100),
    ],
    ids=str,
)
def test_a_chosen_window_is_the_original_under_a_band_mask(plan: Plan, max_steps: int | None) -> None:
    stream = streams_as_the_original(plan, 9, max_steps)
    assert stream.narrowed
    assert set(stream.windows.values()) == {9}


def test_with_a_last_step_nothing_is_cut_off() -> None:
    stream = streams_as_the_original(Plan("causal", "learned"), None, 60)
    assert not stream.narrowed


def test_pytorchs_post_norm_encoder_streams() -> None:
    streams_as_the_original(Encoder(norm_first=False), 9)


def test_pytorchs_pre_norm_encoder_becomes_a_bundle(tmp_path: Path) -> None:
    options = {"variants": ["float32"], "attention_window": 16}
    bundle = export.export((Encoder(norm_first=True), models.example()), tmp_path / "b", **options)
    graph = bundle.manifest.graphs[0]
    assert (graph.receptive_field, graph.warm_up, graph.max_steps) == (31, 30, None)
    assert "apart from the unmasked original" in (tmp_path / "b" / "report.md").read_text("utf-8")
    x = noise(80)
    model = edgeseq.load(bundle)
    whole = model.run(x)
    model.reset()
    np.testing.assert_array_equal(np.concatenate([model.run(part) for part in np.split(x, [1, 5, 40])]), whole)


@pytest.mark.parametrize("position", ["sine", "rotary", "alibi"])
def test_a_stream_goes_on_exactly_far_beyond_any_table(position: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, x = Plan("fill", position), noise(60)
    _, stream = rewritten(plan)
    twin = Gpt(plan).double()
    counting = torch.arange
    for start in (2**24 - 30, 2**31 - 30):
        with monkeypatch.context() as patched, torch.no_grad():
            patched.setattr(torch, "arange", lambda *a, at=start: counting(*a) + (at if a == (len(x),) else 0))
            expected = twin(torch.from_numpy(x[None]).double())[0].numpy()
        # The ring began empty: what the first outputs see of it is not what the original sees.
        given = stepped(stream, x, start)
        np.testing.assert_allclose(given[BAND:], expected[BAND:], rtol=0, atol=1e-5 * expected.std())


def test_positions_from_a_table_end_with_it(tmp_path: Path) -> None:
    plan = Plan("fill", "learned")
    options = {"variants": ["float32"]}
    with pytest.raises(export.ExportError, match=r"node '.*' \(Add\).*--max-steps"):
        rewritten(plan)
    with pytest.raises(export.ExportError, match=r"node '.*' \(Add\).*holds 300 steps, 400 are needed"):
        rewritten(plan, None, 400)
    bundle = export.export((Gpt(plan), models.example()), tmp_path / "b", max_steps=250, **options)
    model, x = edgeseq.load(bundle), noise(300)
    first = model.run(x[:250])
    with pytest.raises(ModelError, match="250 frames"):
        model.step(x[250])
    with pytest.raises(ModelError, match="250 frames"):
        model.run(x[250:])
    model.reset()
    np.testing.assert_array_equal(model.run(x[:250]), first)


@pytest.mark.parametrize(
    ("plan", "node", "reason"),
    [
        (Plan("none"), "Softmax", "attention over the future"),
        (Plan("causal"), "Softmax", "--attention-window"),
        (Plan("blocks"), r"\w+", "no function of how many steps"),
    ],
)
def test_what_does_not_stream_is_refused(plan: Plan, node: str, reason: str) -> None:
    with pytest.raises(export.ExportError, match=rf"node '.*' \({node}\).*{reason}"):
        rewritten(plan)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"attention_window": 0}, "at least 1"),
        ({"attention_window": 5}, "this model has none"),
        ({"max_steps": 5, "window": 4}, "exclude each other"),
    ],
)
def test_a_wrong_option_is_told(options: dict[str, int], reason: str, tmp_path: Path) -> None:
    with pytest.raises(export.ExportError, match=reason):
        export.export((models.gru(), models.example()), tmp_path / "b", variants=["float32"], **options)


def attention_file(path: Path, **attributes: float) -> None:
    """One ONNX Attention op, four heads of queries, two of keys."""
    rng = np.random.default_rng(0)
    shapes = {"f": (models.FEATURES, 16), "q": (16, 16), "k": (16, 8), "v": (16, 8), "o": (16, 2)}
    weights = [
        numpy_helper.from_array((rng.normal(size=shape) * 0.4).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "f"], ["x1"]),
        *(helper.make_node("MatMul", ["x1", name], [f"{name}1"]) for name in "qkv"),
        helper.make_node("Attention", ["q1", "k1", "v1"], ["a"], "n7", q_num_heads=4, kv_num_heads=2, **attributes),
        helper.make_node("MatMul", ["a", "o"], ["y"]),
    ]
    entering = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "time", models.FEATURES])
    leaving = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", "time", 2])
    graph = helper.make_graph(nodes, "g", [entering], [leaving], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11), path)


def test_the_attention_op_streams_by_its_own_definition(tmp_path: Path) -> None:
    attention_file(tmp_path / "m.onnx", is_causal=1, softcap=2.0)
    sequence = load(str(tmp_path / "m.onnx"))
    stream = StreamGraph(ir.from_proto(sequence.model), sequence.inputs, attention_window=9)
    passes.rewrite(stream)
    x = noise(60)
    held, _ = reference.bounded(sequence, stream, x)
    expected = held.outputs(x, held.double)
    np.testing.assert_allclose(stepped(stream, x), expected, rtol=0, atol=1e-5 * expected.std())
    attention_file(tmp_path / "m.onnx")
    with pytest.raises(export.ExportError, match=r"node 'n7.*over the future"):
        passes.rewrite(StreamGraph(ir.from_proto(load(str(tmp_path / "m.onnx")).model), sequence.inputs))
