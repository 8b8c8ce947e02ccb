"""Which of a signal stage's inputs is which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from edgeseq.errors import ConfigError
from edgeseq.tables import suggest

T = TypeVar("T")


def named(inputs: Mapping[str, T], known: Sequence[str]) -> dict[str, T]:
    """Return a stage's inputs under their names; the nameless one is the first known. Raises ConfigError."""
    for name in inputs:
        if name and name not in known:
            raise ConfigError(f"there is no input '{name}'. {suggest(name, known)}", "inputs", name)
    return {name or known[0]: value for name, value in inputs.items()}
