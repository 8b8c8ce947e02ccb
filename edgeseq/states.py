"""What is remembered from sample to sample, taken and taken up again: arrays by name, or plain numbers and words.

A class says once which of its attributes it remembers by. Nothing is pickled: a state holds numbers, and is refused
where they do not fit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import numpy as np

from edgeseq.errors import StateError
from edgeseq.types import State

_TEXT = np.dtype("<u4")
"""Text is remembered as its code points."""
_Plain = TypeVar("_Plain")


class Remembering:
    """Gives `get_state` and `set_state` to a class whose attributes, named in `_remembers`, are all that it remembers.

    Such an attribute is an array, int, float, bool or str, something with a state of its own, None where there is none,
    or a list of these. `_grows` names those of them whose arrays may be of any length along their first axis; any other
    array keeps its shape, and is written in place. Both are asked after `open`, when the attributes are made.
    """

    _remembers: tuple[str, ...] = ()
    _grows: tuple[str, ...] = ()

    def get_state(self) -> State:
        """Return a copy of everything remembered."""
        state: State = {}
        for name in self._remembers:
            _take(state, name.lstrip("_"), getattr(self, name))
        return state

    def set_state(self, state: State) -> None:
        """Take up where `get_state` was called. Raises StateError for another's state; reset it then."""
        wanted = self.get_state()
        if set(state) != set(wanted):
            raise StateError(
                f"a state of {sorted(state)} is not one of {type(self).__name__}, which has {sorted(wanted)}: it was "
                "taken of something else."
            )
        for name in self._remembers:
            held = getattr(self, name)
            setattr(self, name, _renewed(name.lstrip("_"), held, state, any_length=name in self._grows))


def plain(state: Mapping[str, Any], kind: type[_Plain]) -> _Plain:
    """Return a state of plain numbers, words and lists as the struct that it was. Raises StateError if it was none."""
    try:
        return msgspec.convert(dict(state), kind)
    except msgspec.ValidationError as cause:
        raise StateError(f"a state of {sorted(state)} was taken of something else: {cause}.") from cause


def under(state: State, name: str) -> State:
    """Return what stands under `name.` in a state, by the rest of its names."""
    return {key[len(name) + 1 :]: value for key, value in state.items() if key.startswith(f"{name}.")}


def _take(state: State, name: str, held: Any) -> None:
    """Put a copy of what is held into a state."""
    if isinstance(held, np.ndarray):
        state[name] = held.copy()
    elif isinstance(held, str):
        state[name] = np.frombuffer(held.encode("utf-32-le"), _TEXT).copy()
    elif isinstance(held, list):
        for place, each in enumerate(held):
            _take(state, f"{name}.{place}", each)
    elif hasattr(held, "get_state"):
        state.update({f"{name}.{key}": value for key, value in held.get_state().items()})
    elif held is not None:
        state[name] = np.array(held, {bool: np.bool_, int: np.int64, float: np.float64}[type(held)])


def _renewed(name: str, held: Any, state: State, *, any_length: bool) -> Any:
    """Return what is held as the state has it: the same object where it can be written in place."""
    if isinstance(held, list):
        return [_renewed(f"{name}.{place}", each, state, any_length=any_length) for place, each in enumerate(held)]
    if held is None:
        return None
    if hasattr(held, "set_state"):
        held.set_state(under(state, name))
        return held
    return _value(name, held, state[name], any_length=any_length)


def _value(name: str, held: Any, value: Any, *, any_length: bool) -> Any:
    """Return a single value as the state has it."""
    if isinstance(held, str):
        return _text(name, value)
    _check(name, value, np.asarray(held), any_length=any_length)
    if not isinstance(held, np.ndarray):
        return type(held)(value.item())
    if any_length:
        return value.copy()
    held[...] = value
    return held


def _text(name: str, value: Any) -> str:
    """Return code points as text."""
    _check(name, value, np.empty(0, _TEXT), any_length=True)
    try:
        return str(value.tobytes().decode("utf-32-le"))
    except UnicodeDecodeError as cause:
        raise StateError(f"the state '{name}' is no text: {cause.reason}.") from cause


def _check(name: str, value: Any, held: Any, *, any_length: bool) -> None:
    """Raise StateError for an array of another type or shape than what is held."""
    first = 1 if any_length else 0
    if value.dtype != held.dtype or value.ndim != held.ndim or value.shape[first:] != held.shape[first:]:
        raise StateError(
            f"the state '{name}' is {value.dtype}{value.shape}, where {held.dtype}{held.shape} is remembered: it was "
            "taken of something else."
        )
