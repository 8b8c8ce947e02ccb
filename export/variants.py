"""Makes the variants of a step: each a model file with its states, its multiply-accumulates, its reference."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.bundle import STORAGE, Graph, ModelFile, StateTable, StateTensors, Tensor
from export import macs, storage
from export.errors import ExportError, NoIntegerForm
from export.frames import evenly
from export.graph import StreamGraph, sizes
from export.kept import Costs
from export.lowering import lower
from export.parity import QUANTIZED_BOUNDS
from export.program import Program, ProgramState
from export.progress import Progress, counted, silent
from export.quantize import sensitivity
from export.quantize.calibrate import Batch, Seen, as_batches, calibrate
from export.quantize.integers import VARIANTS
from export.quantize.sensitivity import Outputs, Part, Runs, Sensitivity, told
from export.writers import onnx as writer

KNOWN = ("float32", *VARIANTS)
"""Made where the model has a form for them; those of STORAGE are made when asked for by name."""
GOAL = 0.75
"""The share of its bound that a variant is made for at first."""
FORGETFUL = 2000
"""Frames of the pieces that a sequence is cut into where the step's memory is limited: they run side by side."""
MOST = 128
"""Sequences, or pieces of them, that ranges are seen on."""


@dataclass(frozen=True)
class Variant:
    """One variant, ready to be written. program: the integers decided; None where it computes in float32.

    notes: what the user is to be told of it. parts: how sensitive each part of it is to its integers. kept: weights of
    a variant of STORAGE that stay float32. closest: whether it can be made no closer to float32.
    """

    name: str
    model: onnx.ModelProto
    file: ModelFile
    program: Program | None
    notes: Sequence[str] = ()
    parts: Sequence[Part] = ()
    kept: Sequence[str] = ()
    closest: bool = True


class Maker:
    """Makes variants of one step graph; calibration runs once, when the first quantized one is asked for.

    calibration: sequences of frames, or batches of them where something is held. graph: the graph's name in the bundle.
    count: counts the multiply-accumulates of its files.
    """

    def __init__(
        self,
        stream: StreamGraph,
        calibration: Sequence[NDArray[np.float32]] | Sequence[Batch],
        progress: Progress = silent,
        *,
        graph: str = "step",
        count: Callable[[onnx.ModelProto], macs.Macs] = macs.count,
    ) -> None:
        self._stream, self._progress, self._graph, self._count = stream, progress, graph, count
        timing = stream.output_timing
        remembers = timing is None or timing.first is None
        given = as_batches(calibration)
        # A step whose memory has an end cannot drift: a piece out of the middle is as good as one from the start.
        size = None if remembers else -(-FORGETFUL // stream.frames_per_step) * stream.frames_per_step
        self._batches = [_pieces(batch, size) for batch in given]
        total, seen = (
            sum(len(part) for batch in batches for part in batch.sequences) for batches in (given, self._batches)
        )
        self.notes = [] if seen == total else [f"ranges were seen on {seen:,} frames of {total:,}"]
        delay = 0 if timing is None else timing.delay
        self._outputs = Outputs(delay, remembers)
        self._program: Program | None = None
        self._seen: Mapping[str, Seen] = {}
        self._sensitivity: dict[str, Sensitivity] = {}
        self._costs: dict[str, Costs] = {}

    def make(self, name: str, goal: float = GOAL) -> Variant:
        """Return a variant by name. goal: the share of its bound that it is made for.

        Raises ExportError where it cannot be made.
        """
        if name == "float32":
            model = writer.float_step(self._stream)
            return Variant(name, model, self._file(name, model, None), None)
        if name in STORAGE:
            return self._smaller(name, goal)
        lowered = self.lowered()
        seen = self._calibrated()
        if name not in self._sensitivity:
            tick = counted(self._progress, f"measuring what {name} costs where", len(sensitivity.parts(lowered)))
            self._sensitivity[name] = Sensitivity(lowered, seen, name, self._runs, tick)
        program, parts = self._sensitivity[name].program(goal * QUANTIZED_BOUNDS[name])
        model = writer.quantized_step(program, self.outputs)
        return Variant(
            name, model, self._file(name, model, program), program, told(name, program, parts), parts,
            closest=all(part.kept == "float32" for part in parts),
        )  # fmt: skip

    def _smaller(self, name: str, goal: float) -> Variant:
        """Make a variant of STORAGE, at first with all weights rounded; then for a share of what that costs."""
        kept, closest = storage.NOTHING, False
        try:
            self.lowered()
        except NoIntegerForm:
            closest = True  # there is nothing to measure with
        if goal < GOAL and not closest:
            if name not in self._costs:
                names = storage.names(self._stream, name)
                tick = counted(self._progress, f"measuring what {name} costs where", len(names))
                self._costs[name] = Costs(self._stream, name, names, self._runs.short, tick)
            kept = self._costs[name].kept(goal / GOAL)
            closest = self._costs[name].all_in(kept)
        model, notes = storage.stored(writer.float_step(self._stream), name, kept)
        return Variant(name, model, self._file(name, model, None), None, notes, kept=[*kept], closest=closest)

    def _calibrated(self) -> Mapping[str, Seen]:
        """Return what was seen of the step's tensors over the calibration."""
        if not self._seen:
            steps = sum(max(map(len, batch.sequences)) for batch in self._batches)
            self._seen = calibrate(self.lowered(), self._batches, counted(self._progress, "calibrating", steps))
            _check_finite(self.lowered(), self._seen)
        return self._seen

    @cached_property
    def _runs(self) -> Runs:
        return Runs(self.lowered(), self._calibrated(), self._batches, self._outputs)

    def lowered(self) -> Program:
        """Return the step as a float Program. Raises NoIntegerForm naming the node that has none."""
        if self._program is None:
            self._program = lower(self._stream)
        return self._program

    def rounded(self, variant: Variant) -> Program:
        """Return the float Program of a variant of STORAGE, with the weights of its file. Raises as `lowered`."""
        return lower(storage.rounded(self._stream, variant.name, variant.kept), scaling=False)

    @property
    def outputs(self) -> list[str]:
        """The outputs' names in the graph."""
        return [str(value.name) for value in self._stream.outputs]

    def _file(self, name: str, model: onnx.ModelProto, program: Program | None) -> ModelFile:
        counted = self._count(model)
        return ModelFile(
            path=f"{self._graph}.{name}.onnx", graph=self._graph, variant=name, format="onnx",
            weight_bytes=weight_bytes(model), integer_macs=counted.integer, float_macs=counted.floating,
            states=self._states(program),
        )  # fmt: skip

    def _states(self, program: Program | None) -> list[StateTensors]:
        if program is None:
            return state_tensors(self._stream)
        return [_stored(program, state) for state in program.states]


def _pieces(batch: Batch, size: int | None) -> Batch:
    """Return a batch's sequences in pieces of so many frames, MOST of them at most, spread evenly over all.

    What begins anew each time, and what is held beside it, is cut off there instead.
    """
    if batch.anew or batch.held:
        return replace(batch, sequences=[sequence[:size] for sequence in batch.sequences])
    pieces = [s[at : at + (size or len(s))] for s in batch.sequences for at in range(0, len(s), size or len(s))]
    return replace(batch, sequences=evenly(pieces, MOST))


def file_of(  # noqa: PLR0917 - what a file is described by
    program: Program,
    variant: str,
    file_format: Literal["tflite", "npz"],
    weights: int,
    states: list[StateTensors],
    graph: str = "step",
) -> ModelFile:
    """Describe a file whose products are the Program's, so that its runtime's multiply-accumulates are too."""
    counted = program.precisions()
    floating = counted.pop("float32", 0)
    return ModelFile(
        path=f"{graph}.{variant}.{file_format}", graph=graph, variant=variant, format=file_format, weight_bytes=weights,
        integer_macs=sum(counted.values()), float_macs=floating, states=states,
    )  # fmt: skip


def defaults(files: Sequence[ModelFile], asked: str | None) -> dict[str, str]:
    """Return the variant that `auto` takes on each backend: the one asked for, int8 where there is one, or the first.

    The bundle's own default backend comes first: the native engine where it runs the variant that ONNX Runtime would.
    """
    there: dict[str, list[str]] = {}
    for file in files:
        there.setdefault(backends.reader(file), []).append(file.variant)
    found = {
        backend: next((name for name in (asked, "int8") if name in names), names[0]) for backend, names in there.items()
    }
    first = "native" if found.get("native") == found["ort"] else "ort"
    return {first: found[first], **found}


def _stored(program: Program, state: ProgramState) -> StateTensors:
    """Return how a state enters and leaves a quantized step."""
    kind, entering, leaving = program.types.get(state.input), f"{state.name}.in", f"{state.name}.out"
    if kind is None:
        return StateTensors(name=state.name, input=entering, output=leaving, dtype=program.dtype(state.input))
    dtype, zero = writer.stored(kind)
    return StateTensors(
        name=state.name, input=entering, output=leaving, dtype=np.dtype(dtype).name, scale=kind.scale, zero_point=zero
    )


def describe(stream: StreamGraph, name: str = "step") -> Graph:
    """Return a step graph's description for bundle.toml."""
    timing = stream.output_timing
    return Graph(
        name=name,
        inputs=[
            Tensor(
                name=entry.name,
                shape=entry.shaped(stream.frames_per_step),
                dtype=entry.dtype,
                time_axis=entry.time_axis,
                tokens=entry.tokens,
            )
            for entry in stream.frames
        ],
        outputs=[Tensor(name=str(value.name), shape=sizes(value)) for value in stream.outputs],
        states=[
            StateTable(name=s.name, shape=list(s.initial.shape), initial=_initial(s.initial), held=s.held)
            for s in stream.states
        ],
        frames_per_step=stream.frames_per_step,
        delay=0 if timing is None else timing.delay,
        warm_up=0 if timing is None or timing.first is None else timing.delay - timing.first // timing.stride,
        receptive_field=None if timing is None or timing.first is None else timing.last - timing.first + 1,
        length_offset=0 if timing is None else timing.offset,
        max_steps=stream.max_steps if stream.limited else None,
    )


def state_tensors(stream: StreamGraph) -> list[StateTensors]:
    """Return how the states enter and leave a float step."""
    return [
        StateTensors(name=s.name, input=str(s.input.name), output=str(s.output.name), dtype=s.initial.dtype.name)
        for s in stream.states
    ]


def _check_finite(program: Program, seen: Mapping[str, Seen]) -> None:
    nodes = {op.output: op.node for op in program.ops if op.kind != "Constant"}
    for name, found in seen.items():
        # A mask may hold infinity, and what is masked; it stays in float32.
        if name in nodes and np.isnan([found.low, found.high]).any():
            raise ExportError(
                f"node '{nodes[name]}': reaches NaN on the calibration frames, so it has no integer form; export "
                "float32 alone."
            )


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all stored numbers, without the scalars and shapes that only describe them."""
    arrays = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    return sum(array.nbytes for array in arrays if array.size > 1 and array.dtype != np.int64)


def _initial(array: NDArray[Any]) -> float | list[float]:
    flat = array.reshape(-1)
    return float(flat[0]) if np.all(flat == flat[0]) else [float(value) for value in flat]
