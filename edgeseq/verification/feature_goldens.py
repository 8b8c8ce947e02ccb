"""features.npz: raw samples, and what each link of a bundle's feature chain gave for them at export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import sums
from edgeseq.bundle import Bundle
from edgeseq.errors import BundleError
from edgeseq.feature_tables import FeatureTables
from edgeseq.types import Frames, TimesNs
from edgeseq.verification import goldens

FILE = "features.npz"
VARIANT, BACKEND = "features", "numba"
"""What a verdict on a chain is filed under, beside those on the model's variants."""
SOURCES = ("features", "jit.py", "pointers.py", "direct.py")
LIBRARIES = ("numba", "llvmlite", "numpy", "rocket-fft", "tokenizers", "drain3")
"""What features compute with: our own files, and libraries as far as they are installed."""
MAX_NUMBERS = 1 << 22
TIME_NS = 1000
"""Frames are dated alike when within this: float64 holds nanoseconds since 1970 to 256 ns."""


@dataclass(frozen=True)
class Link:
    """What a link gave. t_ns: int64[n]. frames: float32[n, channels]. tolerances: float64[channels], in their units.

    judged: bool[n, channels], which numbers are compared; not those that are NaN or not by a rounding.
    """

    t_ns: TimesNs
    frames: Frames
    tolerances: NDArray[np.float64]
    judged: NDArray[np.bool_]


@dataclass(frozen=True)
class FeatureGoldens:
    """samples: float32[n, channels] of the stream, at t_ns int64[n]. links: in the order of the chain."""

    t_ns: TimesNs
    samples: Frames
    links: Sequence[Link]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return them as the file holds them; those of link k begin with k and a dot."""
        found: dict[str, NDArray[Any]] = {"t_ns": self.t_ns, "samples": self.samples}
        for index, link in enumerate(self.links):
            found |= {f"{index}.{name}": getattr(link, name) for name in ("t_ns", "frames", "tolerances", "judged")}
        return found


def run(chain: FeatureTables, t_ns: TimesNs, samples: Frames) -> list[tuple[TimesNs, Frames]]:
    """Return times and frames behind each link, for samples pushed at once. Raises the document's error."""
    features, specs = chain.open()
    given = []
    for feature, spec in zip(features, specs[1:], strict=True):
        if len(t_ns):
            t_ns, samples = feature.push(t_ns, samples)
        else:
            samples = np.empty((0, len(spec.channels)), np.float32)
        given.append((t_ns, samples))
    return given


def apart(link: Link, frames: Frames, count: int) -> NDArray[np.float64]:
    """Return by how much the first frames differ, float64[count, channels]; NaN where only one of two is NaN."""
    given, known = frames[:count], link.frames[:count]
    with np.errstate(invalid="ignore"):
        away = given.astype(np.float64) - known
    same = (given == known) | (np.isnan(given) & np.isnan(known)) | ~link.judged[:count]
    return np.where(same, 0.0, away)


def there(bundle: Bundle) -> bool:
    """Say whether the bundle came with the file; one that is gone was missed when the sums were checked."""
    return (bundle.path / FILE).is_file()


def library() -> str:
    """Return what computes features, with its versions: with any of them, what comes out may change."""
    installed = {distribution.name: distribution.version for distribution in distributions()}
    others = ", ".join(f"{name} {installed[name]}" for name in LIBRARIES if name in installed)
    return f"edgeseq features {sums.of_sources(SOURCES, others)}, {others}"


def read(bundle: Bundle, chain: FeatureTables) -> FeatureGoldens:
    """Read them. Raises BundleError if they are not what they should be."""
    path = bundle.path / FILE
    names = [f"{k}.{name}" for k in range(len(chain.tables)) for name in ("t_ns", "frames", "tolerances", "judged")]
    arrays = goldens.archive(path, "t_ns", "samples", *names)
    samples = _rows(arrays, "", "samples", len(chain.stream.channels))
    if samples is None or not 0 < samples.size <= MAX_NUMBERS or not np.isfinite(samples).all():
        raise BundleError(f"{path}: its samples are no finite float32 of {len(chain.stream.channels)} channels.")
    links = []
    for index, spec in enumerate(chain.open()[1][1:]):
        count, prefix = len(spec.channels), f"{index}."
        frames = _rows(arrays, prefix, "frames", count)
        tolerances, judged = arrays[f"{prefix}tolerances"], arrays[f"{prefix}judged"]
        if frames is None or judged.shape != frames.shape or judged.dtype != np.bool_:
            raise BundleError(f"{path}: what it holds of {chain.name(index)} is no float32[n, {count}] with its times.")
        if tolerances.dtype != np.float64 or tolerances.shape != (count,) or not (tolerances >= 0).all():
            raise BundleError(f"{path}: its tolerances of {chain.name(index)} are no {count} numbers of 0 or more.")
        links.append(Link(arrays[f"{prefix}t_ns"], frames, tolerances, judged))
    return FeatureGoldens(arrays["t_ns"], samples, links)


def _rows(arrays: Mapping[str, NDArray[Any]], prefix: str, name: str, width: int) -> Frames | None:
    """Return an array of rows with as many times beside it; None where they are not."""
    rows, t_ns = arrays[f"{prefix}{name}"], arrays[f"{prefix}t_ns"]
    whole = rows.dtype == np.float32 and rows.ndim == 2 and rows.shape[1] == width  # noqa: PLR2004 - rows
    dated = t_ns.dtype == np.int64 and t_ns.ndim == 1 and len(t_ns) == len(rows)
    return rows if whole and dated else None
