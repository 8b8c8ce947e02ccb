"""Calibration frames from files: float32[T, features], one array a sequence."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq.bundle import MAX_TOKENS
from edgeseq.errors import BundleError
from edgeseq.verification import goldens
from export.errors import ExportError
from export.graph import Input

NOISE_SEQUENCES, NOISE_STEPS = 8, 512
T = TypeVar("T")


def read(path: Path, chain: str | None = None) -> list[NDArray[np.float32]]:
    """Read .npy (one sequence), .npz (one sequence an array, in the order of their names) or .csv (one sequence).

    Of an .npz that `edgeseq features` wrote, what was lost between two frames ends a sequence. Of a bundle's folder,
    its golden frames are the one sequence. chain: the digest of the bundle's own feature chain, if it has one. Raises
    ExportError for a file that is none of these, holds something else than finite numbers, or frames of another chain.
    """
    if path.is_dir():
        return [_goldens(path)]
    if not path.is_file():
        raise ExportError(f"{path}: there is no such calibration file.")
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv}
    if path.suffix not in readers:
        raise ExportError(f"{path}: calibration frames come as .npy, .npz or .csv.")
    if path.suffix == ".npz" and (made := _features(path, chain)) is not None:
        return made
    return readers[path.suffix](path)


def _goldens(folder: Path) -> NDArray[np.float32]:
    """Read the golden frames of the bundle in a folder."""
    try:
        bundle = bundles.read(folder)
        if bundle.encoder_decoder:
            raise ExportError(f"{folder}: an encoder-decoder's goldens are no frames of one stream.")
        return goldens.read(bundle).frames
    except BundleError as cause:
        raise ExportError(f"{folder}: holds no frames to calibrate on: {cause}") from cause


def checked(sequences: Items[Any], inputs: Items[Input], origin: str) -> list[NDArray[np.float32]]:
    """Return the sequences that hold anything, as float32[T, features]. Raises ExportError."""
    result = []
    features = sum(entry.features for entry in inputs)
    for index, given in enumerate(sequences):
        try:
            with np.errstate(over="ignore"):
                sequence = np.asarray(given, np.float32)
        except (TypeError, ValueError) as cause:
            raise ExportError(f"{origin}: sequence {index} holds something else than numbers ({cause}).") from cause
        if sequence.ndim == 1 and features == 1:
            sequence = sequence[:, None]
        if sequence.ndim != 2 or sequence.shape[1] != features:  # noqa: PLR2004 - a matrix
            raise ExportError(
                f"{origin}: sequence {index} has the shape {sequence.shape}; the model takes {features} numbers a "
                f"frame, so (T, {features}) is expected."
            )
        if not np.isfinite(sequence).all():
            row = int(np.argwhere(~np.isfinite(sequence))[0, 0])
            raise ExportError(f"{origin}: sequence {index}, frame {row} holds NaN or infinity.")
        _check_tokens(sequence, inputs, f"{origin}: sequence {index}")
        if len(sequence):
            result.append(np.ascontiguousarray(sequence, np.float32))
    if not result:
        raise ExportError(f"{origin}: holds no frames.")
    return result


def evenly(items: Items[T], most: int) -> list[T]:
    """Return at most so many, spread evenly over all of them; none of none."""
    return [items[at] for at in np.unique(np.linspace(0, len(items) - 1, most).astype(int))] if items else []


def noise(inputs: Items[Input], seed: int = 0) -> list[NDArray[np.float32]]:
    """Return seeded normal frames: what standardized features look like, where no real frames were given.

    Of tokens, any.
    """
    rng = np.random.default_rng(seed)

    def columns(entry: Input) -> NDArray[np.float32]:
        shape = NOISE_STEPS, entry.features
        if entry.dtype == "int64":
            return rng.integers(0, entry.tokens or 2, size=shape).astype(np.float32)
        return rng.normal(size=shape).astype(np.float32)

    return [np.concatenate([columns(entry) for entry in inputs], axis=1) for _ in range(NOISE_SEQUENCES)]


def _check_tokens(frames: NDArray[np.float32], inputs: Items[Input], origin: str) -> None:
    start = 0
    for entry in inputs:
        part = frames[:, start : start + entry.features]
        start += entry.features
        if entry.dtype == "int64":
            wrong = np.argwhere((part != np.rint(part)) | (part < 0) | (part >= (entry.tokens or MAX_TOKENS)))
            if len(wrong):
                raise ExportError(
                    f"{origin}, frame {wrong[0, 0]}: {part[tuple(wrong[0])]:g} is none of the tokens of "
                    f"'{entry.name}', 0 to {(entry.tokens or MAX_TOKENS) - 1}."
                )


def _npy(path: Path) -> list[NDArray[np.float32]]:
    try:
        return [np.load(path, allow_pickle=False).astype(np.float32)]
    except Exception as cause:
        raise ExportError(f"{path}: is no NumPy array of numbers ({cause}).") from cause


def _npz(path: Path) -> list[NDArray[np.float32]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return [file[name].astype(np.float32) for name in sorted(file.files)]
    except Exception as cause:
        # A damaged archive fails in any way: zipfile, zlib and NumPy each have errors of their own.
        raise ExportError(f"{path}: is no archive of NumPy arrays of numbers ({cause}).") from cause


def _features(path: Path, chain: str | None) -> list[NDArray[np.float32]] | None:
    """Read what `edgeseq features` wrote, stream by stream; None for another archive."""
    try:
        with np.load(path, allow_pickle=False) as file:
            if not {"frames", "gap", "stream", "chain"} <= set(file.files):
                return None
            frames, gaps, streams = (file[name] for name in ("frames", "gap", "stream"))
            made_by = str(file["chain"])
            order = np.argsort(streams, kind="stable")
            starts = np.flatnonzero(gaps[order] | (np.diff(streams[order], prepend=-1) != 0))
            sequences = np.split(frames[order].astype(np.float32), starts[1:])
    except Exception as cause:  # as above
        raise ExportError(f"{path}: is no archive of feature frames ({cause}).") from cause
    if chain is not None and made_by != chain:
        raise ExportError(
            f"{path}: its frames were made by another feature chain than [[features]] (its sum is {made_by[:16]}, "
            f"theirs {chain[:16]}), so they are not what the device will compute. Make them with `edgeseq features`, "
            "by the [stream] and [[features]] of this bundle."
        )
    return sequences


def _csv(path: Path) -> list[NDArray[np.float32]]:
    """Read rows of numbers; a first row that holds none is a header."""
    rows: list[list[float]] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as file:
        for number, cells in enumerate(_lines(path, file), start=1):
            if not cells:
                continue
            try:
                rows.append([float(cell) for cell in cells])
            except ValueError:
                if number > 1:
                    raise ExportError(f"{path}, line {number}: {cells} are not all numbers.") from None
            if rows and len(rows[-1]) != len(rows[0]):
                raise ExportError(f"{path}, line {number}: has {len(cells)} numbers, the lines above {len(rows[0])}.")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, and is refused as that
        return [np.array(rows, np.float32).reshape(len(rows), len(rows[0]) if rows else 0)]


def _lines(path: Path, file: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file)
    except csv.Error as cause:
        raise ExportError(f"{path}: is no CSV file ({cause}).") from cause
