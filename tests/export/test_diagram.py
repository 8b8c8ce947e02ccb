"""The diagrams in the report: valid Mermaid whatever the names, and showing what there is to see."""

from __future__ import annotations

import re
from pathlib import Path

import models
import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from test_convolution import Stack
from torch import nn

import export
from export import diagram
from export.choices import Choice
from export.diagram import blocks, mermaid
from export.diagram.boxes import Box, Drawing, Source
from export.frontends import torch as frontend

TEXT = r"(?:[A-Za-z0-9 ,→×]|#\d+;|<br/>)+"
SHAPES = (
    rf'n\d+\["{TEXT}"\]',
    rf'(?:input|output)\d+\(\["{TEXT}"\]\)',
    rf'(?:state\d+|clock)\[\("{TEXT}"\)\]',
    rf'held\d+\[/"{TEXT}"/\]',
)
ID = r"(?:n\d+|input\d+|output\d+|state\d+|held\d+|clock)"
COLOR = r"#[0-9a-f]{6}|none"
STYLE = rf"fill:(?:{COLOR}),stroke:(?:{COLOR}),color:(?:{COLOR})(?:,stroke-width:2px|,stroke-dasharray:4)?"
STATEMENTS = {
    "node": rf"(?:{'|'.join(SHAPES)})(?::::(?:time|state|held|ends))?",
    "edge": rf"{ID} (?:-->|<-->|-\.->) {ID}",
    "block": rf'subgraph b\d+\["{TEXT}"\]',
    "end": "end",
    "style": rf"classDef (?:default|time|state|held|ends|block) {STYLE}",
    "class": r"class b\d+(?:,b\d+)* block",
}


def check(lines: list[str]) -> tuple[list[str], list[tuple[str, str]]]:
    """Hold every line against the grammar; return the nodes and the edges, of which all ends must be nodes."""
    assert lines[0] == "flowchart TD"
    nodes, edges, depth, styled = [], [], 0, set()
    for line in lines[1:]:
        kinds = [kind for kind, form in STATEMENTS.items() if re.fullmatch(form, line.strip())]
        assert len(kinds) == 1, line
        words = line.split()
        depth += (kinds[0] == "block") - (kinds[0] == "end")
        assert depth in (0, 1), line
        if kinds[0] == "node":
            found = re.match(ID, line.strip())
            assert found is not None
            nodes.append(found[0])
        elif kinds[0] == "edge":
            edges.append((words[0], words[2]))
        elif kinds[0] == "style":
            styled.add(words[1])
    assert depth == 0
    assert len(nodes) == len(set(nodes))
    assert {end for edge in edges for end in edge} <= set(nodes)
    assert len(edges) == len(set(edges))
    assert {word for line in lines for word in re.findall(r":::(\w+)$", line)} <= styled
    return nodes, edges


def both(module: nn.Module, example: torch.Tensor | None = None) -> tuple[list[str], list[str]]:
    """Draw a module as trained and as a step."""
    sequence = frontend.from_module(module.eval(), models.example() if example is None else example, "m", "")
    before = diagram.as_trained(sequence)
    after = diagram.as_step(Choice("stream").rewrite(sequence))
    drawn = [mermaid.flowchart(blocks.fold(drawing)[0]) for drawing in (before, after)]
    for lines in drawn:
        check(lines)
    return drawn[0], drawn[1]


def test_a_recurrent_network() -> None:
    before, after = both(models.gru())
    assert sum(":::time" in line for line in before) == 1
    assert not any("[(" in line for line in before)
    (state,) = (line for line in after if "[(" in line)
    assert state.strip().startswith("state1[(")
    assert any("GRU" in line and ":::time" in line for line in after)
    assert any(line.strip().startswith("state1 <--> n") for line in after)


def test_layers_that_repeat_are_drawn_once() -> None:
    module = models.random_module(3, norm=True, kind="gru")
    assert len(module.layers) == 4
    for lines in both(module):
        assert sum("GRU" in line for line in lines) == 1
        assert any(line.strip() == 'subgraph b0["4 ×"]' for line in lines)


class Branches(nn.Module):
    """A convolution that looks ahead beside what it is added to."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Conv1d(5, 6, 3, padding=1), nn.Conv1d(6, 6, 5, padding=4, dilation=2, groups=2)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x.transpose(1, 2)))
        return self.head((x + torch.relu(self.b(x))).transpose(1, 2))


def test_branches_with_different_delays() -> None:
    before, after = both(Branches())
    assert any('"Conv 5 → 6<br/>kernel 3<br/>Relu"]:::time' in line for line in before)
    assert any('"Conv 6 → 6<br/>kernel 5, dilation 2, groups 2<br/>Relu"]:::time' in line for line in before)
    assert sum("[(" in line for line in after) == 4, "two histories, the delay of the branch, the clock"
    _, edges = check(before)
    add = next(line.split("[")[0].strip() for line in before if '"Add"' in line)
    assert sum(end == add for _, end in edges) == 2


@pytest.mark.parametrize("seed", range(4))
def test_convolutions_and_poolings_of_every_kind(seed: int) -> None:
    before, after = both(Stack(seed, strides=True))
    for kind in ("Conv", "Pool"):
        assert any(kind in line for line in before) == any(kind in line for line in after)


class Crnn(nn.Module):
    """Features of each frame by a convolution over them alone, and a recurrent layer over time."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.features, self.memory = nn.Conv1d(1, 3, 3, padding=1), nn.GRU(15, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.features(x.reshape(-1, 1, 5)))
        return self.memory(y.reshape(1, -1, 15))[0]


def test_a_convolution_over_features_works_over_no_time() -> None:
    sequence = frontend.from_module(Crnn().eval(), models.example(), "m", "")
    lines = mermaid.flowchart(diagram.as_trained(sequence))
    check(lines)
    (convolution,) = (line for line in lines if "Conv" in line)
    assert convolution.endswith('["Conv 1 → 3<br/>kernel 3<br/>Relu"]')


def test_states_that_restart_stand_at_their_layers() -> None:
    sequence = frontend.from_module(models.random_module(3, last=True, kind="gru"), models.example(), "m", "")
    lines = mermaid.flowchart(diagram.as_step(Choice("restart", 10).rewrite(sequence)))
    _, edges = check(lines)
    for name in (line.strip().split("[")[0] for line in lines if "[(" in line and "clock" not in line):
        (cell,) = {end for start, end in edges if start == name}
        assert any(line.strip().startswith(f'{cell}["GRU') for line in lines)


class Attention(nn.Module):
    """One head that sees eight steps back."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.q, self.k, self.v = nn.Linear(5, 8), nn.Linear(5, 8), nn.Linear(5, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        at = torch.arange(x.shape[1])
        age = at[:, None] - at[None]
        scores = (self.q(x) @ self.k(x).transpose(1, 2)).masked_fill((age < 0) | (age >= 8), -torch.inf)
        return torch.softmax(scores, -1) @ self.v(x)


def test_attention() -> None:
    before, after = both(Attention())
    assert sum("MatMul 5 → 8" in line for line in before) == 3, "side by side, they are no repetition"
    assert sum(line.endswith(":::time") for line in before) == 2
    assert sum(line.strip().startswith("state") and "[(" in line for line in after) == 2, "keys and values"


def test_the_report_holds_both(gru_bundle: export.exporter.bundles.Bundle) -> None:
    text = (gru_bundle.path / "report.md").read_text("utf-8")
    found = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert len(found) == 2
    for drawn in found:
        check(drawn.splitlines())


def test_a_model_of_windows_that_does_not_stream_is_drawn_as_well(tmp_path: Path) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = nn.GRU(5, 4, batch_first=True, bidirectional=True)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.memory(x)[0][:, -1]

    bundle = export.export((Both().eval(), models.example()), tmp_path / "b", window=6, variants=["float32"])
    text = (bundle.path / "report.md").read_text("utf-8")
    drawn = [block.splitlines() for block in re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)]
    for lines in drawn:
        check(lines)
    assert "GRU 5 → 4, bidirectional" in "".join(drawn[0])
    assert "window" in "".join(drawn[1])


NAMES = st.one_of(
    st.text(max_size=60),
    st.text(alphabet='"[](){}<>|#;&%`\\/:.-=~*_ \n\t\x00', max_size=20),
    st.sampled_from(
        ["end", "__proto__", "constructor", "subgraph", "click n0 call x()", "style:#a;", "classDef", "1. a", "- a",
         "`a`", "a--b", "&quot;", "#quot;", "<img src=x>", "%%{init}%%", "x" * 99, "", "\u202e", "\U0001f600", "ﬂ°°1"],
    ),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(NAMES, min_size=6, max_size=6))
def test_any_name_is_valid(names: list[str]) -> None:
    drawing = Drawing({0: Box(names[:1], names[1:3], over_time=True), 1: Box()})
    drawing.sources = {
        "input0": Source("input", names[3:4]),
        "state1": Source("state", names[4:5]),
        "held2": Source("held", names[5:]),
    }
    for edge in (("input0", 0), ("state1", 0), (0, "state1"), ("held2", 1), (0, 1)):
        drawing.link(*edge)
    nodes, edges = check(mermaid.flowchart(drawing))
    assert set(nodes) == {"n0", "n1", "input0", "state1", "held2"}
    assert len(edges) == 4


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(NAMES.filter(lambda name: name.strip() and "\x00" not in name), min_size=4, max_size=4, unique=True))
def test_scrambled_names_in_a_graph(names: list[str]) -> None:
    frames, inner, weight, op = names
    nodes = [
        helper.make_node("MatMul", [frames, weight], [inner]),
        helper.make_node(op, [inner], ["y"], domain="custom"),
    ]
    entering = [helper.make_tensor_value_info(frames, TensorProto.FLOAT, [1, "time", 3])]
    leaving = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    weights = [numpy_helper.from_array(np.ones((3, 2), np.float32), weight)]
    graph = helper.make_graph(nodes, "g", entering, leaving, weights)
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    check(mermaid.flowchart(diagram.whole(model)))


def chain(count: int) -> Drawing:
    drawing = Drawing({key: Box([f"op {key}"]) for key in range(count)})
    for key in range(1, count):
        drawing.link(key - 1, key)
    return drawing


def test_of_too_many_boxes_the_middle_is_left_out() -> None:
    shown, left_out = blocks.fold(chain(200))
    assert len(shown.boxes) == blocks.MOST
    assert left_out == 200 - blocks.MOST + 1
    nodes, edges = check(mermaid.flowchart(shown))
    assert len(nodes) == blocks.MOST
    assert len(edges) == blocks.MOST - 1
    assert any(f"{left_out} boxes" in line for line in mermaid.flowchart(shown))
    assert blocks.fold(chain(blocks.MOST))[1] == 0


def test_a_block_of_twelve_layers_keeps_its_own_edges_and_states() -> None:
    drawing = Drawing({key: Box(["Add" if key % 3 == 2 else f"op {key % 3}"]) for key in range(36)})
    for layer in range(12):
        first = 3 * layer
        if layer:
            drawing.link(first - 1, first)
            drawing.link(first - 1, first + 2)
        drawing.link(first, first + 1)
        drawing.link(first + 1, first + 2)
        drawing.sources[f"state{layer}"] = Source("state", [f"ring{layer}", "8"])
        drawing.link(f"state{layer}", first + 1)
        drawing.link(first + 1, f"state{layer}")
    drawing.sources |= {"input0": Source("input", ["x"]), "output0": Source("output", ["y"])}
    drawing.link("input0", 0)
    drawing.link("input0", 2)
    drawing.link(35, "output0")
    shown, left_out = blocks.fold(drawing)
    assert left_out == 0
    assert shown.blocks == [(0, 3, 12)]
    assert list(shown.sources) == ["state0", "input0", "output0"]
    nodes, edges = check(mermaid.flowchart(shown))
    assert len(nodes) == 6
    assert set(edges) == {
        ("n0", "n1"), ("n1", "n2"), ("state0", "n1"), ("input0", "n0"), ("input0", "n2"), ("n2", "output0")
    }  # fmt: skip


@pytest.mark.parametrize("count", [1, 2, 3])
def test_boxes_that_are_alike_but_side_by_side_are_all_drawn(count: int) -> None:
    drawing = Drawing({key: Box(["MatMul"]) for key in range(4 * count)})
    assert len(blocks.fold(drawing)[0].boxes) == 4 * count
