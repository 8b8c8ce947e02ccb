"""features.npz of a bundle: raw samples, and what each link of the feature chain gives for them here."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq import checksums, feature_tables, tables
from edgeseq.errors import EdgeseqError
from edgeseq.feature_tables import FeatureTables
from edgeseq.recordings import framing
from edgeseq.recordings.framing import Recipe
from edgeseq.types import Frames, TimesNs
from edgeseq.verification import feature_goldens
from edgeseq.verification.feature_goldens import FeatureGoldens, Link
from export.about import About
from export.errors import ExportError, OptionError
from export.writers import bundle as writer

Samples = str | Path | NDArray[np.float32]

FRAMES = 50
"""So many suffice; where the chain gives fewer of NUMBERS, one does."""
NUMBERS = 1 << 18
FIRST = 256
RUNS = 4
"""Runs with every sample's last bit changed at random, which show how far rounding moves the frames."""
SHARE, TIMES = 1e-5, 4.0
"""A number may differ by the greater of this share of its channel's greatest and so often what rounding moves it."""
NOISE = "no raw samples were given: in features.npz seeded normal noise stands in for them"


def chain_of(described: About, stream: bundles.StreamTable, about: Path | None) -> FeatureTables:
    """Return the chain described, told in errors by the file that describes it."""
    document = tables.read(about) if about else tables.Document(Path("about"), "", {}, ExportError)
    return FeatureTables(document, stream.spec(), described.features)


def carried(described: About, chain: FeatureTables) -> About:
    """Return the description as it holds in the bundle, where the files of the chain have names of their own."""
    links = [dict(table) for table in chain.tables]
    for (index, key), path in chain.files().items():
        links[index][key] = _name(index, path)
    return msgspec.structs.replace(described, features=links)


def _name(index: int, path: Path) -> str:
    return f"features.{index}.{path.name}"


def check(chain: FeatureTables, takes: int) -> None:
    """Raise ExportError where the chain does not give the frames that the model takes, or a link does not fit."""
    given = len(chain.open()[1][-1].channels)
    if chain.tables and given != takes:
        raise ExportError(f"[[features]] give {given} values a frame; the model takes {takes}.")


@dataclass(frozen=True)
class Raw:
    """Golden samples with their frames, none without a chain or without a frame, and what must be said of them."""

    goldens: FeatureGoldens | None = None
    notes: Sequence[str] = ()
    files: Mapping[str, Path] = field(default_factory=dict)
    """What links are made from, by its name in the bundle."""

    def write(self, folder: Path) -> None:
        """Write features.npz, where there is something to write, and copy the files of the chain."""
        for name, path in self.files.items():
            shutil.copyfile(path, folder / name)
        if self.goldens is not None:
            writer.feature_goldens(folder, self.goldens)


def make(chain: FeatureTables, given: Samples | None, source: Mapping[str, Any] | None = None) -> Raw:
    """Replay samples on a chain. source: keys by which a file of samples is read, as of [source].

    given: a file that `edgeseq features` reads, or float32[n, channels] at the stream's rate; else noise stands in. As
    many of the first ones are taken as give FRAMES. Raises ExportError for samples that do not fit.
    """
    if not chain.tables:
        if given is not None:
            raise OptionError("samples are replayed on the feature chain; there are no [[features]].")
        return Raw()
    files = {_name(index, path): path for (index, _), path in chain.files().items()}
    channels = len(chain.stream.channels)
    most = feature_goldens.MAX_NUMBERS // channels
    if given is None:
        samples = np.random.default_rng(0).normal(size=(most, channels)).astype(np.float32)
    elif isinstance(given, str | Path):
        samples = _read(chain, Path(given), most, source or {})
    else:
        samples = _checked(given, channels)
    t_ns = (np.arange(len(samples)) * (1e9 / chain.stream.rate_hz)).astype(np.int64)
    count = FIRST
    while True:
        count = min(count, most, len(samples))
        found = feature_goldens.run(chain, t_ns[:count], samples[:count])
        enough = FRAMES if count * channels < NUMBERS else 1
        if len(found[-1][0]) >= enough or count in (most, len(samples)):
            break
        count *= 2
    if not len(found[-1][0]):
        note = f"the feature chain gives no frame of {count:,} samples: there is no {feature_goldens.FILE}"
        return Raw(notes=[note], files=files)
    links = _links(chain, t_ns[:count], samples[:count], found)
    return Raw(FeatureGoldens(t_ns[:count], samples[:count], links), [NOISE] if given is None else [], files)


def add(path: Path, samples: Samples | None = None) -> None:
    """Give a bundle of an earlier edgeseq its features.npz, and its sums anew; nothing else in it changes.

    Raises BundleError or ExportError.
    """
    bundle = bundles.read(path)
    raw = make(feature_tables.of_bundle(bundle), samples)
    if raw.goldens is None:
        raise ExportError(f"{path}: {raw.notes[0] if raw.notes else 'it has no feature chain'}.")
    writer.feature_goldens(path, raw.goldens)
    (path / checksums.SIGNATURE).unlink(missing_ok=True)  # it was of the sums that were
    writer.sums(path)


def _links(chain: FeatureTables, t_ns: TimesNs, samples: Frames, found: Sequence[tuple[TimesNs, Frames]]) -> list[Link]:
    rng = np.random.default_rng(1)
    moved = [np.zeros(frames.shape) for _, frames in found]
    judged = [np.ones(frames.shape, np.bool_) for _, frames in found]
    for _ in range(RUNS):
        bits = rng.uniform(-1, 1, samples.shape) * np.finfo(np.float32).eps
        again = feature_goldens.run(chain, t_ns, (samples * (1 + bits)).astype(np.float32))
        for index, ((_, frames), (_, other)) in enumerate(zip(found, again, strict=True)):
            # Where rounding decides how many frames there are, it moves none that could be compared.
            if frames.shape == other.shape:
                judged[index] &= np.isfinite(frames) == np.isfinite(other)
                with np.errstate(invalid="ignore"):
                    apart = np.abs(frames.astype(np.float64) - other)
                moved[index] = np.fmax(moved[index], np.where(np.isfinite(apart), apart, 0))
    links = []
    for (times, frames), move, judge in zip(found, moved, judged, strict=True):
        scale = np.abs(np.where(np.isfinite(frames), frames, 0)).max(axis=0, initial=0)
        tolerances = np.maximum(SHARE * scale, TIMES * move.max(axis=0, initial=0)).astype(np.float64)
        links.append(Link(times, frames, tolerances, judge))
    return links


def _read(chain: FeatureTables, path: Path, most: int, keys: Mapping[str, Any]) -> Frames:
    """Read the first samples of a file's first stream, up to where something was lost."""
    if not path.is_file():
        raise ExportError(f"samples: {path}: there is no such file.")
    parts: list[Frames] = []
    try:
        framing.check_source(chain.document, keys)
        source, columns = Recipe(chain, chain.stream, chain.document, keys).open(path)
        first: str | None = None
        for chunk in source:
            first = chunk.stream if first is None else first
            if chunk.stream != first:
                continue
            if chunk.gap and parts:
                break
            parts.append(chunk.values[:, columns])
            if sum(map(len, parts)) >= most:
                source.close()
                break
    except EdgeseqError as cause:
        raise ExportError(f"samples: {cause}") from cause
    return _checked(np.concatenate(parts)[:most], len(chain.stream.channels))


def _checked(samples: NDArray[Any], channels: int) -> Frames:
    if samples.ndim != 2 or samples.shape[1] != channels or not len(samples):  # noqa: PLR2004 - rows
        raise ExportError(f"samples: are of the shape {samples.shape}; the stream has {channels} channels.")
    checked = np.ascontiguousarray(samples, np.float32)
    if not np.isfinite(checked).all():
        row = int(np.argwhere(~np.isfinite(checked))[0, 0])
        raise ExportError(f"samples: sample {row} holds NaN or infinity.")
    return checked
