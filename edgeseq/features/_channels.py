"""Channels of a stream by their names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgeseq import tables
from edgeseq.errors import ConfigError
from edgeseq.types import StreamSpec


def picked(spec: StreamSpec, names: list[str] | None) -> NDArray[np.intp]:
    """Return the places of channels in a stream, of all without names. Raises ConfigError for one that is not there."""
    if names is None:
        return np.arange(len(spec.channels))
    if not names:
        raise ConfigError("channels names no channel; left out it is all of them.")
    places = {channel.name: at for at, channel in enumerate(spec.channels)}
    return np.asarray([places[name] if name in places else place(spec, name) for name in names], np.intp)


def place(spec: StreamSpec, name: str) -> int:
    """Return a channel's place in a stream. Raises ConfigError, which offers the nearest right name."""
    if name not in spec.names:
        raise ConfigError(f"the stream has no channel '{name}'. {tables.suggest(name, spec.names)}")
    return spec.names.index(name)
