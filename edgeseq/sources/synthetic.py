"""A machine that does not exist: a shaft, its bearing, a fault that grows, and noise; the same for the same seed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq import bearings
from edgeseq.errors import ConfigError, StateError
from edgeseq.sources._pace import Pace, PaceKey
from edgeseq.sources._table import Column
from edgeseq.sources._times import Grid, start_ns
from edgeseq.states import plain
from edgeseq.types import Channel, Chunk, Frames, Plain, StreamSpec

BLOCK = 4096
"""Samples that are computed together, always from a multiple of it on: so any of them is the same however it is read.
"""
STRIKES = 256
"""Strikes whose jitter is drawn together."""
NOISE, JITTER = 0, 1
"""What is drawn, in the counter of the random numbers."""
WANDER_S = 10.0
"""The speed wanders once in this time."""
SILENT = 1e-6
"""A strike has died away at this share of its amplitude."""
MOST_JITTER, DEVIATIONS = 0.2, 4.0
LOAD_ZONE, LOAD_POWER = 0.4, 1.5
"""Of Stribeck's distribution of the load on a ball bearing."""
NEXT_SENSOR = 0.7
"""A further sensor gets this share of what the one before it gets."""
MOST_SAMPLES = 1 << 52
"""Beyond, a time in samples is no longer exact as a float64."""

Fault = Literal["none", "outer", "inner", "ball"]
_ORDERS = {"outer": 0, "inner": 1, "ball": 2}
"""Where a fault stands among `bearings.per_turn`."""

Floats = NDArray[np.float64]


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """The sample that comes next, and the time of the first."""

    sample: int
    start_ns: int


class Synthetic:
    """Vibration of a rotating machine, in g: harmonics of its shaft, a bearing's fault that strikes, noise.

    rate_hz: samples a second; channels: names of the accelerometers, default one, "x"; both default to the bundle's in
    a configuration. A further sensor gets 0.7 of the signal of the one before it, and noise of its own.
    speed_hz: the shaft's turns a second, which wander by the share `wander` within 10 s. harmonics: peak at one, two,
    ... times the speed.
    bearing: balls, ball_diameter, pitch_diameter, contact_angle (degrees, default 0). fault: "none", "outer", "inner",
    "ball": its strikes come at BPFO, BPFI or BSF, each early or late by `jitter` (standard deviation, as a share of the
    spacing), since the balls slip. A strike of `amplitude` rings at resonance_hz and dies away by `damping`, the share
    of the critical one. That of a fault that turns with the inner race or the cage is as strong as the load where it
    then stands. The fault grows from onset_s on, by the third power of time, to its amplitude at grown_s.
    noise: standard deviation. duration_s: the stream ends then; default: never.
    record_s, duty_cycle_s: only the first record_s of each duty_cycle_s are given, a record each, behind a gap.
    seed: of everything that is drawn. start: time of the first sample, ISO 8601 or "now". pace: "fast" (default),
    "real-time", or how many times faster than real time.

    Any sample is a function of its number: it is the same bit for bit wherever the reading began.
    Source: McFadden and Smith, "Model for the vibration produced by a single point defect in a rolling element
    bearing", J. Sound and Vibration 96, 1984; its jitter: Randall and Antoni, MSSP 25, 2011, section 3.
    """

    def __init__(
        self,
        *,
        rate_hz: float,
        channels: list[str | Column] | None = None,
        speed_hz: float = 25.0,
        wander: float = 0.002,
        harmonics: list[float] | None = None,
        bearing: dict[str, float] | None = None,
        fault: Fault = "none",
        amplitude: float = 1.0,
        onset_s: float = 0.0,
        grown_s: float = 0.0,
        jitter: float = 0.01,
        resonance_hz: float = 3000.0,
        damping: float = 0.05,
        noise: float = 0.05,
        duration_s: float | None = None,
        record_s: float | None = None,
        duty_cycle_s: float | None = None,
        seed: int = 0,
        start: str = "1970-01-01",
        pace: PaceKey = "fast",
    ) -> None:
        named = [Column(name=each, unit="g") if isinstance(each, str) else each for each in channels or ["x"]]
        self.replays = True
        self.spec = StreamSpec(tuple(Channel(each.name, each.unit) for each in named), rate_hz)
        self.dropped: Counter[str] = Counter()
        self._start_ns = start_ns(start)
        self._grid = Grid(rate_hz, self._start_ns)
        self._pace = Pace(pace)
        limits = (
            ("speed_hz", speed_hz, 0 < speed_hz < rate_hz / 2, "above 0 and below half the rate"),
            ("wander", wander, 0 <= wander <= MOST_JITTER, f"from 0 to {MOST_JITTER}"),
            ("jitter", jitter, 0 <= jitter <= MOST_JITTER, f"from 0 to {MOST_JITTER}"),
            ("resonance_hz", resonance_hz, 0 < resonance_hz < rate_hz / 2, "above 0 and below half the rate"),
            ("damping", damping, 0 < damping < 1, "above 0 and below 1"),
            ("noise", noise, 0 <= noise < math.inf, "at least 0"),
            ("amplitude", amplitude, 0 <= amplitude < math.inf, "at least 0"),
            ("onset_s", onset_s, 0 <= onset_s < math.inf, "at least 0"),
            ("seed", seed, 0 <= seed < 1 << 64, "at least 0 and below 2^64"),
            ("duration_s", duration_s, duration_s is None or 0 < duration_s * rate_hz < MOST_SAMPLES, "above 0"),
        )
        for key, value, right, words in limits:
            if not right:
                raise ConfigError(f"{key} must be {words}, not {value:g}.", key)
        if (record_s is None) != (duty_cycle_s is None) or not 0 < (record_s or 1) <= (duty_cycle_s or 1):
            raise ConfigError("record_s and duty_cycle_s stand together, above 0, the record the shorter one.")
        self._speed_hz, self._wander, self._seed = speed_hz, wander, seed
        self._harmonics = [0.1, 0.05, 0.02] if harmonics is None else harmonics
        orders = bearings.per_turn(bearing or {"balls": 9, "ball_diameter": 7.94, "pitch_diameter": 39.04})
        self._fault = fault
        self._order = orders[_ORDERS.get(fault, 0)]
        # What the load turns by against the fault, in turns of the shaft: not at all, the shaft itself, the cage.
        self._turning = {"inner": 1.0, "ball": orders[3]}.get(fault, 0.0)
        self._amplitude, self._onset_s, self._grown_s = amplitude, onset_s, max(grown_s, onset_s)
        self._jitter, self._noise = jitter, noise
        self._ringing = 2 * math.pi * resonance_hz * math.sqrt(1 - damping**2)
        self._decay = 2 * math.pi * resonance_hz * damping
        self._rings_s = -math.log(SILENT) / self._decay
        self._end = MOST_SAMPLES if duration_s is None else max(1, round(duration_s * rate_hz))
        self._cycle = self._record = self._end
        if record_s is not None and duty_cycle_s is not None:
            self._cycle, self._record = (max(1, round(each * rate_hz)) for each in (duty_cycle_s, record_s))
        self._first = 0

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters for a second of a machine with a fault, in records."""
        records = {"duration_s": 0.9, "record_s": 0.2, "duty_cycle_s": 0.4}
        return {"rate_hz": 12_000.0, "channels": ["x", "y"], "fault": "inner", "seed": 5, **records}

    def check(self) -> str:
        """Say what it gives."""
        fault = "without a fault" if self._fault == "none" else f"with a fault of the bearing's {self._fault} part"
        at = "" if self._fault == "none" else f" that strikes {self._order * self._speed_hz:.4g} times a second"
        return f"computes a machine {fault}{at}, {self.spec.rate_hz:g} Hz, {self._pace.words()}"

    def close(self) -> None:
        """End the iteration, from any thread."""
        self._pace.close()

    def set_state(self, state: Plain) -> None:
        """Go on behind the chunk that had this state. Raises StateError for a sample that does not exist."""
        held = plain(state, _State)
        if not 0 <= held.sample <= self._end:
            raise StateError(f"there is no sample {held.sample} in a stream of {self._end}: it was of another machine.")
        self._first, self._start_ns = held.sample, held.start_ns
        self._grid = Grid(self.spec.rate_hz, held.start_ns)

    def __iter__(self) -> Iterator[Chunk]:
        """Yield chunks; the last one is marked."""
        most = self._pace.most_rows(self.spec.rate_hz, BLOCK)
        at, number, block = self._first, -1, np.empty((0, 0), np.float32)
        while at < self._end:
            if at // BLOCK != number:
                number = at // BLOCK
                block = self._block(number)
            record = at - at % self._cycle
            stop = min(at + most, (number + 1) * BLOCK, record + self._record, self._end)
            t_ns = self._grid.times(np.arange(at, stop, dtype=np.int64))
            values = block[at - number * BLOCK : stop - number * BLOCK].copy()
            follows = stop if stop < record + self._record else record + self._cycle
            if not self._pace.wait("", int(t_ns[-1])):
                return
            yield Chunk(
                t_ns,
                values,
                gap=at == record and at > 0,
                last=follows >= self._end,
                state={"sample": min(follows, self._end), "start_ns": self._start_ns},
            )
            at = follows

    def _block(self, number: int) -> Frames:
        """Return float32[BLOCK, channels], the samples of a block."""
        t = np.arange(number * BLOCK, (number + 1) * BLOCK) / self.spec.rate_hz
        turns = self._turns(t)
        machine = np.zeros(BLOCK)
        for order, peak in enumerate(self._harmonics, start=1):
            machine += peak * np.sin(2 * np.pi * order * turns)
        if self._fault != "none":
            self._strike(t, turns, machine)
        values = np.empty((BLOCK, len(self.spec.channels)), np.float32)
        for place in range(values.shape[1]):
            noise = self._drawn(NOISE, place, number, BLOCK)
            values[:, place] = machine * NEXT_SENSOR**place + noise * self._noise
        return values

    def _strike(self, t: Floats, turns: Floats, machine: Floats) -> None:
        """Add the strikes of the fault that are heard at the times t."""
        heard_from = self._turns(t[:1] - self._rings_s)[0]
        spread = math.ceil(DEVIATIONS * self._jitter) + 1
        first = max(0, math.floor(heard_from * self._order) - spread)
        numbers = np.arange(first, math.ceil(turns[-1] * self._order) + spread)
        drawn = np.concatenate(
            [
                self._drawn(JITTER, 0, group, STRIKES)
                for group in range(first // STRIKES, int(numbers[-1]) // STRIKES + 1)
            ]
        )
        offset = first - first % STRIKES
        late = np.clip(drawn[numbers - offset], -DEVIATIONS, DEVIATIONS) * self._jitter
        angles = (numbers + late) / self._order
        times = self._when(angles)
        for at, peak in zip(times, self._size(times) * self._load(angles), strict=True):
            begin, end = np.searchsorted(t, (at, at + self._rings_s))
            since = t[begin:end] - at
            machine[begin:end] += peak * np.exp(-self._decay * since) * np.sin(self._ringing * since)

    def _turns(self, t: Floats) -> Floats:
        """Return the turns of the shaft up to t seconds."""
        pulse = 2 * math.pi / WANDER_S
        turns: Floats = self._speed_hz * (t + self._wander / pulse * np.sin(pulse * t))
        return turns

    def _when(self, turns: Floats) -> Floats:
        """Return the times at which the shaft has made these turns."""
        pulse, t = 2 * math.pi / WANDER_S, turns / self._speed_hz
        # Each turn of the loop leaves at most `wander` of the error.
        for _ in range(24):
            t = turns / self._speed_hz - self._wander / pulse * np.sin(pulse * t)
        return t

    def _size(self, t: Floats) -> Floats:
        """Return the amplitude of a strike at t seconds."""
        if self._grown_s == self._onset_s:
            return self._amplitude * (t >= self._onset_s).astype(np.float64)
        grown: Floats = np.clip((t - self._onset_s) / (self._grown_s - self._onset_s), 0, 1)
        return self._amplitude * grown**3

    def _load(self, turns: Floats) -> Floats:
        """Return the share of the greatest load where the fault stands after these turns."""
        away: Floats = (1 - np.cos(2 * np.pi * self._turning * turns)) / (2 * LOAD_ZONE)
        load: Floats = np.maximum(0, 1 - away) ** LOAD_POWER
        return load

    def _drawn(self, what: int, place: int, group: int, count: int) -> Floats:
        """Return standard normal numbers that are a function of seed, place and group."""
        bits = np.random.Philox(key=self._seed, counter=[0, group, place, what])
        return np.random.Generator(bits).standard_normal(count)
