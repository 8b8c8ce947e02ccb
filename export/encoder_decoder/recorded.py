"""Recorded pairs of a source and a target, as the model takes them: what --calibration gives of an encoder-decoder.

An archive holds them one behind another, as a bundle's own goldens do: `sources` [frames, features] and
`source_lengths` [pairs], `targets` and `target_lengths`. Tokens may come without their axis of one feature.
"""

from __future__ import annotations

from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq.errors import BundleError
from edgeseq.verification import goldens
from export import frames
from export.errors import ExportError
from export.frontends import EncoderDecoder

MOST = 256
"""Pairs that are used; of more, as many are picked evenly."""
KEYS = ("sources", "source_lengths", "targets", "target_lengths")
Pair = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Rows of a source, float32[S, features], and of a target, float32[T, features]."""


def pairs(
    given: str | Path | Items[Any], model: EncoderDecoder, longest_target: int | None
) -> tuple[list[Pair], list[str]]:
    """Return pairs from an archive, a bundle with its own, or arrays; checked; and what must be said of them.

    longest_target: steps that the decoder makes at most, None for any number. Raises ExportError.
    """
    origin = str(given) if isinstance(given, str | Path) else "calibration"
    read = _read(Path(given)) if isinstance(given, str | Path) else _arrays(given)
    if not read:
        raise ExportError(f"{origin}: holds no pairs.")
    for place, pair in enumerate(read):
        if not all(map(len, pair)):
            raise ExportError(f"{origin}: pair {place} has a source of {len(pair[0])} and a target of {len(pair[1])}.")
        if longest_target is not None and len(pair[1]) > longest_target:
            raise ExportError(
                f"{origin}: the target of pair {place} has {len(pair[1])} steps, and the decoder makes "
                f"{longest_target} at most (--max-steps, or max_length of [generate])."
            )
    picked = frames.evenly(read, MOST)
    sources, targets = (
        frames.checked(column, [entry], f"{origin}: {what}")
        for column, entry, what in zip(zip(*picked, strict=True), model.inputs, ("sources", "targets"), strict=True)
    )
    of = f" of {len(read):,}" if len(picked) < len(read) else ""
    return [*zip(sources, targets, strict=True)], [f"calibrated on {len(picked):,}{of} pairs of a source and a target"]


def _arrays(given: Items[Any]) -> list[Pair]:
    try:
        return [(source, target) for source, target in given]
    except (TypeError, ValueError) as cause:
        raise ExportError(
            "calibration: an encoder-decoder is calibrated on pairs, each a source and a target, float32[T, features]."
        ) from cause


def _read(path: Path) -> list[Pair]:
    if path.is_dir():
        return _goldens(path)
    if not path.is_file():
        raise ExportError(f"{path}: there is no such calibration file.")
    wanted = f"an encoder-decoder is calibrated on an .npz with {', '.join(KEYS)}, or on another bundle's pairs"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in KEYS}
    except Exception as cause:
        # A damaged archive fails in any way: zipfile, zlib and NumPy each have errors of their own.
        raise ExportError(f"{path}: {wanted} ({cause}).") from cause
    columns = [_split(path, arrays[f"{what}s"], arrays[f"{what}_lengths"], what) for what in ("source", "target")]
    if len({*map(len, columns)}) != 1:
        raise ExportError(f"{path}: it holds {len(columns[0])} sources for {len(columns[1])} targets.")
    return [*zip(*columns, strict=True)]


def _split(path: Path, rows: NDArray[Any], lengths: NDArray[Any], what: str) -> list[NDArray[Any]]:
    whole = lengths.ndim == 1 and lengths.dtype.kind in "iu" and bool((lengths >= 0).all())
    if not whole or not rows.ndim or int(lengths.sum()) != len(rows):
        raise ExportError(
            f"{path}: {what}_lengths, {lengths.dtype}{lengths.shape}, are no lengths that add up to the rows of "
            f"{what}s, {rows.dtype}{rows.shape}."
        )
    return np.split(rows, np.cumsum(lengths)[:-1]) if len(lengths) else []


def _goldens(folder: Path) -> list[Pair]:
    try:
        bundle = bundles.read(folder)
        if not bundle.encoder_decoder:
            raise ExportError(f"{folder}: the goldens of a single step are no pairs of a source and a target.")
        return [(golden.source, golden.target) for golden in goldens.read_pairs(bundle)]
    except BundleError as cause:
        raise ExportError(f"{folder}: holds no pairs to calibrate on: {cause}") from cause
