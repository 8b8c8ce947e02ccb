"""Programs that are nothing but windows of past rows, and the same in plain NumPy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgeseq.backends.native.program import Description, Input, Op, Program, State, Tensor
from edgeseq.bundle import Graph, ModelFile, StateTable, StateTensors
from edgeseq.bundle import Tensor as GraphTensor
from edgeseq.types import Frames

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Past:
    """A window: the shape of what enters at a step, the axis along which it does, and how many rows are remembered.

    beside: whether what reads it takes its numbers side by side.
    """

    shape: tuple[int, ...]
    axis: int
    remembered: int
    dtype: str = "float32"
    beside: bool = False

    @property
    def old(self) -> tuple[int, ...]:
        return tuple(self.remembered if place == self.axis else size for place, size in enumerate(self.shape))

    @property
    def initial(self) -> Array:
        """What is remembered at first: of every number another."""
        return (-1.0 - np.arange(math.prod(self.old)).reshape(self.old)).astype(self.dtype)


@st.composite
def pasts(draw: st.DrawFn) -> Past:
    shape = tuple(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3)))
    axis = draw(st.integers(0, len(shape) - 1))
    dtype = draw(st.sampled_from(("float32", "float32", "int64", "int32")))
    return Past(shape, axis, draw(st.integers(1, 9)), dtype, draw(st.booleans()))


def program(windows: list[Past]) -> tuple[Program, Graph, ModelFile]:
    """Return a program of windows, each over its part of a frame, and how bundle.toml describes it.

    Of each it gives what was remembered, that with the new rows behind it, the same negative, and what will be
    remembered; and, from the step before, what was remembered then: a state that is no window but reads one.
    """
    tensors, ops, states, outputs, inputs = {}, [], [], [], []
    first = 0

    def tensor(name: str, shape: tuple[int, ...], dtype: str) -> str:
        tensors[name] = Tensor(shape=[*shape], dtype=dtype)
        return name

    for k, past in enumerate(windows):
        width, last = math.prod(past.shape), len(past.shape) - 1
        grown = tuple(size + past.remembered * (axis == past.axis) for axis, size in enumerate(past.shape))
        x = tensor(f"x{k}", (1, width), "float32")
        inputs.append(Input(name=x, first=first, last=first + width, time_axis=0))
        first += width
        ops.append(Op(kind="Reshape", output=tensor(f"rows{k}", past.shape, "float32"), inputs=[x],
                      attributes={"shape": [*past.shape]}))  # fmt: skip
        new = f"rows{k}"
        if past.dtype != "float32":
            ops.append(
                Op(
                    kind="Cast",
                    output=tensor(f"cast{k}", past.shape, past.dtype),
                    inputs=[new],
                    attributes={"to": past.dtype},
                )
            )
            new = f"cast{k}"
        old, whole, cut = (
            tensor(f"{name}{k}", shape, past.dtype)
            for name, shape in (("old", past.old), ("whole", grown), ("cut", past.old))
        )
        echo, echoed = (tensor(f"{name}{k}", past.old, past.dtype) for name in ("echo", "echoed"))
        starts = [past.shape[past.axis] * (axis == past.axis) for axis in range(last + 1)]
        ops.append(Op(kind="Concat", output=whole, inputs=[old, new], attributes={"axis": past.axis}))
        ops.append(Op(kind="Slice", output=cut, inputs=[whole],
                      attributes={"starts": starts, "ends": [*grown], "steps": [1] * (last + 1)}))  # fmt: skip
        ops.append(Op(kind="Reshape", output=echoed, inputs=[old], attributes={"shape": [*past.old]}))
        seen = [old, whole, cut, echo]
        if past.beside:
            ops.append(Op(kind="Neg", output=tensor(f"less{k}", grown, past.dtype), inputs=[whole]))
            seen.append(f"less{k}")
        for name in seen:
            shape = (1, math.prod(tensors[name].shape))
            given = tensor(f"{name}.given", shape, past.dtype)
            ops.append(Op(kind="Reshape", output=given, inputs=[name], attributes={"shape": [*shape]}))
            real = tensor(f"{name}.real", shape, "float32")
            ops.append(Op(kind="Cast", output=real, inputs=[given], attributes={"to": "float32"}))
            outputs.append(real)
        states += [State(name=old, input=old, output=cut), State(name=echo, input=echo, output=echoed)]
    told = Description(
        version=1, frames=1, inputs=inputs, outputs=outputs, states=states, tensors=tensors, ops=ops
    )  # fmt: skip
    begins = {f"{name}{k}": past.initial for k, past in enumerate(windows) for name in ("old", "echo")}
    graph = Graph(
        name="step",
        inputs=[GraphTensor(name=x.name, shape=tensors[x.name].shape, time_axis=0) for x in inputs],
        outputs=[GraphTensor(name=name, shape=tensors[name].shape) for name in outputs],
        states=[
            StateTable(name=name, shape=[*value.shape], initial=value.reshape(-1).astype(float).tolist())
            for name, value in begins.items()
        ],
    )
    file = ModelFile(
        path="step.npz", graph="step", variant="float32", format="npz",
        states=[
            StateTensors(name=state.name, input=state.input, output=state.output, dtype=tensors[state.input].dtype)
            for state in states
        ],
    )  # fmt: skip
    return Program(Path("step.npz"), told, {}), graph, file


class Plain:
    """The same of one stream: state by name, and what a step gives."""

    def __init__(self, windows: list[Past]) -> None:
        self._windows = windows
        self.state: dict[str, Array] = {}
        self.reset()

    def reset(self) -> None:
        self.state = {
            f"{name}{k}": past.initial for k, past in enumerate(self._windows) for name in ("old", "echo")
        }  # fmt: skip

    def step(self, frame: Frames) -> Frames:
        given, first = [], 0
        for k, past in enumerate(self._windows):
            rows = frame[first : first + math.prod(past.shape)].reshape(past.shape).astype(past.dtype)
            first += rows.size
            old, echo = self.state[f"old{k}"], self.state[f"echo{k}"]
            whole = np.concatenate([old, rows], axis=past.axis)
            cut = np.split(whole, [rows.shape[past.axis]], axis=past.axis)[1]
            given += [old, whole, cut, echo, *([-whole] if past.beside else [])]
            self.state[f"old{k}"], self.state[f"echo{k}"] = cut, old
        return np.concatenate([value.reshape(-1).astype(np.float32) for value in given])
