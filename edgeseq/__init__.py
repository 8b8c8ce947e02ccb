"""edgeseq runs trained sequence models one time step at a time on the device beside the machine."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from edgeseq.types import Channel, Chunk, Event, Output, StreamSpec

if TYPE_CHECKING:
    from edgeseq.models.loading import load
    from edgeseq.pipeline import Pipeline

__version__ = version("edgeseq")
__all__ = ["Channel", "Chunk", "Event", "Output", "Pipeline", "StreamSpec", "load"]


def __getattr__(name: str) -> Any:
    """Load what is heavy only when it is asked for: `import edgeseq` stays quick."""
    if name == "load":
        from edgeseq.models.loading import load  # noqa: PLC0415

        return load
    if name == "Pipeline":
        from edgeseq.pipeline import Pipeline  # noqa: PLC0415

        return Pipeline
    raise AttributeError(f"module 'edgeseq' has no attribute {name!r}")
