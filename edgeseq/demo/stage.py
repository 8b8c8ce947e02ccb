"""What shows a demo while it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edgeseq.demo.watch import Watch
from edgeseq.types import Event

Latency = Callable[[], str]
"""Says how long a step has taken so far."""


class Stage(Protocol):
    """Called from the pipeline's own thread, between frames, so that no step is disturbed by a thread that draws."""

    def opened(self, watch: Watch, listen: str, latency: Latency) -> None:
        """Learn whom to watch and how anyone can listen in, before the first frame."""
        ...

    def changed(self) -> None:
        """Show that an output was added to what is watched."""
        ...

    def told(self, event: Event) -> None:
        """Show that an event changed a stream's level."""
        ...
