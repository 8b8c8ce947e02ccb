"""A decider for models that say how likely each class is: keywords, gestures, states of a machine."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ConfigError, StateError
from edgeseq.states import plain
from edgeseq.types import Event, Frames, Output, Plain

MAX_SMOOTH = 1_000_000
"""Outputs that are averaged at most: each stream keeps them."""


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """What is remembered; last: the outputs that are averaged, each with a value a class."""

    last: list[list[float]]
    seen: int
    standing: int | None
    alert: str
    stood: int
    ignored: dict[str, int]


class Classes:
    """Raises an alert when a class's probability, averaged over the last outputs, reaches a threshold.

    names: of the model's outputs, in order; default in a configuration: the bundle's. background: those of them that
    raise nothing (silence, unknown). logits: outputs are such, and their softmax is taken first. smooth: outputs that
    are averaged. threshold: the average at which a class is told, at least. release: its alert is cleared when its
    average has fallen below; default: half the threshold. hold: outputs that an alert stands at least, in which no
    other is raised; a word's last sounds often resemble another's.

    One alert is one occurrence: its level is the class's name, severity 1, score the average. The likeliest class is
    told where several reach the threshold; one that takes over from another clears that first. Outputs that are warming
    or not finite decide nothing and are counted in `ignored`. After a gap the average starts anew; before it has
    `smooth` outputs nothing is raised.
    """

    def __init__(
        self,
        *,
        names: list[str],
        threshold: float,
        background: list[str] | None = None,
        release: float | None = None,
        logits: bool = False,
        smooth: int = 1,
        hold: int = 0,
    ) -> None:
        background = background or []
        unknown = [name for name in background if name not in names]
        if unknown:
            raise ConfigError(f"background names '{unknown[0]}', which is none of {', '.join(names)}.")
        if len(set(names)) < len(names) or set(names) <= set(background):
            raise ConfigError("names must be different, and at least one of them no background.")
        release = threshold / 2 if release is None else release
        if not (math.isfinite(threshold) and release <= threshold):
            raise ConfigError(f"threshold = {threshold:g} must be a number, and release = {release:g} not above it.")
        if logits and not 0 < release <= threshold <= 1:
            raise ConfigError(
                f"with logits the average is a probability: threshold = {threshold:g} and release = {release:g} must "
                "lie above 0 and at most at 1, or an alert is never raised, or never cleared."
            )
        if not 1 <= smooth <= MAX_SMOOTH or hold < 0:
            raise ConfigError(f"smooth must lie between 1 and {MAX_SMOOTH:,} outputs, and hold be at least 0.")
        self.ignored: Counter[str] = Counter()
        self._logits = logits
        self._names, self._threshold, self._release, self._hold = names, threshold, release, hold
        self._told = np.asarray([place for place, name in enumerate(names) if name not in background])
        self._last = np.zeros((smooth, len(names)))
        self._seen = 0
        self._class: int | None = None
        self._alert = ""
        self._stood = 0

    @classmethod
    def example(cls) -> dict[str, Any]:
        """Return parameters that alert where outputs of spread 1 are high."""
        return {"names": ["none", "a", "b", "c"], "background": ["none"], "threshold": 1.5, "smooth": 2, "hold": 3}

    @property
    def level(self) -> str:
        """The class whose alert stands, or "ok"."""
        return "ok" if self._class is None else self._names[self._class]

    def gap(self) -> None:
        """Start the average anew; a standing alert stands."""
        self._seen = 0

    def update(self, output: Output) -> list[Event]:
        """Judge one output. Returns no event, one, or two where a class takes over from another."""
        if output.warming:
            self.ignored["warming"] += 1
            return []
        if not np.isfinite(output.values).all():
            self.ignored["not_finite"] += 1
            return []
        smooth = len(self._last)
        self._last[self._seen % smooth] = _softmax(output.values) if self._logits else output.values
        self._seen += 1
        self._stood += 1
        if self._seen < smooth or (self._class is not None and self._stood <= self._hold):
            return []
        average = self._last.mean(axis=0)
        likeliest = int(self._told[np.argmax(average[self._told])])
        reached = average[likeliest] >= self._threshold
        events = []
        if self._class is not None and (average[self._class] < self._release or (reached and likeliest != self._class)):
            events.append(self._event("cleared", output, float(average[self._class])))
            self._class = None
        if self._class is None and reached:
            self._class, self._stood = likeliest, 0
            self._alert = f"{output.stream or 'stream'}@{output.t_ns}"
            events.append(self._event("raised", output, float(average[likeliest])))
        return events

    def get_state(self) -> Plain:
        """Return everything remembered."""
        held = _State(self._last.tolist(), self._seen, self._class, self._alert, self._stood, self.ignored)
        state: dict[str, Any] = msgspec.to_builtins(held)
        return state

    def set_state(self, state: Plain) -> None:
        """Take it up. Raises StateError for a state of other classes, or of another `smooth`."""
        held, (smooth, classes) = plain(state, _State), self._last.shape
        fits = len(held.last) == smooth and all(len(row) == classes for row in held.last)
        if not fits or (held.standing is not None and held.standing not in self._told) or held.seen < 0:
            raise StateError(f"it is not the state of {classes} classes averaged over {smooth} outputs.")
        self._last, self._seen, self._class = np.array(held.last), held.seen, held.standing
        self._alert, self._stood, self.ignored = held.alert, held.stood, Counter(held.ignored)

    def _event(self, kind: Any, output: Output, score: float) -> Event:
        raised = kind == "raised"
        return Event(
            kind=kind,
            alert=self._alert,
            sequence=0 if raised else 1,
            stream=output.stream,
            level=self.level if raised else "ok",
            severity=1 if raised else 0,
            score=score,
            t_ns=output.t_ns,
            evidence={"class": self.level, "threshold": self._threshold if raised else self._release},
        )


def _softmax(logits: Frames) -> NDArray[np.float64]:
    weights = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(weights / weights.sum())
