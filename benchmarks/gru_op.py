"""A PyTorch GRU as a graph of one operator, ONNX's own GRU, with the state in and out: what its runtimes are tuned for.

PyTorch stacks the gates as reset, update, new; ONNX as update, reset, new. PyTorch's new gate applies the reset to the
product with the state after its bias was added, which ONNX calls linear_before_reset.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from benchmarks.peers.stepfile import StateTensor, StepFile

Shapes = Mapping[str, Sequence[int | str]]
OPSET, IR_VERSION = 17, 8
"""Old enough for every runtime here."""


def write(gru: nn.GRU, path: Path, *, length: int = 1, batch: int = 1, every: bool = False) -> StepFile:
    """Write the graph for so many steps and streams a call.

    It takes x [length, batch, inputs] and h [1, batch, hidden] and gives h_out, which over one step is the output as
    well. every: it gives y [length, 1, batch, hidden] too, the output of every step.
    """
    state = [1, batch, gru.hidden_size]
    inputs = {"x": [length, batch, gru.input_size], "h": state}
    outputs = {"y": [length, 1, batch, gru.hidden_size]} if every else {}
    node = _node(gru, ["x", "w", "r", "b", "", "h"], ["y" if every else "", "h_out"])
    _save(gru, path, node, inputs, outputs | {"h_out": state})
    output = "y" if every else "h_out"
    return StepFile(path, "x", output, (StateTensor("h", "h_out", np.zeros(state, np.float32)),))


def write_stateless(gru: nn.GRU, path: Path) -> None:
    """Write the graph from x [S, 1, inputs] to y [S, 1, 1, hidden], for a runtime that finds the state by itself."""
    node = _node(gru, ["x", "w", "r", "b"], ["y"])
    _save(gru, path, node, {"x": ["S", 1, gru.input_size]}, {"y": ["S", 1, 1, gru.hidden_size]})


def _node(gru: nn.GRU, inputs: list[str], outputs: list[str]) -> onnx.NodeProto:
    return helper.make_node("GRU", inputs, outputs, hidden_size=gru.hidden_size, linear_before_reset=1)


def _save(gru: nn.GRU, path: Path, node: onnx.NodeProto, inputs: Shapes, outputs: Shapes) -> None:
    """Write a graph of one node beside the weights it reads as w, r and b."""
    gates = {name.removesuffix("_l0"): _gates(value) for name, value in gru.state_dict().items()}
    biases = np.concatenate([gates["bias_ih"], gates["bias_hh"]])
    weights = {"w": gates["weight_ih"], "r": gates["weight_hh"], "b": biases}
    entering, leaving = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        for shapes in (inputs, outputs)
    )
    stored = [numpy_helper.from_array(value[None], name) for name, value in weights.items()]
    graph = helper.make_graph([node], "gru", entering, leaving, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(made, full_check=True)
    onnx.save(made, path)


def _gates(stacked: Tensor) -> NDArray[Any]:
    """Return a weight or bias with PyTorch's gates in ONNX's order."""
    reset, update, new = np.split(stacked.detach().numpy(), 3)
    return np.concatenate([update, reset, new])
