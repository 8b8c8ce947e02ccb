"""The words everything else is written in: plain data and protocols. Imports nothing of ours.

Data flows one way:
source -> Chunk -> features -> frame -> step model -> output -> decider -> Event -> sink
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Self, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Frames = NDArray[np.float32]
TimesNs = NDArray[np.int64]
State = dict[str, NDArray[np.generic]]
"""What a model or a feature remembers: arrays by name."""
Plain = Mapping[str, Any]
"""What a decider or a source remembers, as JSON has it: numbers, strings, and lists and mappings of them."""
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Channel:
    """One measured quantity: its name in the data and its unit."""

    name: str
    unit: str = ""


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """What a stream carries: channels in order, rate in Hz, sample type."""

    channels: tuple[Channel, ...]
    rate_hz: float
    dtype: str = "float32"

    @property
    def names(self) -> tuple[str, ...]:
        """The channels' names in order."""
        return tuple(channel.name for channel in self.channels)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples of one stream.

    t_ns: int64[n], time of each sample. values: float32[n, channels]. gap: something was lost before this chunk.
    stream: which of the source's streams (one machine of many); "" where there is one. last: the stream ends here.
    state: where a source that can be replayed stands behind this chunk, for its `set_state`; None of a live one. It
    goes with the chunk, for the source itself may have been read further ahead.
    """

    t_ns: TimesNs
    values: Frames
    gap: bool = False
    stream: str = ""
    last: bool = False
    state: Plain | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What the model said at one time step. values: float32[outputs]; warming: it still leans on padding."""

    t_ns: int
    stream: str
    values: Frames
    warming: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """What a decider says. One alert is raised, may be updated, and is cleared, under one `alert` name.

    alert: stable name of the alert. sequence: 0 at raised, then 1, 2, ... severity: 1 warning, 2 critical.
    score: the value that decided, in the output's unit. evidence: what else a reader needs to judge it.
    state: what its stream stands at with this event: it is kept with it, so that another process goes on from there,
    and told nobody. Of several events of one output the last has it: they are told together or not at all.
    """

    kind: Literal["raised", "updated", "cleared"]
    alert: str
    sequence: int
    stream: str
    level: str
    severity: int
    score: float
    t_ns: int
    evidence: Mapping[str, float | str] = field(default_factory=dict)
    state: Plain = field(default_factory=dict, compare=False, repr=False)

    @property
    def event_id(self) -> str:
        """Stable across restarts, so that a subscriber can drop duplicates."""
        return f"{self.alert}-{self.sequence}"


@dataclass(frozen=True, slots=True)
class About:
    """Who speaks, told to every sink when it opens: device, pipeline, model, and what the output's values are.

    names, unit: of the output's values. score: the position of the value that the decider judges. signal_hz: where the
    values of an output are no scores but consecutive samples of a signal, its rate.
    """

    device: str
    pipeline: str
    model: str = ""
    model_version: str = ""
    names: tuple[str, ...] = ()
    unit: str = ""
    score: int = 0
    signal_hz: float | None = None


@runtime_checkable
class Source(Protocol):
    """Where samples come from. Iterating yields chunks until the data ends or `close` is called."""

    @property
    def spec(self) -> StreamSpec:
        """What the chunks carry."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """What was dropped or repaired, counted by reason."""
        ...

    def __iter__(self) -> Iterator[Chunk]: ...

    def close(self) -> None:
        """End the iteration from any thread, a wait for the next sample included."""
        ...


@runtime_checkable
class Replayable(Source, Protocol):
    """A source that can go back to where it was: its chunks have a `state`, each its own.

    replays: whether these very data can be read again; what is heard, or comes through a pipe, cannot.
    """

    replays: bool

    def set_state(self, state: Plain) -> None:
        """Begin, when iterated, with what followed the chunk that had this state; asked once, before that.

        The chunks are then the same bit for bit. Raises StateError where it is not the state of these data.
        """
        ...


@runtime_checkable
class Live(Protocol):
    """A source that may say `live`: it measures now; what is not taken in time is lost, and it may fall silent."""

    live: bool


@runtime_checkable
class Feature(Protocol):
    """One link of the feature chain: samples in, zero or more frames out, the same for any split of the input."""

    def open(self, spec: StreamSpec) -> StreamSpec:
        """Check the incoming spec and return the outgoing one. Raises ConfigError where they do not fit."""
        ...

    def push(self, t_ns: TimesNs, values: Frames) -> tuple[TimesNs, Frames]:
        """Take float32[n, channels] at int64[n] ns, n >= 1; return the frames completed and their times."""
        ...

    def reset(self) -> None:
        """Forget everything remembered, as after `open`."""
        ...

    def get_state(self) -> State:
        """Return a copy of everything remembered, once open."""
        ...

    def set_state(self, state: State) -> None:
        """Take up where `get_state` was called, opened for the same spec. Raises StateError for another's state."""
        ...


@runtime_checkable
class Stage(Protocol):
    """One link of a model that is put together from files by others: a pure function of what it takes and remembers.

    What passes between stages is float32 whose first axis is time: of the source [samples a step, channels], of a
    stage mostly one row. delay: steps by which what comes out lags behind what went in.
    """

    delay: int

    def open(self, inputs: Mapping[str, Shape], hop: int) -> Mapping[str, Shape]:
        """Take the shape of each input and the samples of a step; return the shape of each output.

        An input without a name, "", is the stage before's: it goes where nothing else does. Raises ConfigError.
        """
        ...

    def initial(self) -> State:
        """Return what it remembers at the start."""
        ...

    def step(self, inputs: Mapping[str, Frames], state: State) -> tuple[Mapping[str, Frames], State]:
        """Return outputs and the next state; neither inputs nor state are altered, none is kept."""
        ...

    def words(self) -> str:
        """Return what it does and what it concluded, for `edgeseq check`."""
        ...


@runtime_checkable
class StepModel(Protocol):
    """A sequence model with its memory made explicit: one time step in, one out.

    It is one thread's at a time; `fork` makes one for another. Raises ModelError for frames, outputs and states that it
    cannot take, before anything changes.
    """

    backend: str
    variant: str
    frames_per_step: int
    delay: int
    warm_up: int
    receptive_field: int | None

    def reset(self) -> None:
        """Set every state to its initial value."""
        ...

    def step(self, x: Frames, out: Frames | None = None) -> Frames:
        """Take float32[features], or [frames_per_step, features]; return float32[outputs], in `out` if given."""
        ...

    def run(self, x: Frames) -> Frames:
        """Take float32[frames, features], any number; return float32[steps completed, outputs]."""
        ...

    def flush(self) -> Frames:
        """Return the outputs still owed if the sequence ends here, as the original's right padding gives them.

        Behind all rows so far, the first `delay` left off, they make up the original's outputs.
        """
        ...

    def get_state(self) -> State:
        """Return a copy of everything remembered."""
        ...

    def set_state(self, state: State) -> None:
        """Take up where `get_state` was called. Raises ModelError for another model's state."""
        ...

    def fork(self) -> Self:
        """Another step model on the same weights, with a state of its own, freshly reset."""
        ...


@runtime_checkable
class Decider(Protocol):
    """Turns the outputs of one stream into events."""

    @property
    def ignored(self) -> Mapping[str, int]:
        """Outputs that decided nothing, counted by reason: "warming", "not_finite"."""
        ...

    def update(self, output: Output) -> list[Event]:
        """Judge one output; return the events that it causes, in order."""
        ...

    def gap(self) -> None:
        """Start anew what was about to be decided, for outputs were lost here; a standing alert stands."""
        ...

    @property
    def level(self) -> str:
        """The stream's present level: "ok" or the name of the alert level that stands."""
        ...

    def get_state(self) -> Plain:
        """Return a copy of everything remembered, what was ignored included."""
        ...

    def set_state(self, state: Plain) -> None:
        """Take up where `get_state` was called. Raises StateError for another's state."""
        ...


@runtime_checkable
class Sink(Protocol):
    """Where outputs and events go. `open` may raise SinkError; afterwards trouble is counted in `dropped`."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """What was not delivered, counted by reason."""
        ...

    def open(self, about: About) -> None:
        """Connect, or make the file. Raises SinkError."""
        ...

    def output(self, output: Output, level: str) -> None:
        """Take an output and the level that its stream has after it."""
        ...

    def event(self, event: Event) -> None:
        """Take an event; those of one output come before it."""
        ...

    def end(self, stream: str) -> None:
        """Nothing more comes of this stream."""
        ...

    def close(self) -> None:
        """Deliver what waits, within the sink's own limit, and count what could not be delivered."""
        ...


Pending = tuple[int, str, bytes]
"""An event that waits to be delivered: its number, its stream, its payload."""


@runtime_checkable
class Delivering(Sink, Protocol):
    """A sink that takes events out of the outbox, and says of each when its receiver has it for good."""

    def room(self) -> int:
        """How many events it takes now; 0 while its receiver is away. Called from any thread."""
        ...

    def deliver(self, events: Sequence[Pending], done: Callable[[Sequence[int]], None]) -> None:
        """Take events in order; `done` is called with numbers, from any thread, as the receiver acknowledges.

        What is not acknowledged when the sink is closed is delivered by the next process. Raises SinkError where none
        of them was taken.
        """
        ...


@runtime_checkable
class Reporting(Protocol):
    """A sink that takes a report on the pipeline's health every `health_interval_s` seconds."""

    health_interval_s: float

    def health(self, report: Plain) -> None:
        """Take a report; see the schema of `health`."""
        ...


@runtime_checkable
class Flushing(Protocol):
    """A sink that takes events and delivers them later: what it holds must be safe before a checkpoint goes past it."""

    def flush(self) -> None:
        """Return when what was taken so far survives a kill, or is counted as dropped; called from any thread."""
        ...


@runtime_checkable
class Checkable(Protocol):
    """A source or sink of which `edgeseq check` can say more than that its keys are right."""

    def check(self) -> str:
        """Look at what is there without starting anything, and say in a sentence what would happen.

        Raises ConfigError, SourceError or SinkError where it could not work.
        """
        ...
