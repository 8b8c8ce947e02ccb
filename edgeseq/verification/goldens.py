"""parity.npz: what the original gives for a few frames, recorded at export. Nothing in it is unpickled."""

from __future__ import annotations

import itertools
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import GOLDENS, Bundle
from edgeseq.errors import BundleError

MAX_STEPS = 2000
NO_TOKEN = -1


@dataclass(frozen=True)
class Goldens:
    """A step's. outputs: float64[len(at), outputs], of the steps `at` of `frames` float32[T, features]."""

    frames: NDArray[np.float32]
    at: NDArray[np.int64]
    outputs: NDArray[np.float64]
    reference: dict[str, NDArray[np.float64]]
    """Quantized variant -> the reference's outputs at every step of `frames`, in real units."""
    spacing: dict[str, NDArray[np.float64]]
    """Quantized variant -> how far apart two integers of an output are, one an output; none where it ends in floats."""


@dataclass(frozen=True)
class PairGolden:
    """One of an encoder-decoder's: a source, a given target, float64[len(target), outputs], greedy tokens from there.

    reference, spacing: quantized variant -> as in Goldens, for that target.
    greedy: None where the bundle does not generate; ends where two tokens were as good as equal, if not before.
    """

    source: NDArray[np.float32]
    target: NDArray[np.float32]
    outputs: NDArray[np.float64]
    greedy: NDArray[np.int64] | None
    reference: dict[str, NDArray[np.float64]]
    spacing: dict[str, NDArray[np.float64]]


def read(bundle: Bundle) -> Goldens:
    """Read a step's goldens. Raises BundleError if they are not what they should be."""
    path = bundle.path / GOLDENS
    arrays = archive(path, "frames", "at", "outputs")
    frames, at, outputs = arrays["frames"], arrays["at"], arrays["outputs"]
    reference = _reference(bundle, arrays)
    if frames.ndim != 2 or not 0 < len(frames) <= MAX_STEPS or frames.dtype != np.float32:  # noqa: PLR2004
        raise BundleError(
            f"{path}: its frames are {frames.dtype}{frames.shape}, not 1 to {MAX_STEPS} steps of float32."
        )
    if at.dtype != np.int64 or at.ndim != 1 or not len(at) or at.min() < 0:
        raise BundleError(f"{path}: its steps `at` are no list of steps, but {at.dtype}{at.shape}.")
    _check_outputs(bundle, outputs, len(at))
    return Goldens(frames, at, outputs, reference, _spacing(bundle, arrays))


def read_pairs(bundle: Bundle) -> list[PairGolden]:
    """Read an encoder-decoder's goldens. Raises BundleError if they are not what they should be."""
    path = bundle.path / GOLDENS
    arrays = archive(path, "sources", "source_lengths", "targets", "target_lengths", "outputs")
    parts = {}
    for what in ("source", "target"):
        rows, lengths = arrays[f"{what}s"], arrays[f"{what}_lengths"]
        whole = lengths.dtype == np.int64 and lengths.ndim == 1 and len(lengths) and lengths.min() > 0
        if not whole or rows.dtype != np.float32 or rows.ndim != 2 or lengths.sum() != len(rows):  # noqa: PLR2004
            raise BundleError(f"{path}: its {what}s, {rows.dtype}{rows.shape}, are not of the lengths it gives.")
        if len(rows) > MAX_STEPS:
            raise BundleError(f"{path}: its {what}s have {len(rows)} steps, more than {MAX_STEPS}.")
        parts[what] = np.split(rows, np.cumsum(lengths)[:-1])
    _check_outputs(bundle, arrays["outputs"], len(arrays["targets"]))
    outputs = np.split(arrays["outputs"], np.cumsum(arrays["target_lengths"])[:-1])
    greedy = arrays.get("greedy")
    if greedy is not None and (greedy.dtype != np.int64 or greedy.ndim != 2 or len(greedy) != len(outputs)):  # noqa: PLR2004
        raise BundleError(f"{path}: its greedy tokens are {greedy.dtype}{greedy.shape}, not one row a source.")
    if len({len(parts["source"]), len(parts["target"])}) != 1:
        raise BundleError(f"{path}: it holds {len(parts['source'])} sources for {len(parts['target'])} targets.")
    tokens = [None] * len(outputs) if greedy is None else [row[row != NO_TOKEN] for row in greedy]
    whole = _reference(bundle, arrays)
    if any(array.shape != arrays["outputs"].shape for array in whole.values()):
        raise BundleError(f"{path}: its reference is not of the shape of its outputs, {arrays['outputs'].shape}.")
    ends = np.cumsum([0, *arrays["target_lengths"]]).tolist()
    references = [
        {variant: array[start:end] for variant, array in whole.items()} for start, end in itertools.pairwise(ends)
    ]
    spacing = [_spacing(bundle, arrays)] * len(outputs)
    columns = (parts["source"], parts["target"], outputs, tokens, references, spacing)
    return [PairGolden(*each) for each in zip(*columns, strict=True)]


def _reference(bundle: Bundle, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return what the reference gives for each quantized variant, in real units."""
    try:
        found = {
            name.removesuffix(".integers"): (array.astype(np.float64) - arrays[f"{name[:-9]}.zero_point"])
            * arrays[f"{name[:-9]}.scale"]
            + arrays[f"{name[:-9]}.offset"]
            for name, array in arrays.items()
            if name.endswith(".integers")
        }
        real = {name.removesuffix(".outputs"): array for name, array in arrays.items() if name.endswith(".outputs")}
        found |= {variant: array.astype(np.float64) for variant, array in real.items()}
    except Exception as cause:  # arrays of any type and shape may stand there
        raise _damaged(bundle.path / GOLDENS, cause) from cause
    return found


def _spacing(bundle: Bundle, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Return how far apart the reference's integers are, by variant."""
    try:
        return {
            name.removesuffix(".scale"): a.astype(np.float64) for name, a in arrays.items() if name.endswith(".scale")
        }
    except Exception as cause:  # as above
        raise _damaged(bundle.path / GOLDENS, cause) from cause


def archive(path: Path, *wanted: str) -> Mapping[str, NDArray[Any]]:
    """Read an archive of goldens. Raises BundleError where it is none, or where one of those wanted is missing."""
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no NumPy archive")  # noqa: TRY301 - told like any other damage
        with np.load(path, allow_pickle=False) as file:
            found: dict[str, NDArray[Any]] = {name: np.asarray(file[name]) for name in file.files}
    except Exception as cause:
        # A damaged archive fails in any way: zipfile, zlib and NumPy each have errors of their own.
        raise _damaged(path, cause) from cause
    missing = [name for name in wanted if name not in found]
    if missing:
        raise _damaged(path, KeyError(missing[0]))
    return found


def _damaged(path: Path, cause: Exception) -> BundleError:
    reason = cause or type(cause).__name__
    return BundleError(f"{path}: holds no goldens ({reason}). Export it again.")


def _check_outputs(bundle: Bundle, outputs: NDArray[Any], rows: int) -> None:
    if outputs.dtype != np.float64 or outputs.ndim != 2 or len(outputs) != rows or not np.isfinite(outputs).all():  # noqa: PLR2004
        raise BundleError(
            f"{bundle.path / GOLDENS}: its outputs are not {rows} rows of finite float64, "
            f"but {outputs.dtype}{outputs.shape}."
        )
