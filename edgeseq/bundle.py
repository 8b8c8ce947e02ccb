"""The bundle: the folder that export writes and the runtime loads. Its schema, and the checked reading of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import msgspec

from edgeseq import parts, tables
from edgeseq.checksums import SUMS, check_sums
from edgeseq.errors import BundleError
from edgeseq.gaps import Gaps
from edgeseq.types import Channel, StreamSpec

SCHEMA = 1
MANIFEST = "bundle.toml"
GOLDENS = "parity.npz"
"""Golden frames [T, features]; `at`: the steps whose outputs are known; the original's `outputs` there, in float64; for
each quantized variant V the reference's stored integers `V.integers`: real = (integers - V.zero_point) * V.scale +
V.offset."""
STORAGE = ("float16", "w8")
"""Variants that only store their weights smaller and compute in float32: they have no integer reference."""
MAX_STEPS = 1 << 20
"""Frames a step, and steps of delay or warm-up, beyond which no honest bundle goes."""
MAX_NUMBERS = 1 << 28
MAX_TOKENS = 1 << 24
"""Tokens stand in rows of float32, which counts no further one by one."""
MAX_ZERO_POINT = 1 << 15
END_STATE = "clock.end"
"""The state that says how many frames the sequence has. The runtime sets it when a sequence is flushed."""
END_NEVER = 2**62


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all tables in bundle.toml: nothing unknown is accepted."""


class ChannelTable(_Table, frozen=True):
    """A channel of the stream."""

    name: str
    unit: str = ""


class StreamTable(_Table, frozen=True):
    """The stream that the feature chain takes in. rate_hz is the nominal rate of samples.

    duty_cycle_s: a record of samples begins so often; the pause between two is no gap. gap_limit_s: a gap of up to so
    many seconds, last sample before to first behind, resets no state; a longer one those that say so. Absent: any gap.
    """

    rate_hz: float
    channels: list[ChannelTable]
    duty_cycle_s: float | None = None
    gap_limit_s: float | None = None

    def spec(self) -> StreamSpec:
        """Return it as the StreamSpec that sources are checked against."""
        return StreamSpec(tuple(Channel(c.name, c.unit) for c in self.channels), self.rate_hz)

    def gaps(self) -> Gaps:
        """Return how gaps are judged."""
        return Gaps(self.duty_cycle_s, self.gap_limit_s or 0.0)


class Tensor(_Table, frozen=True):
    """An input or output of a graph: its name, shape (batch and time, both 1, included) and type in the file.

    dtype: int64 for tokens. tokens: how many different ones there are, from 0 on. part, output: where an encoder has
    several parts, this output of one before comes in here, row by row; absent where it is the source.
    """

    name: str
    shape: list[int]
    dtype: Literal["float32", "int64"] = "float32"
    time_axis: int = 1
    tokens: int | None = None
    part: str | None = None
    output: str | None = None


class StateTable(_Table, frozen=True):
    """One state: its name, shape in the file, value at reset (in real units) and when it is reset.

    initial: one value for all elements, or one an element in row-major order. held: what is held by this name is the
    value at reset instead.
    """

    name: str
    shape: list[int]
    initial: float | list[float] = 0.0
    reset: Literal["start", "gap"] = "start"
    held: str | None = None


class HeldTable(_Table, frozen=True):
    """What a decoder takes from its encoder and holds while it steps: the encoder's `output`, as it is.

    shape: with -1 along the source's time; such an output of an encoder's steps comes row by row, any other holds from
    the last step on. enters: the model file has an input of that name; else it only is states' value at reset. part:
    the encoder's part that gives it, where it has several; these, too, hold what parts before them give.
    """

    name: str
    output: str
    shape: list[int]
    dtype: str = "float32"
    enters: bool = True
    part: str = "encoder"


class GenerateTable(_Table, frozen=True):
    """How a decoder of tokens generates: the token it starts from, the one that ends it, how many it gives at most."""

    start: int
    stop: int | None = None
    max_length: int = 64


class Graph(_Table, frozen=True):
    """One step graph: `step`, or `encoder` and `decoder`. Parts of an encoder that run before it stand before it."""

    name: str
    inputs: list[Tensor]
    outputs: list[Tensor]
    states: list[StateTable]
    frames_per_step: int = 1
    delay: int = 0
    warm_up: int = 0
    receptive_field: int | None = None
    """In frames; absent where the memory has no end."""
    length_offset: int = 0
    """The original gives (T + length_offset) // frames_per_step outputs for T frames."""
    whole: bool = False
    """An encoder that sees all of its source at every step: it is no step, but runs once over the whole source."""
    backwards: bool = False
    """A part of an encoder that goes through its source from the end to the start: its rows are turned round, and those
    that it gives are turned back."""
    held: list[HeldTable] = []
    max_steps: int | None = None
    """Frames after which the stream must be reset, where positions or memory are bounded; absent where nothing is."""

    @property
    def widths(self) -> list[int]:
        """How many numbers of a frame each input takes; a frame holds them side by side."""
        return [math.prod(tensor.shape) // self.frames_per_step for tensor in self.inputs]

    @property
    def tokens(self) -> dict[int, int]:
        """The numbers of a frame that are tokens, by their places, and how many tokens there are of each."""
        known = [
            (tensor.tokens or MAX_TOKENS) if tensor.dtype == "int64" else None
            for tensor, width in zip(self.inputs, self.widths, strict=True)
            for _ in range(width)
        ]
        return {place: count for place, count in enumerate(known) if count is not None}


class StateTensors(_Table, frozen=True):
    """How one state enters and leaves a model file. A quantized state is real = scale * (stored - zero_point).

    half: which of two float32 this is, where the file's runtime has no float64 for the state that is their sum.
    """

    name: str
    input: str
    output: str
    dtype: str
    scale: float | None = None
    zero_point: int = 0
    half: Literal["", "high", "low"] = ""

    @property
    def title(self) -> str:
        """What it is called in a step model's state."""
        return f"{self.name}.{self.half}" if self.half else self.name


class ModelFile(_Table, frozen=True):
    """One model file: which graph and variant it holds, and which backends read it."""

    path: str
    graph: str
    variant: str
    format: Literal["onnx", "tflite", "npz"]
    states: list[StateTensors]
    weight_bytes: int = 0
    integer_macs: int = 0
    float_macs: int = 0
    """Multiply-accumulates of one step, counted in the optimized graph of the file's own runtime."""


class OutputTable(_Table, frozen=True):
    """What the output means and how it becomes a score."""

    kind: Literal["regression", "classes", "forecast", "reconstruction", "embedding"]
    names: list[str]
    unit: str = ""
    lower_is_worse: bool = False


class ParityTable(_Table, frozen=True):
    """What export measured of one variant against the original, over free-running steps.

    metric: which error is judged: the greatest for float32, the rms for what rounds to integers. exact: it gives the
    reference's very integers. Every output is held to a tolerance of its own, for it varies in units of its own; what
    is told are the errors and the `tolerance` of `output`, the one furthest into, or beyond, its tolerance.
    """

    variant: str
    backend: str
    steps: int
    max_abs_err: float
    rms_err: float
    metric: Literal["max", "rms"]
    tolerance: float
    passed: bool
    output: int = 0
    tolerances: list[float] = []
    exact: bool = False


class Origin(_Table, frozen=True):
    """Where the bundle came from."""

    framework: str
    source: str
    sha256: str = ""
    tools: dict[str, str] = {}
    note: str = ""


class Manifest(_Table, frozen=True, kw_only=True):
    """bundle.toml as a whole."""

    schema: int
    name: str
    version: str
    description: str = ""
    stream: StreamTable
    features: list[dict[str, Any]] = []
    output: OutputTable
    decider: dict[str, Any] | None = None
    calibration: str = ""
    """How the decider's thresholds were calibrated."""
    generate: GenerateTable | None = None
    graphs: list[Graph]
    files: list[ModelFile]
    defaults: dict[str, str]
    """Backend -> the variant that `auto` takes on it; the first backend named is the bundle's own default."""
    accuracy: dict[str, dict[str, float]] = {}
    """Variant -> metric -> value on the task's test data."""
    parity: list[ParityTable] = []
    origin: Origin


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose sums have been checked. Nothing in it is executed or unpickled."""

    path: Path
    document: tables.Document
    manifest: Manifest

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of SHA256SUMS: it names the bundle's whole content."""
        return hashlib.sha256((self.path / SUMS).read_bytes()).hexdigest()

    @property
    def encoder_decoder(self) -> bool:
        """Whether it holds an encoder and a decoder instead of one step."""
        return {graph.name for graph in self.manifest.graphs} >= {"encoder", "decoder"}

    def graph(self, name: str = "step") -> Graph:
        """Return a graph by name. Raises BundleError if the bundle has none of that name."""
        for graph in self.manifest.graphs:
            if graph.name == name:
                return graph
        raise BundleError(f"{self.path}: has no graph '{name}', only {_listed(g.name for g in self.manifest.graphs)}.")

    def file(self, variant: str, file_format: str, graph: str = "step") -> ModelFile:
        """Return the file of a variant in a format. Raises BundleError that lists what there is."""
        for file in self.manifest.files:
            if (file.graph, file.variant, file.format) == (graph, variant, file_format):
                return file
        there = _listed(f"{f.variant} ({f.format})" for f in self.manifest.files if f.graph == graph)
        raise BundleError(f"{self.path}: has no {variant} variant as {file_format}; it holds {there}.")


def read(path: Path) -> Bundle:
    """Read and check a bundle. Raises BundleError naming the file that is missing, altered or wrong."""
    if not path.is_dir():
        what = "is not a folder" if path.exists() else "does not exist"
        raise BundleError(f"{path}: {what}. A bundle is the folder that `edgeseq export` writes.")
    check_sums(path, MANIFEST)
    document = tables.read(path / MANIFEST, BundleError)
    found = document.table.get("schema")
    if found != SCHEMA:
        raise document.fail(f"this edgeseq reads schema {SCHEMA}, the bundle has {found!r}. Export it again.", "schema")
    manifest = tables.convert(document, document.table, Manifest)
    bundle = Bundle(path, document, manifest)
    _check_references(bundle)
    return bundle


def _check_references(bundle: Bundle) -> None:
    """Every file named must be listed, every graph and state known, every default present, every limit a number."""
    manifest, document = bundle.manifest, bundle.document
    for index, graph in enumerate(manifest.graphs):
        _check_graph(document, graph, index)
        given = sum(math.prod(output.shape) for output in graph.outputs)
        if graph.name == "step" and given != len(manifest.output.names):
            raise document.fail(f"{len(manifest.output.names)} names for {given} outputs.", "output", "names")
    if bundle.encoder_decoder:
        parts.check(document, manifest.graphs)
    _check_files(bundle)
    variants = {file.variant for file in manifest.files}
    for backend, variant in manifest.defaults.items():
        if variant not in variants:
            raise document.fail(f"the bundle has no variant '{variant}'.", "defaults", backend)
    if not manifest.defaults:
        raise document.fail("no backend has a default variant.", "defaults")
    for index, entry in enumerate(manifest.parity):
        if not all(math.isfinite(limit) and limit >= 0 for limit in (entry.tolerance, *entry.tolerances)):
            raise document.fail("a tolerance is a finite number, 0 or more.", "parity", index)
    _check_stream(document, manifest.stream)


def _check_stream(document: tables.Document, stream: StreamTable) -> None:
    if not (math.isfinite(stream.rate_hz) and stream.rate_hz > 0 and stream.channels):
        raise document.fail("a stream has a rate above 0 and at least one channel.", "stream")
    if stream.duty_cycle_s is not None and not 0 < stream.duty_cycle_s < math.inf:
        raise document.fail("must be above 0.", "stream", "duty_cycle_s")
    if stream.gap_limit_s is not None and not stream.gap_limit_s >= 0:
        raise document.fail("must be at least 0.", "stream", "gap_limit_s")


def _check_files(bundle: Bundle) -> None:
    document = bundle.document
    listed = {line.partition("  ")[2] for line in (bundle.path / SUMS).read_text("utf-8").splitlines()}
    for index, file in enumerate(bundle.manifest.files):
        if file.path not in listed:
            raise document.fail(f"'{file.path}' is not listed in {SUMS}.", "files", index, "path")
        if not _are_states_of(bundle.graph(file.graph), file):
            raise document.fail(f"its states are not those of the graph '{file.graph}'.", "files", index)
        for place, state in enumerate(file.states):
            stored = state.scale is None or (math.isfinite(state.scale) and state.scale > 0 and "int" in state.dtype)
            if not stored or abs(state.zero_point) > MAX_ZERO_POINT:
                where = ("files", index, "states", place)
                raise document.fail("a quantized state has a scale above 0 and an integer type.", *where)


def _are_states_of(graph: Graph, file: ModelFile) -> bool:
    """Say whether a file has each state of its graph once, or both halves of it where its format may have those."""
    parts: dict[str, set[str]] = {state.name: set() for state in file.states}
    for state in file.states:
        parts[state.name].add(state.half)
    allowed = [{""}, {"high", "low"}] if file.format == "tflite" else [{""}]
    once = len(file.states) == sum(map(len, parts.values()))
    return once and parts.keys() == {state.name for state in graph.states} and all(p in allowed for p in parts.values())


def _check_graph(document: tables.Document, graph: Graph, index: int) -> None:
    """Refuse sizes and counts that no export writes: the runtime allocates and loops by them."""
    for key, least in (("frames_per_step", 1), ("delay", 0), ("warm_up", 0)):
        if not least <= getattr(graph, key) <= MAX_STEPS:
            raise document.fail(f"lies between {least} and {MAX_STEPS}.", "graphs", index, key)
    _check_held(document, graph, index)
    for key in ("inputs", "outputs", "states"):
        for place, tensor in enumerate(getattr(graph, key)):
            where = ("graphs", index, key, place)
            if any(size < 1 for size in tensor.shape) or math.prod(tensor.shape) > MAX_NUMBERS:
                raise document.fail(f"the shape {tensor.shape} is none that a step has.", *where)
            if key == "inputs" and not 0 <= tensor.time_axis < max(len(tensor.shape), 1):
                raise document.fail(f"the shape {tensor.shape} has no axis {tensor.time_axis}.", *where)
            if isinstance(tensor, StateTable):
                if tensor.held is not None and tensor.held not in {entry.name for entry in graph.held}:
                    raise document.fail(f"nothing is held by the name '{tensor.held}'.", *where)
                given = tensor.initial if isinstance(tensor.initial, list) else [tensor.initial]
                if len(given) not in (1, math.prod(tensor.shape)) or not all(map(math.isfinite, given)):
                    raise document.fail("`initial` is one finite number, or one an element.", *where)


def _check_held(document: tables.Document, graph: Graph, index: int) -> None:
    for place, entry in enumerate(graph.held):
        free = [size for size in entry.shape if size != -1]
        if any(size < 1 for size in free) or math.prod(free) > MAX_NUMBERS:
            where = ("graphs", index, "held", place)
            raise document.fail(f"the shape {entry.shape} is none that a memory has.", *where)


def _listed(words: Any) -> str:
    return ", ".join(sorted(set(words))) or "nothing"
