"""A model file as a stage, whatever runs it: which input is data, which is state, which is held constant."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError
from edgeseq.stages._fit import Fit, fit, written
from edgeseq.stages._pairing import SEVERAL, Port, agree, pair
from edgeseq.tables import suggest
from edgeseq.types import Frames, Shape, State

MAX_OVERLAP = 1 << 20
MAX_STATE = 1 << 28

Arrays = Mapping[str, NDArray[Any]]
Constant = bool | int | float | list[Any]
"""The TOML value of a constant: a number, or numbers in lists."""


class StatePair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An output that is the next step's input: `{ input = "h", output = "h_next" }`.

    initial: the value of all its elements at the start. shape: where the file leaves sizes open that are not 1.
    """

    input: str
    output: str
    initial: float = 0.0
    shape: list[int] | None = None


class Runtime(Protocol):
    """A model file, opened."""

    @property
    def inputs(self) -> Mapping[str, Port]:
        """The inputs that must be fed."""
        ...

    @property
    def outputs(self) -> Mapping[str, Port]:
        """All outputs."""
        ...

    def settle(self, shapes: Mapping[str, Shape]) -> None:
        """Take the final shape of every input."""
        ...

    def run(self, feeds: Arrays) -> Arrays:
        """Compute all outputs. Values are as the file stores them.

        Raises ConfigError where the shapes do not work out, which is seen before any data.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Data:
    """How data enter: the input, how many past rows come first, how it is laid in."""

    port: Port
    past: int
    row: Shape
    laid: Fit


class ModelStage:
    """Base of the stages that run a file. Its parameters are explained at `Onnx`."""

    delay = 0

    def __init__(
        self,
        file: Path,
        runtime: Runtime,
        *,
        sha256: str,
        states: Sequence[StatePair] | None,
        constants: Mapping[str, Constant],
        overlap: Mapping[str, int],
    ) -> None:
        self.file, self.sha256 = file, sha256
        self._runtime, self._given, self._overlap = runtime, states, dict(overlap)
        ports = runtime.inputs
        for key, names in (("constants", constants), ("overlap", overlap)):
            for name in names:
                self._known(name, ports, "input", key, name)
        for name, rows in overlap.items():
            if not 1 <= rows <= MAX_OVERLAP:
                raise ConfigError(f"must lie between 1 and {MAX_OVERLAP}.", "overlap", name)
            if name in constants:
                raise ConfigError(f"the input '{name}' is held constant: it has no past.", "overlap", name)
        for place, state in enumerate(states or ()):
            self._check_state(state, place, {*constants, *overlap})
        self._constants = {name: _constant(ports[name], value) for name, value in constants.items()}
        self._data: dict[str, _Data] = {}
        self._pairs: dict[str, str] = {}
        self._initial: dict[str, NDArray[Any]] = {}
        self._converted: list[str] = []
        self._results: list[str] = []

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:  # noqa: ARG002 - the protocol's
        """Settle what every input is, and try a step: it shows the shapes that the file leaves open."""
        for name in inputs:
            if name:
                self._known(name, self._runtime.inputs, "input", "inputs", name)
                if name in self._constants:
                    raise ConfigError(f"the input '{name}' is held constant and fed by a stage.", "inputs", name)
        feeds = self._whose(inputs)
        for key, name in feeds.items():
            port, row = self._runtime.inputs[name], inputs[key]
            if port.dtype.kind != "f":
                raise ConfigError(
                    f"the input {port.entry()} takes {port.dtype}; stages give float32. Hold it constant.",
                    "inputs",
                )
            past = self._overlap.get(name, 0)
            laid = fit((past + row[0], *row[1:]), port.shape)
            if laid is None:
                raise ConfigError(self._misfit(name, row, past), "inputs" if key else "file")
            self._data[key] = _Data(port, past, row, laid)
        unfed = [name for name in self._overlap if name not in feeds.values()]
        if unfed:
            raise ConfigError(f"the input '{unfed[0]}' takes no stage's output: it has no past.", "overlap", unfed[0])
        self._start()
        return self._try()

    def initial(self) -> State:
        """Return the states as they start, and the past of the inputs that overlap it."""
        pasts = {
            f"past.{data.port.name}": np.zeros((data.past, *data.row[1:]), np.float32)
            for data in self._data.values()
            if data.past
        }
        return {**{name: value.copy() for name, value in self._initial.items()}, **pasts}

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:
        """Run the file once."""
        following: State = {}
        feeds: dict[str, NDArray[Any]] = {**self._constants}
        for key, data in self._data.items():
            value, name = inputs[key], data.port.name
            if data.past:
                value = np.concatenate([state[f"past.{name}"].astype(np.float32, copy=False), value])
                following[f"past.{name}"] = value[-data.past :].copy()
            feeds[name] = _stored(data.port, data.laid.lay(value))
        for name in self._pairs:
            feeds[name] = state[name]
        given = self._runtime.run(feeds)
        for name, output in self._pairs.items():
            following[name] = given[output]
            if name in self._converted:
                following[name] = _stored(
                    self._runtime.inputs[name], _real(self._runtime.outputs[output], given[output])
                )
        return {name: _row(_real(self._runtime.outputs[name], given[name])) for name in self._results}, following

    def words(self) -> str:
        """Say the pairs, and whether they were found by their shapes."""
        pairs = ", ".join(f"{name} from {output}" for name, output in self._pairs.items())
        how = " (the only pairing that shapes and types allow)" if pairs and self._given is None else ""
        parts = [f"{self.file.name}: " + (f"state {pairs}{how}" if pairs else "no state")]
        parts += [
            f"{name} held at {float(_real(self._runtime.inputs[name], value).ravel()[0]):g}"
            for name, value in self._constants.items()
            if value.size
        ]
        parts += [f"{data.port.name} after {data.past} of the past" for data in self._data.values() if data.past]
        for name in self._converted:
            leaves = self._runtime.outputs[self._pairs[name]]
            parts.append(
                f"{name} converted from {leaves.words()} to {self._runtime.inputs[name].words()} at every step"
            )
        return ", ".join(parts)

    def _known(self, name: str, ports: Mapping[str, Port], what: str, *keys: str | int) -> None:
        if name not in ports:
            raise ConfigError(f"{self.file.name} has no {what} '{name}'. {suggest(name, ports)}", *keys)

    def _check_state(self, state: StatePair, place: int, elsewhere: Collection[str]) -> None:
        """Hold one configured pair against the file."""
        where = ("states", place)
        self._known(state.input, self._runtime.inputs, "input", *where)
        self._known(state.output, self._runtime.outputs, "output", *where)
        given = self._given or ()
        if state.input in elsewhere or [s.input for s in given].count(state.input) > 1:
            raise ConfigError(f"the input '{state.input}' is fed twice; it can be a state only once.", *where)
        if [s.output for s in given].count(state.output) > 1:
            raise ConfigError(f"the output '{state.output}' is the next value of two states.", *where)
        enters, leaves = self._runtime.inputs[state.input], self._runtime.outputs[state.output]
        if not agree(enters, leaves):
            raise ConfigError(
                f"the state enters as {enters.words()} and leaves as {leaves.words()}: these two do not belong "
                "together.",
                *where,
            )
        if not math.isfinite(state.initial):
            raise ConfigError("initial must be a finite number.", *where)

    def _whose(self, inputs: Mapping[str, Shape]) -> dict[str, str]:
        """Return which input each value goes to, and settle which output feeds each of the others."""
        free = [n for n in self._runtime.inputs if n not in self._constants and n not in inputs]
        if self._given is not None:
            paired = {state.input: state.output for state in self._given}
            left = [name for name in free if name not in paired]
            for name in inputs:
                if name in paired:
                    raise ConfigError(f"the input '{name}' is a state and fed by a stage.", "inputs", name)
            if len(left) != int("" in inputs):
                raise ConfigError(self._unfed(left, nameless="" in inputs), "states")
            self._pairs = paired
            return {name: name or left[0] for name in inputs}
        if "" not in inputs:
            self._pairs = self._inferred(free)
            return {name: name for name in inputs}
        answers: dict[str, dict[str, str]] = {}
        ambiguous: list[str] = []
        for data in [name for name in free if set(self._overlap) <= {name}]:
            row, port, past = inputs[""], self._runtime.inputs[data], self._overlap.get(data, 0)
            if port.dtype.kind != "f" or fit((past + row[0], *row[1:]), port.shape) is None:
                continue
            found, only = pair([self._runtime.inputs[n] for n in free if n != data], [*self._runtime.outputs.values()])
            if found is not None:
                answers[data] = found
                ambiguous += [] if only else [data]
        if len(answers) != 1 or ambiguous:
            raise ConfigError(self._unclear(answers, inputs[""], free), "states" if answers else "file")
        ((data, self._pairs),) = answers.items()
        return {"": data}

    def _inferred(self, free: Sequence[str]) -> dict[str, str]:
        """Return the one pairing of these inputs. Raises ConfigError where there is none, or another."""
        found, only = pair([self._runtime.inputs[name] for name in free], [*self._runtime.outputs.values()])
        if found is None:
            raise ConfigError(self._unfed(free, nameless=False), "states")
        if not only:
            raise ConfigError(_undecided(found), "states")
        return found

    def _unfed(self, left: Sequence[str], *, nameless: bool) -> str:
        """Say which inputs nothing feeds, or that there is none for the stage before."""
        if nameless and not left:
            return f"all inputs of {self.file.name} are states or constants; none is left for the data."
        outputs = ", ".join(f"{port.name} {port.words()}" for port in self._runtime.outputs.values())
        ports = ", ".join(self._runtime.inputs[name].entry() for name in left)
        one = " One of them may take the stage before's output." if nameless else ""
        return (
            f"nothing feeds the inputs {ports} of {self.file.name}: pair each with an output in states, hold it in "
            f"constants, or name a stage's output in inputs.{one} The outputs are {outputs}."
        )

    def _unclear(self, answers: Mapping[str, Mapping[str, str]], row: Shape, free: Sequence[str]) -> str:
        """Say why the input for the stage before's output cannot be told."""
        if answers:
            return _undecided(next(iter(answers.values())))
        ports = ", ".join(self._runtime.inputs[name].entry() for name in free) or "none"
        return (
            f"what comes in is {written(row)} a step, and {self.file.name} has no input that takes it while all others "
            f"are fed by outputs. Its inputs are {ports}. Say which it is and what feeds the others: hop, overlap, "
            "inputs, states, constants."
        )

    def _misfit(self, name: str, row: Shape, past: int) -> str:
        port = self._runtime.inputs[name]
        after = f" after {past} of the past" if past else ""
        return (
            f"the input '{name}' of {self.file.name} takes {written(port.shape)}, what comes is {written(row)}{after}."
        )

    def _start(self) -> None:
        """Make the states' initial values."""
        given = {state.input: state for state in self._given or ()}
        for name in self._pairs:
            port, state = self._runtime.inputs[name], given.get(name)
            shape = tuple(size or 1 for size in port.shape)
            if state is not None and state.shape is not None:
                shape = tuple(state.shape)
                known = Port(name, shape, port.dtype)
                if not agree(known, port) or min(shape, default=1) < 1 or math.prod(shape) > MAX_STATE:
                    raise ConfigError(
                        f"the state '{name}' is {written(port.shape)} in the file; {written(shape)} is no such shape.",
                        "states",
                    )
            self._initial[name] = _stored(port, np.full(shape, state.initial if state else 0, port.dtype))
            self._hold_together(port, self._runtime.outputs[self._pairs[name]])

    def _hold_together(self, enters: Port, leaves: Port) -> None:
        """See that a state's numbers mean the same, once they have left, when they enter again."""
        for port in (enters, leaves):
            if port.unclear and (enters.scale or leaves.scale or port.unclear == SEVERAL):
                raise ConfigError(
                    f"the state '{enters.name}' leaves as {leaves.words()} and enters as {enters.words()}; the file "
                    f"has {port.entry()}, so the state would be wrong. Export it with float states.",
                    "states",
                )
        one, other = enters.scale, leaves.scale
        if one != other and (one is None or other is None or not one.means(other)):
            self._converted.append(enters.name)

    def _try(self) -> dict[str, Shape]:
        """Step twice from the start, on a ramp; return the shapes of what comes out, which must be the same."""
        shapes = {name: value.shape for name, value in (*self._constants.items(), *self._initial.items())}
        self._runtime.settle({**shapes, **{data.port.name: data.laid.shape for data in self._data.values()}})
        self._results = [name for name in self._runtime.outputs if name not in self._pairs.values()]
        if not self._results:
            raise ConfigError(f"all outputs of {self.file.name} are states; it gives nothing.", "states")
        data = {
            key: np.linspace(0, 1, math.prod(d.row), dtype=np.float32).reshape(d.row) for key, d in self._data.items()
        }
        outputs, state = self.step(data, self.initial())
        for name, value in self._initial.items():
            after = state[name]
            if after.shape != value.shape or after.dtype != value.dtype:
                raise ConfigError(
                    f"the state '{name}' is {written(value.shape)} before a step and {written(after.shape)} after it "
                    f"(output '{self._pairs[name]}'): it would not stay as it is.",
                    "states",
                )
        again, _ = self.step(data, self.initial())
        if not all(np.array_equal(value, again[name], equal_nan=True) for name, value in outputs.items()):
            raise ConfigError(
                f"{self.file.name} gives different outputs for the same inputs: it remembers, or draws at random, "
                "something that is neither an input nor an output, so its state cannot be kept. Export it with that "
                "as inputs and outputs.",
                "file",
            )
        return {name: value.shape for name, value in outputs.items()}


def _stored(port: Port, value: NDArray[Any]) -> NDArray[Any]:
    """Return values as an input stores them."""
    return port.scale.stored(value) if port.scale else value.astype(port.dtype, copy=False)


def _real(port: Port, value: NDArray[Any]) -> NDArray[Any]:
    """Return what an output stores as what it means."""
    return port.scale.real(value) if port.scale else value


def _row(value: NDArray[Any]) -> Frames:
    """Return an output as one row of time, without axes of size 1."""
    row: Frames = value.astype(np.float32).reshape(1, *(size for size in value.shape if size != 1))
    return row


def _constant(port: Port, value: Constant) -> NDArray[Any]:
    """Return a constant as the input takes it; one number fills all of a shape. Raises ConfigError."""
    try:
        given = np.asarray(value)
        cast = given.astype(port.dtype)
        whole = port.dtype.kind == "f" or np.array_equal(cast.astype(np.float64), given.astype(np.float64))
        good = given.dtype.kind in "bif" and bool(np.isfinite(given).all()) and whole
    except (ValueError, TypeError, OverflowError):
        good = False
    if not good:
        raise ConfigError(
            f"{value!r} is no value of {port.dtype}, which the input '{port.name}' takes.", "constants", port.name
        )
    if cast.ndim == 0:
        return _stored(port, np.full(tuple(size or 1 for size in port.shape), cast))
    if not agree(Port(port.name, cast.shape, port.dtype), port):
        raise ConfigError(
            f"the input '{port.name}' takes {written(port.shape)}, the constant is {written(cast.shape)}.",
            "constants",
            port.name,
        )
    return _stored(port, cast)


def _undecided(found: Mapping[str, str]) -> str:
    pairs = ", ".join(f'{{ input = "{state}", output = "{output}" }}' for state, output in found.items())
    return (
        "which input is data, and which output is the next value of which state, cannot be told from shapes and types "
        f"alone. Write it down, for example: states = [{pairs}]."
    )
