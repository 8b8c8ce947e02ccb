"""What `edgeseq bench --json` writes, read back. It may come from anywhere, so all of it is checked here, once.

A document of an older edgeseq lacks the later keys: they are None. Keys that are not known here are passed over.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from edgeseq.errors import ConfigError, ModelError

MAX_BYTES = 64 << 20
MAX_RESULTS = 2000
MAX_BUCKETS = 65_536
MAX_DEVICE_KEYS = 100
MAX_TEXT = 5000

Text = Annotated[str, Meta(max_length=MAX_TEXT)]
Amount = Annotated[float, Meta(ge=0, le=1e15)]
"""A number that can be one of a real measurement; what is drawn from it stays finite."""
Count = Annotated[int, Meta(ge=0, le=2**53)]


class Histogram(Struct, frozen=True):
    """Counted durations. le_us: each bucket's upper edge, ascending; count: how many steps fell into it."""

    le_us: Annotated[list[Amount], Meta(max_length=MAX_BUCKETS)]
    count: Annotated[list[Count], Meta(max_length=MAX_BUCKETS)]

    def __post_init__(self) -> None:
        """Refuse what no histogram can be."""
        if len(self.le_us) != len(self.count):
            raise ValueError(f"{len(self.le_us)} edges in le_us, but {len(self.count)} numbers in count")
        if any(after <= before for before, after in pairwise(self.le_us)):
            raise ValueError("le_us does not ascend")


class Ceiling(Struct, frozen=True):
    """The least a step can take here. distance: how many times that the median is."""

    bound_us: Amount | None = None
    bound_by: Text | None = None
    distance: Amount | None = None


class Board(Struct, frozen=True):
    """How the board stood before or after a measurement."""

    clock_mhz: Amount | None = None
    temperature_c: Annotated[float, Meta(ge=-300, le=1e6)] | None = None
    throttled: bool | None = None


class Result(Struct, frozen=True):
    """One measurement, under the names of the document."""

    variant: Text
    backend: Text
    bundle: Text = ""
    name: Text = ""
    rate_hz: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    steps: Count | None = None
    duration_s: Amount | None = None
    threads: Count | None = None
    p50_us: Amount | None = None
    p90_us: Amount | None = None
    p99_us: Amount | None = None
    p999_us: Amount | None = None
    max_us: Amount | None = None
    run_us_per_step: Amount | None = None
    first_step_us: Amount | None = None
    load_ms: Amount | None = None
    rss_mb: Amount | None = None
    deadline_misses: Count | None = None
    cpu_affinity: Annotated[list[Count], Meta(max_length=4096)] | None = None
    fifo_priority: Count | None = None
    bytes_per_step: Amount | None = None
    macs_per_step: Amount | None = None
    timer_overhead_ns: Amount | None = None
    ceiling: Ceiling | None = None
    board_before: Board | None = None
    board_after: Board | None = None
    histogram: Histogram | None = None

    @property
    def title(self) -> str:
        """The bundle's own name, or its folder's."""
        return self.name or self.bundle.rstrip("/").rpartition("/")[2] or "a bundle without a name"


class Document(Struct, frozen=True):
    """One run. device: what the machine is, under whatever names the edgeseq there had for it."""

    device: Annotated[dict[Text, Any], Meta(max_length=MAX_DEVICE_KEYS)]
    results: Annotated[list[Result], Meta(max_length=MAX_RESULTS)]


def read(path: Path) -> Document:
    """Read a document. Raises ConfigError where it cannot be read, is too large, damaged or none of ours."""
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        raise ConfigError(f"{path}: cannot be read: {getattr(cause, 'strerror', None) or cause}.") from cause
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; `edgeseq bench --json` writes no such document.")
    try:
        return msgspec.json.decode(raw, type=Document)
    except msgspec.ValidationError as cause:
        raise ConfigError(f"{path}: not what `edgeseq bench --json` writes: {_sentence(cause)}") from None
    except (ValueError, RecursionError) as cause:
        raise ConfigError(
            f"{path}: not JSON: {cause}. `edgeseq bench BUNDLE --json > {path.name}` writes one."
        ) from None


def measured(device: dict[str, Any], results: list[dict[str, Any]]) -> Document:
    """Return the document of what was measured just now. Raises ModelError for what cannot be."""
    try:
        return msgspec.convert({"device": device, "results": results}, Document)
    except msgspec.ValidationError as cause:
        raise ModelError(f"what was measured cannot be shown: {_sentence(cause)}") from None


def _sentence(cause: msgspec.ValidationError) -> str:
    """Return msgspec's message with the place that it names in front."""
    message, _, place = str(cause).partition(" - at `$")
    where = place.strip("`").removeprefix(".")
    return f"{where + ': ' if where else ''}{message[:1].lower()}{message[1:]}."
