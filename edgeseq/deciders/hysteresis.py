"""Two thresholds with separate clearing levels and a minimum duration: the plainest alert that does not flutter."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, Literal

import msgspec

from edgeseq.errors import ConfigError, StateError
from edgeseq.states import plain
from edgeseq.types import Event, Output, Plain

LEVELS = ("ok", "warning", "critical")


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """What is remembered; beyond, back: of each level, "ok" included."""

    level: int
    alert: str
    sequence: int
    worst: float
    beyond: list[int]
    back: list[int]
    ignored: dict[str, int]


class Hysteresis:
    """Raises a warning or a critical alert when the score stays at or beyond a threshold, clears it when it comes back.

    direction: "above" where high scores are bad, "below" where low ones are (remaining life).
    output: which of the model's outputs is the score, from 0.
    warning, critical: the level is reached when the score is at or beyond the threshold, in the output's unit, for
    `min_steps` outputs in a row. Without `critical` there is one level.
    warning_clear, critical_clear: the level is left when the score is strictly on the good side of it for `clear_steps`
    outputs in a row; default: the threshold itself, without hysteresis.

    One alert runs from the first level above ok to the return to ok, under one name made of stream and time:
    "raised", then "updated" at each change of level, then "cleared". Outputs that are warming or not finite neither
    raise nor clear, neither count nor break a row; they are counted in `ignored`. After a gap rows start anew.
    """

    def __init__(
        self,
        *,
        direction: Literal["above", "below"],
        warning: float,
        warning_clear: float | None = None,
        critical: float | None = None,
        critical_clear: float | None = None,
        min_steps: int = 1,
        clear_steps: int = 1,
        output: int = 0,
    ) -> None:
        if direction not in ("above", "below"):
            raise ConfigError(f"direction must be 'above' or 'below', not {direction!r}.")
        if min_steps < 1 or clear_steps < 1:
            raise ConfigError("min_steps and clear_steps must be at least 1.")
        if output < 0:
            raise ConfigError("output counts from 0.")
        if critical is None and critical_clear is not None:
            raise ConfigError("critical_clear stands without critical.")
        self.output = output
        self.ignored: Counter[str] = Counter()
        self._direction = direction
        # Inside, high is always bad: one comparison instead of two.
        self._sign = sign = 1.0 if direction == "above" else -1.0
        pairs = [("warning", warning, warning_clear)]
        if critical is not None:
            pairs.append(("critical", critical, critical_clear))
        self._raise = [math.inf, *(sign * at for _, at, _ in pairs)]
        self._clear = [-math.inf, *(sign * (at if clear is None else clear) for _, at, clear in pairs)]
        self._check(pairs)
        self._min_steps = min_steps
        self._clear_steps = clear_steps
        self._beyond = [0] * len(self._raise)
        self._back = [0] * len(self._raise)
        self._level = 0
        self._alert = ""
        self._sequence = 0
        self._worst = 0.0

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters that alert where the score, of spread 1, is high."""
        return {
            "direction": "above",
            "warning": 1.0,
            "warning_clear": 0.5,
            "critical": 2.0,
            "critical_clear": 1.5,
            "min_steps": 2,
            "clear_steps": 3,
        }

    @property
    def level(self) -> str:
        """The present level: "ok", "warning" or "critical"."""
        return LEVELS[self._level]

    def gap(self) -> None:
        """Start all rows anew; a standing alert stands."""
        self._beyond = [0] * len(self._raise)
        self._back = [0] * len(self._raise)

    def update(self, output: Output) -> list[Event]:
        """Judge one output. Returns no event or one."""
        score = float(output.values[self.output])
        if output.warming:
            self.ignored["warming"] += 1
            return []
        if not math.isfinite(score):
            self.ignored["not_finite"] += 1
            return []
        bad = self._sign * score
        for level in range(1, len(self._raise)):
            self._beyond[level] = self._beyond[level] + 1 if bad >= self._raise[level] else 0
            self._back[level] = self._back[level] + 1 if bad < self._clear[level] else 0
        if self._level:
            self._worst = max(self._worst, bad)
        before, self._level = self._level, self._next()
        return [] if self._level == before else [self._event(output, score, before)]

    def get_state(self) -> Plain:
        """Return everything remembered."""
        held = _State(self._level, self._alert, self._sequence, self._worst, self._beyond, self._back, self.ignored)
        state: dict[str, Any] = msgspec.to_builtins(held)
        return state

    def set_state(self, state: Plain) -> None:
        """Take it up. Raises StateError for a state of other levels."""
        held, levels = plain(state, _State), len(self._raise)
        if not (len(held.beyond) == len(held.back) == levels and 0 <= held.level < levels):
            raise StateError(f"a state of {len(held.beyond)} levels is not one of {levels} levels, 'ok' included.")
        self._level, self._alert, self._sequence, self._worst = held.level, held.alert, held.sequence, held.worst
        self._beyond, self._back, self.ignored = held.beyond, held.back, Counter(held.ignored)

    def _next(self) -> int:
        """Return the level that follows: the highest reached, or where the score has come back, the highest still held.

        A critical alert that is left falls to warning as long as warning's own clearing level is not passed.
        """
        for level in range(len(self._raise) - 1, self._level, -1):
            if self._beyond[level] >= self._min_steps:
                return level
        level = self._level
        while level and self._back[level] >= self._clear_steps:
            level -= 1
        return level

    def _event(self, output: Output, score: float, before: int) -> Event:
        """Return the event of a change of level."""
        if before == 0:
            # Derived from the data alone, so that a rerun names the same alert the same.
            self._alert = f"{output.stream or 'stream'}@{output.t_ns}"
            self._sequence = 0
            self._worst = self._sign * score
            kind: Literal["raised", "updated", "cleared"] = "raised"
        else:
            self._sequence += 1
            kind = "updated" if self._level else "cleared"
        risen = self._level > before
        passed = self._raise[self._level] if risen else self._clear[self._level + 1]
        return Event(
            kind=kind,
            alert=self._alert,
            sequence=self._sequence,
            stream=output.stream,
            level=self.level,
            severity=self._level,
            score=score,
            t_ns=output.t_ns,
            evidence={
                "direction": self._direction,
                "threshold": self._sign * passed,
                "steps": float(self._min_steps if risen else self._clear_steps),
                "before": LEVELS[before],
                "worst": self._sign * self._worst,
            },
        )

    def _check(self, pairs: list[tuple[str, float, float | None]]) -> None:
        """Raise ConfigError unless good < warning_clear <= warning < critical and so on, whichever way is bad."""
        way = self._direction
        for place, (name, at, clear) in enumerate(pairs, start=1):
            if not math.isfinite(at) or not (clear is None or math.isfinite(clear)):
                raise ConfigError(f"{name} and {name}_clear must be finite numbers.")
            if self._clear[place] > self._raise[place]:
                raise ConfigError(
                    f"{name}_clear = {clear:g} is on the bad side of {name} = {at:g}: with direction '{way}' it must "
                    f"not be {way} it, or the alert would clear as it is raised."
                )
        if len(pairs) == len(LEVELS) - 1:
            if not self._raise[2] > self._raise[1]:
                raise ConfigError(
                    f"critical = {pairs[1][1]:g} must be {way} warning = {pairs[0][1]:g}, for direction is '{way}'."
                )
            if self._clear[2] < self._clear[1]:
                raise ConfigError(
                    f"critical_clear must not be on the good side of warning_clear = {self._sign * self._clear[1]:g}: "
                    "a critical alert falls back to warning first."
                )
