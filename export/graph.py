"""The graph under rewriting: an ONNX graph, where time runs in it, and the states it has been given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as Items
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from edgeseq.backends import settings
from export.errors import ExportError, node_error

settings.turn_off_telemetry()
import onnxruntime as ort  # noqa: E402 - it looks for the switch when it loads

Array = NDArray[np.generic]


@dataclass(frozen=True)
class Input:
    """An input of frames. shape: as the model takes it, with -1 on the time axis.

    dtype: "float32", or "int64" for tokens. tokens: how many different ones there are, from 0 on, where that is known.
    """

    name: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "int64"] = "float32"
    tokens: int | None = None

    @property
    def time_axis(self) -> int:
        """The axis along which time runs."""
        return self.shape.index(-1)

    @property
    def features(self) -> int:
        """Numbers in one frame."""
        return -int(np.prod(self.shape))

    def enter(self, rows: Array) -> Array:
        """Bring rows [T, features] into the shape and type that the model takes."""
        rest = [dim for dim in self.shape if dim != -1]
        return np.moveaxis(rows.reshape(len(rows), *rest), 0, self.time_axis).astype(self.dtype)

    def shaped(self, length: int) -> list[int]:
        """Return the shape of so many frames."""
        return [length if dim == -1 else dim for dim in self.shape]

    def noise(self, length: int, seed: int = 0) -> Array:
        """Return seeded frames of a length: normal numbers, or any of the tokens."""
        rng = np.random.default_rng(seed)
        if self.dtype == "int64":
            return rng.integers(0, self.tokens or 2, size=self.shaped(length))
        return rng.normal(size=self.shaped(length)).astype(np.float32)


@dataclass
class State:
    """One state of the step: where it enters and leaves the graph, and its value at reset.

    held: the held input that gives its value at reset instead.
    """

    name: str
    input: ir.Value
    output: ir.Value
    initial: NDArray[Any]
    held: str | None = None


@dataclass(frozen=True)
class Timing:
    """How a value with a time axis stands to the frames.

    Its entry j is made of the frames from j * stride + first to j * stride + last (first None: of all before, too).
    The original has (T + offset) // stride entries for T frames. In the stream, entry j appears in the place of the
    entry that would be j + delay; with a negative delay, that many entries at the start are constants (padding).
    """

    axis: int
    stride: int = 1
    delay: int = 0
    first: int | None = 0
    last: int = 0
    offset: int = 0

    @property
    def settled(self) -> int:
        """The least delay at which an entry, once it comes, is known to lie before the end of the sequence.

        What is cut off at the end counts as padding for a reader that pads there; it cannot be told from data sooner.
        """
        return max(self.delay, -(self.offset // self.stride))

    def at(self, axis: int) -> Timing:
        """Return the same timing on another axis."""
        return replace(self, axis=axis)


@dataclass(frozen=True)
class Pair:
    """The two time axes of a value over two times, such as attention's scores."""

    query: int
    key: int


@dataclass
class StreamGraph:
    """A sequence graph on its way to a step graph.

    frames: the inputs of frames, which all have the same times. time: time axis of every value that has one. lengths:
    how long each was along it in the two runs that showed it. timing: how each of them stands to the frames. fills: the
    constant entries at the start of those with a negative delay. edges: how many entries at start and end are copies of
    the one beside them, which only their reader puts in. frames_per_step: frames that one step takes.
    states: what the passes have made explicit. notes: what was inferred or decided, for the user to read.

    pairs: the time axes of values over two times; windows: how many keys a query sees there. sized: the time axes of
    values that depend on the length alone (masks, positions) and are read as data. counts:
    those that say how many steps there are, read where the time axis has ended. probed: the lengths of the runs.
    original: the graph before it was rewritten, where there are such values. attention_window, max_steps: the
    user's choices. narrowed: attention_window cut off what the original sees. limited: beyond max_steps the step would
    not be the original. counted: positions are counted from the first frame.

    held: further inputs that stay the same from step to step, each as it is for two sources of different lengths.
    steady: the values whose shape was seen to be the same for both.

    restarted: copies of the states are restarted in turn, so that none of them runs for ever.

    ended: the timings of the values of which the last entry, or all so far, are read where the time axis ends.
    """

    model: ir.Model
    frames: tuple[Input, ...]
    time: dict[ir.Value, int] = field(default_factory=dict)
    lengths: dict[ir.Value, tuple[int, int]] = field(default_factory=dict)
    timing: dict[ir.Value, Timing] = field(default_factory=dict)
    fills: dict[ir.Value, Array] = field(default_factory=dict)
    edges: dict[ir.Value, tuple[int, int]] = field(default_factory=dict)
    frames_per_step: int = 1
    states: list[State] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pairs: dict[ir.Value, Pair] = field(default_factory=dict)
    windows: dict[ir.Value, int] = field(default_factory=dict)
    sized: dict[ir.Value, tuple[int, ...]] = field(default_factory=dict)
    counts: list[ir.Value] = field(default_factory=list)
    attention_window: int | None = None
    max_steps: int | None = None
    narrowed: bool = False
    limited: bool = False
    restarted: bool = False
    ended: list[Timing] = field(default_factory=list)
    counted: bool = False
    probed: tuple[int, int] = (0, 0)
    original: ir.Model | None = None
    held: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    steady: set[ir.Value] = field(default_factory=set)

    @property
    def graph(self) -> ir.Graph:
        """The ONNX graph itself."""
        return self.model.graph

    @property
    def inputs(self) -> list[ir.Value]:
        """The values as which the frames enter, in their order."""
        return list(self.graph.inputs[: len(self.frames)])

    @property
    def outputs(self) -> list[ir.Value]:
        """What the model gives, without the states."""
        leaving = {state.output for state in self.states}
        return [value for value in self.graph.outputs if value not in leaving]

    @property
    def output_timing(self) -> Timing | None:
        """The outputs' timing, all together, None where none has a time axis: the latest sets the delay, 0 at least.

        None comes before it is known to lie before the end of the sequence, where the original has none such.
        """
        timings = [self.timing[value] for value in self.outputs if value in self.timing]
        if not timings:
            return self._ended_timing()
        firsts = [timing.first for timing in timings]
        return replace(
            timings[0],
            delay=max(0, *(timing.settled for timing in timings)),
            first=None if None in firsts else min(first for first in firsts if first is not None),
            last=max(timing.last for timing in timings),
        )

    def _ended_timing(self) -> Timing | None:
        """Return the timing of outputs without a time axis, None where each step gives one and no part of a step does.

        Where all that ends comes once a step, an unfinished step of the sequence's last frames may bring an entry more.
        """
        every = self.frames_per_step
        late = max((timing.delay // (every // timing.stride) for timing in self.ended), default=0)
        each = {(timing.stride, timing.offset) for timing in self.ended}
        stride, offset = each.pop() if len(each) == 1 else (0, 0)
        offset = offset if stride == every else -late * every
        return Timing(0, stride=every, delay=late, first=None, offset=offset) if late or offset else None

    @property
    def owes(self) -> bool:
        """Whether outputs are still to come when a sequence ends, be it in the middle of a step: flush gives them."""
        timing = self.output_timing
        return timing is not None and (timing.delay > 0 or timing.offset > 0)

    def noise(self, length: int, seed: int = 0) -> dict[str, Array]:
        """Return random input frames of a length, seeded: what they hold does not matter, only their shape."""
        frames = {frames.name: frames.noise(length, seed + place) for place, frames in enumerate(self.frames)}
        return frames | {name: examples[0] for name, examples in self.held.items()}

    def add_state(self, name: str, initial: Array, held: str | None = None) -> ir.Value:
        """Add a state of the shape and type of `initial` and return the value it enters as; `leave` closes it."""
        kind = ir.TensorType(ir.DataType.from_numpy(initial.dtype))
        entering = ir.Value(name=self.new_name(f"{name}.in"), shape=ir.Shape(initial.shape), type=kind)
        self.graph.inputs.append(entering)
        self.states.append(State(name, entering, entering, initial, held))
        return entering

    def leave(self, entering: ir.Value, leaving: ir.Value) -> None:
        """Say as which value the state that enters as `entering` leaves the step."""
        state = next(state for state in self.states if state.input is entering)
        leaving.name = self.new_name(f"{state.name}.out")
        leaving.shape, leaving.type = entering.shape, entering.type
        state.output = leaving
        self.graph.outputs.append(leaving)

    def state_name(self, base: str) -> str:
        """Return `base` with the least number that no state of that base has yet."""
        return f"{base}{sum(1 for state in self.states if state.name.startswith(base))}"

    def new_name(self, base: str) -> str:
        """Return `base`, or `base` with a number where the graph already has that name."""
        nodes, graphs = list(self.graph.all_nodes()), list(self.model.graphs())
        taken = {value.name for node in nodes for value in node.outputs} | {node.name for node in nodes}
        taken |= {value.name for graph in graphs for value in graph.inputs}
        taken |= {name for graph in graphs for name in graph.initializers}
        if base not in taken:
            return base
        return next(name for i in range(1, len(taken) + 2) if (name := f"{base}_{i}") not in taken)

    def constant(self, base: str, array: Array) -> ir.Value:
        """Add an initializer and return its value."""
        name = self.new_name(base)
        value = ir.Value(
            name=name,
            const_value=ir.tensor(array, name=name),
            shape=ir.Shape(array.shape),
            type=ir.TensorType(ir.DataType.from_numpy(array.dtype)),
        )
        self.graph.register_initializer(value)
        return value


def constant_of(value: ir.Value | None) -> Array | None:
    """Return a value's constant content, or None where it depends on anything."""
    if value is None or value.const_value is None:
        return None
    return value.const_value.numpy()


def sizes(value: ir.Value | None) -> list[int]:
    """Return a value's shape, 1 standing for what is not fixed (batch, time)."""
    return [dim if isinstance(dim, int) else 1 for dim in (value.shape if value is not None else None) or ()]


def first_input(node: ir.Node) -> ir.Value:
    """Return a node's first input. Raises ExportError where it is left out."""
    value = node.inputs[0]
    if value is None:
        raise node_error(str(node.name), node.op_type, "its input is missing.")
    return value


def ints(node: ir.Node, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return an INTS attribute."""
    attribute = node.attributes.get(name)
    return tuple(attribute.as_ints()) if attribute else default


def integer(node: ir.Node, name: str, default: int) -> int:
    """Return an INT attribute."""
    attribute = node.attributes.get(name)
    return attribute.as_int() if attribute else default


def floats(x: Items[Array], dtype: type[np.floating]) -> list[Array]:
    """Return arrays with all that are floats in one type; tokens stay as they are."""
    return [array.astype(dtype) if array.dtype.kind == "f" else array for array in x]


def bodies(node: ir.Node) -> list[ir.Graph]:
    """Return the graphs that a node (Scan, Loop, If) runs inside."""
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    held = [attribute for attribute in node.attributes.values() if attribute.type in kinds]
    return [
        body
        for attribute in held
        for body in ([attribute.as_graph()] if attribute.type == kinds[0] else attribute.as_graphs())
    ]


def captured(node: ir.Node) -> list[ir.Value]:
    """Return what a node's bodies read from outside them, beside the node's inputs."""
    within: set[ir.Value] = set()
    read: dict[ir.Value, None] = {}
    for body in bodies(node):
        within.update(body.inputs, body.initializers.values())
        for inner in body:
            within.update(inner.outputs)
            read.update(dict.fromkeys(reads(inner)))
        read.update(dict.fromkeys(body.outputs))
    return [value for value in read if value not in within]


def reads(node: ir.Node) -> list[ir.Value]:
    """Return all that a node reads: its inputs, and what its bodies capture."""
    return [*(value for value in node.inputs if value is not None), *captured(node)]


def session(model: onnx.ModelProto, *, optimize: bool = True, threads: int = 1) -> ort.InferenceSession:
    """Open a model on onnxruntime's CPU provider. Raises ExportError with onnxruntime's reason."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    if not optimize:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as cause:
        raise ExportError(f"onnxruntime does not accept the model: {first_line(cause)}") from cause


def first_line(cause: BaseException) -> str:
    """Return an exception's first line that says something."""
    return next((line.strip() for line in str(cause).splitlines() if line.strip()), type(cause).__name__)


def shapeless(model: ir.Model) -> onnx.ModelProto:
    """Return a model to be run, without what is noted of shapes.

    onnxruntime takes axes of one name for equally long; "time" is on every axis that time runs along, however slowly.
    """
    proto = ir.to_proto(model)
    del proto.graph.value_info[:]
    for output in proto.graph.output:
        if output.type.HasField("tensor_type"):
            output.type.tensor_type.ClearField("shape")
    return proto


def probe(model: ir.Model, feeds: Mapping[str, Array], values: Iterable[ir.Value]) -> dict[str, Array]:
    """Run a model once, unoptimized, and return the named intermediate values, those that are tensors."""
    proto = shapeless(model)
    wanted = [value.name for value in values if value.name]
    present = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in present)
    runtime = session(proto, optimize=False)
    try:
        results = runtime.run(wanted, dict(feeds))
    except Exception as cause:
        raise ExportError(f"the model does not run: {first_line(cause)}") from cause
    # A sequence of tensors comes as a list.
    tensors = zip(wanted, results, strict=True)
    return {name: np.asarray(result) for name, result in tensors if not isinstance(result, list)}
