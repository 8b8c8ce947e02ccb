"""Recorded data -> the feature frames that a model is trained on, by the code that a device runs."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq import config as configs
from edgeseq import feature_tables, plugins, tables
from edgeseq.bundle import Bundle, StreamTable
from edgeseq.errors import ConfigError, SourceError
from edgeseq.feature_chain import FeatureChain
from edgeseq.feature_tables import FeatureTables
from edgeseq.gaps import ALL_GAPS, Gap, Gaps, Records
from edgeseq.recordings import files
from edgeseq.sources._rate import Rate
from edgeseq.types import Checkable, Chunk, Frames, Source, StreamSpec, TimesNs
from edgeseq.verification import first_load

OURS = ("path", "pace", "interleave")
"""Keys of a source that say which data are read and when: of a file that is given, neither is open."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration without a model; the file that `edgeseq export --about` takes is one."""

    stream: StreamTable
    features: list[dict[str, Any]]
    source: dict[str, Any] = {}
    # Of no meaning for frames; export checks them.
    name: Any = None
    version: Any = None
    description: Any = None
    output: Any = None
    decider: Any = None
    generate: Any = None
    calibration: Any = None


@dataclass(frozen=True, slots=True)
class Part:
    """Consecutive frames of one stream. gaps: bool[n], whether something was lost before a frame."""

    stream: str
    t_ns: TimesNs
    frames: Frames
    gaps: NDArray[np.bool_]


@dataclass(slots=True)
class Counts:
    """What became of a file. dropped: frames and samples that were dropped or repaired, by reason."""

    samples: int = 0
    frames: int = 0
    streams: int = 0
    gaps: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Recipe:
    """What turns files into frames. frame: the spec of what comes out. source: how files are read, in `document`.

    gaps: how gaps are judged; over the pause of a duty cycle a sequence goes on, as the model's state does.
    """

    chain: FeatureTables
    frame: StreamSpec
    document: tables.Document
    source: Mapping[str, Any]
    gaps: Gaps = ALL_GAPS

    def open(self, path: Path) -> tuple[Source, list[int]]:
        """Make the source that reads a file, and find its channels. Raises ConfigError where they do not fit."""
        kind = files.SOURCES[path.suffix.lower()]
        known = inspect.signature(plugins.find("sources", kind)).parameters
        stream = self.chain.stream
        channels = [{"name": channel.name, "unit": channel.unit} for channel in stream.channels]
        fixed = {"path": str(path.resolve()), "pace": "fast", "interleave": False}
        keys = {"channels": channels, "rate_hz": stream.rate_hz, **self.source, **fixed}
        table = {"type": kind, **{key: value for key, value in keys.items() if key in known}}
        source: Source = plugins.create(self.document, "sources", table, "source")
        return source, feature_tables.columns(self.document, source.spec, stream, "the feature chain")

    def check(self, path: Path) -> None:
        """See that a file is there and has what the chain takes; its samples are not read. Raises EdgeseqError."""
        source, _ = self.open(path)
        if isinstance(source, Checkable):
            source.check()

    def frames(self, path: Path, counts: Counts) -> Iterator[Part]:
        """Yield the frames of a file as they come, in bounded memory, and count.

        Frames that are not finite are dropped, as a device drops them; a gap follows. Raises EdgeseqError.
        """
        source, columns = self.open(path)
        dated = "time_column" in self.source
        lanes: dict[str, _Lane] = {}
        for chunk in source:
            lane = lanes.get(chunk.stream)
            if lane is None:
                lane = lanes[chunk.stream] = _Lane(
                    FeatureChain(self.chain.open()[0], columns), self.gaps, self.chain.stream.rate_hz
                )
                counts.streams += 1
            counts.samples += len(chunk.t_ns)
            counts.gaps += chunk.gap
            if dated:
                lane.rate.take(chunk.t_ns, np.arange(len(chunk.t_ns)) < chunk.gap)
            part = lane.push(chunk, counts)
            counts.frames += len(part.t_ns)
            if len(part.t_ns):
                yield part
            if chunk.last:
                if dated:
                    where = f"{path}: by its column '{self.source['time_column']}'"
                    lane.rate.check(where, "the feature chain takes")
                del lanes[chunk.stream]
        counts.dropped.update(source.dropped)


def read(path: Path) -> Recipe:
    """Read a configuration: [stream] and [[features]], as in an --about file; a pipeline's; or a bundle's folder.

    Of a pipeline, its bundle has the chain. The goldens of a bundle's chain are replayed before it first runs here.
    Raises ConfigError, BundleError, or ModelError for a chain that gives other frames here than it gave at export.
    """
    if path.is_dir():
        bundle = bundles.read(path)
        return _of_bundle(bundle, bundle.document, {}, bundle.manifest.stream.gaps())
    document = tables.read(path)
    if "model" in document.table:
        config = configs.load(path)
        return _of_bundle(config.bundle, document, _without_ours(config.source_table), config.gaps)
    table = tables.convert(document, document.table, _Table)
    chain = FeatureTables(document, table.stream.spec(), table.features)
    check_source(document, table.source)
    return Recipe(chain, chain.open()[1][-1], document, table.source, table.stream.gaps())


def _of_bundle(bundle: Bundle, document: tables.Document, source: Mapping[str, Any], gaps: Gaps) -> Recipe:
    first_load.check_features(bundle)
    chain = feature_tables.of_bundle(bundle)
    return Recipe(chain, chain.open()[1][-1], document, source, gaps)


def _without_ours(source: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in source.items() if key not in (*OURS, "type")}


def check_source(document: tables.Document, source: Mapping[str, Any]) -> None:
    """Refuse keys that no source of files knows, and those that are not open."""
    kinds = sorted(set(files.SOURCES.values()))
    known = {key for kind in kinds for key in inspect.signature(plugins.find("sources", kind)).parameters}
    for key in source:
        if key in (*OURS, "type"):
            raise document.fail(f"which file is read, and how, says --input; '{key}' must go.", "source", key)
        if key not in known:
            near = tables.suggest(key, known - {*OURS})
            raise document.fail(f"no file is read by a key '{key}'. {near}", "source", key)


class _Lane:
    """One stream of a file on its way through the chain."""

    def __init__(self, chain: FeatureChain, gaps: Gaps, rate_hz: float) -> None:
        self.rate = Rate(rate_hz)
        self._records = Records(gaps)
        self._chain = chain
        self._lost = False

    def push(self, chunk: Chunk, counts: Counts) -> Part:
        """Return the frames that a chunk completes, and count those that are not finite."""
        if chunk.gap and (not len(chunk.t_ns) or self._records.judge(int(chunk.t_ns[0])) is not Gap.PAUSE):
            self._lost = True
        if len(chunk.t_ns):
            self._records.passed(chunk.t_ns)
        t_ns, frames = self._chain.push(chunk)
        keep: NDArray[np.bool_] = np.asarray(np.isfinite(frames).all(axis=1))
        if len(keep) == 0:
            return Part(chunk.stream, t_ns, frames, keep)
        gaps = np.concatenate([[self._lost], ~keep[:-1]])[keep]
        self._lost = not keep[-1]
        if not keep.all():
            counts.dropped["not_finite_frame"] += int((~keep).sum())
            t_ns, frames = t_ns[keep], frames[keep]
        return Part(chunk.stream, t_ns, frames, gaps)


def fits(recipe: Recipe, paths: list[Path]) -> None:
    """Check all files before the first one is read through. Raises the first one's error, with how many others have."""
    wrong = []
    for path in paths:
        try:
            recipe.check(path)
        except (ConfigError, SourceError) as cause:
            wrong.append(cause)
    if wrong:
        more = f" {len(wrong) - 1} more of {len(paths)} files do not fit either." if len(wrong) > 1 else ""
        raise type(wrong[0])(f"{wrong[0]}{more}") from wrong[0]
