"""How many samples a file of recorded data holds, before it is read: for a bar."""

from __future__ import annotations

from pathlib import Path

from edgeseq import libraries
from edgeseq.recordings import files

LOOKED_AT = 1 << 16
"""Bytes of a CSV file that say how long its lines are."""


def samples(path: Path) -> int:
    """Return how many samples or rows a file says that it holds; of CSV about, by the length of its first lines."""
    kind = files.SOURCES[path.suffix.lower()]
    if kind == "audio":
        return max(1, int(libraries.soundfile().info(str(path)).frames))
    if kind == "parquet":
        return max(1, int(libraries.pyarrow().parquet.read_metadata(path).num_rows))
    with path.open("rb") as file:
        beginning = file.read(LOOKED_AT)
    return max(1, path.stat().st_size * beginning.count(b"\n") // max(1, len(beginning)))
