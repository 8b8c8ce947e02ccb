"""A GRU put together into one kernel: found where it is one, and the same however its sums come about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from edgeseq.backends.native.ahead import STEPS
from edgeseq.backends.native.program import Description, Input, Op, Program, State, Tensor
from edgeseq.backends.native.sections import sections
from edgeseq.backends.native.step import NativeStep
from edgeseq.backends.native.streams import NativeStreams
from edgeseq.bundle import Graph, ModelFile, StateTable, StateTensors
from edgeseq.bundle import Tensor as GraphTensor
from edgeseq.types import Frames

SIZES = [(1, 1), (3, 5), (16, 32), (7, 37), (40, 128)]
"""Inputs and units: less than a vector, whole ones, and some beyond."""


def gru(inputs: int, units: int, *, z_first: bool = True, fed: bool = False) -> tuple[Program, Graph, ModelFile]:
    """Return a program of a GRU as the exporter lowers the operator, and how bundle.toml describes it.

    fed: its inputs are a layer over the frame, and its state: only that layer can be computed ahead.
    """
    shapes = {"x": inputs, "front": units, "gx": 3 * units, "gh": 3 * units, "next": units, "state": units}
    ops = [
        Op(kind="Linear", output="gx", inputs=["x"], arrays={"weight": "w", "bias": "b"}),
        Op(kind="Linear", output="gh", inputs=["state"], arrays={"weight": "u", "bias": "c"}),
    ]

    def op(kind: str, output: str, *names: str, width: int = units, **attributes: Any) -> None:
        shapes[output] = width
        ops.append(Op(kind=kind, output=output, inputs=[*names], attributes=attributes))

    def part(output: str, name: str, first: int, last: int) -> None:
        op("Slice", output, name, width=last - first, starts=[0, first], ends=[1, last], steps=[1, 1])

    if fed:
        product = ops.pop(0)
        op("Add", "fed", "front", "state")
        front = Op(kind="Linear", output="front", inputs=["x"], arrays={"weight": "v", "bias": "d"})
        ops = [front, *ops, msgspec.structs.replace(product, inputs=["fed"])]
    part("x gates", "gx", 0, 2 * units)
    part("h gates", "gh", 0, 2 * units)
    op("Add", "sum", "x gates", "h gates", width=2 * units)
    op("Sigmoid", "gates", "sum", width=2 * units)
    part("z" if z_first else "r", "gates", 0, units)
    part("r" if z_first else "z", "gates", units, 2 * units)
    part("hn", "gh", 2 * units, 3 * units)
    op("Mul", "rh", "r", "hn")
    part("xn", "gx", 2 * units, 3 * units)
    op("Add", "n in", "xn", "rh")
    op("Tanh", "n", "n in")
    op("Sub", "difference", "state", "n")
    op("Mul", "kept", "z", "difference")
    op("Add", "next", "n", "kept")
    told = Description(
        version=1, frames=1, inputs=[Input(name="x", first=0, last=inputs, time_axis=0)], outputs=["next"],
        states=[State(name="h", input="state", output="next")], ops=ops,
        tensors={name: Tensor(shape=[1, width]) for name, width in shapes.items()},
    )  # fmt: skip
    rng = np.random.default_rng(units)
    drawn = {"w": (3 * units, units if fed else inputs), "u": (3 * units, units), "b": (3 * units,), "c": (3 * units,)}
    drawn |= {"v": (units, inputs), "d": (units,)}
    # Of the size that PyTorch draws: with larger ones a state is chaotic.
    arrays = {name: (rng.normal(size=shape) / (2 * units) ** 0.5).astype(np.float32) for name, shape in drawn.items()}
    graph = Graph(
        name="step",
        inputs=[GraphTensor(name="x", shape=[1, inputs], time_axis=0)],
        outputs=[GraphTensor(name="next", shape=[1, units])],
        states=[StateTable(name="h", shape=[1, units])],
    )
    file = ModelFile(
        path="step.npz", graph="step", variant="float32", format="npz",
        states=[StateTensors(name="h", input="state", output="next", dtype="float32")],
    )  # fmt: skip
    return Program(Path("step.npz"), told, arrays), graph, file


def plain(program: Program, x: Frames, *, z_first: bool, fed: bool = False) -> np.ndarray[Any, Any]:
    """Compute it in float64."""
    w, u, b, c, v, d = (program.arrays[name].astype(np.float64) for name in "wubcvd")
    h, rows = np.zeros(u.shape[1]), []
    for frame in x:
        (z_x, r_x, n_x), (z_h, r_h, n_h) = (
            np.split(sums, 3) for sums in (w @ (v @ frame + d + h if fed else frame) + b, u @ h + c)
        )
        if not z_first:
            (z_x, r_x), (z_h, r_h) = (r_x, z_x), (r_h, z_h)
        z, r = 1 / (1 + np.exp(-z_x - z_h)), 1 / (1 + np.exp(-r_x - r_h))
        n = np.tanh(n_x + r * n_h)
        h = n + z * (h - n)
        rows.append(h)
    return np.array(rows)


def kinds(told: Description) -> list[str]:
    parts = sections(told)
    return [op.kind for op in (*parts.of_inputs, *parts.of_states, *parts.rest)]


@pytest.mark.parametrize("z_first", [True, False])
@pytest.mark.parametrize(("inputs", "units"), SIZES)
def test_it_is_a_gru_however_it_is_run(inputs: int, units: int, *, z_first: bool) -> None:
    made = gru(inputs, units, z_first=z_first)
    assert kinds(made[0].description) == ["GruInputs", "Gru"]
    x = np.random.default_rng(1).normal(size=(2 * STEPS + 3, inputs)).astype(np.float32)
    model = NativeStep(*made)
    y = np.array([model.step(frame) for frame in x])
    # The state hardly remembers errors: what float32 rounds in a sum over the units is all that there is.
    assert np.abs(y - plain(made[0], x, z_first=z_first)).max() < 1e-6 * (inputs + units)
    model.reset()
    np.testing.assert_array_equal(model.run(x), y)
    assert model._ahead
    np.testing.assert_array_equal(
        [model.step(frame) for frame in x], model.fork().run(np.concatenate([x, x]))[len(x) :]
    )
    for count in (2, 4, 7):
        found = NativeStreams(*made, count).run(np.repeat(x[:, None], count, axis=1))
        np.testing.assert_array_equal(found, np.repeat(y[:, None], count, axis=1))


def test_what_leans_on_the_state_is_not_known_ahead() -> None:
    made = gru(3, 5, fed=True)
    assert kinds(made[0].description) == ["Linear", "Add", "GruInputs", "Gru"]
    x = np.random.default_rng(1).normal(size=(STEPS + 3, 3)).astype(np.float32)
    model = NativeStep(*made)
    y = np.array([model.step(frame) for frame in x])
    assert np.abs(y - plain(made[0], x, z_first=True, fed=True)).max() < 1e-5
    model.reset()
    np.testing.assert_array_equal(model.run(x), y)
    assert model._ahead


def changed(told: Description, output: str, **parts: Any) -> Description:
    ops = [msgspec.structs.replace(op, **parts) if op.output == output else op for op in told.ops]
    return msgspec.structs.replace(told, ops=ops)


def sliced(first: int, last: int) -> dict[str, Any]:
    return {"attributes": {"starts": [0, first], "ends": [1, last], "steps": [1, 1]}}


@pytest.mark.parametrize(
    ("output", "parts"),
    [
        ("gh", {"attributes": {"relu": 1}}),
        ("gx", {"attributes": {"relu": 1}}),
        ("hn", sliced(4, 8)),
        ("xn", sliced(0, 4)),
        ("z", sliced(4, 8)),
        ("x gates", sliced(4, 12)),
        ("xn", {"inputs": ["gh"]}),
        ("n", {"kind": "Sigmoid"}),
        ("gh", {"kind": "Conv"}),
        ("sum", {"inputs": ["x gates", "x gates"]}),
        ("difference", {"inputs": ["n", "state"]}),
    ],
)
def test_what_is_not_quite_one_is_left_as_it_is(output: str, parts: dict[str, Any]) -> None:
    told = gru(3, 4)[0].description
    assert "Gru" in kinds(told)
    assert "Gru" not in kinds(changed(told, output, **parts))


@pytest.mark.parametrize("name", ["gx", "gh", "gates", "z", "n", "hn"])
def test_nor_is_what_others_read_the_insides_of(name: str) -> None:
    told = gru(3, 4)[0].description
    assert "Gru" not in kinds(msgspec.structs.replace(told, outputs=["next", name]))


def test_a_quantized_one_is_none() -> None:
    told = gru(3, 4)[0].description
    for name in ("gx", "gh", "x", "state"):
        tensors = {**told.tensors, name: Tensor(shape=told.tensors[name].shape, dtype="int16", scale=0.5)}
        assert "Gru" not in kinds(msgspec.structs.replace(told, tensors=tensors))
