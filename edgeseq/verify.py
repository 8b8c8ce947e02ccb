"""Replays a bundle's golden frames here and holds every variant on every backend against what export recorded."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.bundle import GOLDENS, Bundle, ParityTable
from edgeseq.errors import BundleError
from edgeseq.types import StepModel

MAX_GOLDEN_STEPS = 2000


@dataclass(frozen=True)
class Goldens:
    """What parity.npz holds. outputs: float64[len(at), outputs], of the steps `at` of `frames` float32[T, features]."""

    frames: NDArray[np.float32]
    at: NDArray[np.int64]
    outputs: NDArray[np.float64]
    reference: dict[str, NDArray[np.float64]]
    """Quantized variant -> the reference's outputs at every step of `frames`, in real units."""


@dataclass(frozen=True)
class Verdict:
    """How one variant on one backend did here. The fields are those of `edgeseq verify --json`."""

    variant: str
    backend: str
    steps: int
    max_abs_err: float
    rms_err: float
    metric: str
    tolerance: float
    reference_rms_err: float | None
    """Against the integer reference; None for float variants."""
    passed: bool


@dataclass(frozen=True)
class Worst:
    """The output whose error is the greatest share of its tolerance, and whether all outputs kept theirs."""

    output: int
    max_abs_err: float
    rms_err: float
    tolerance: float
    passed: bool


def worst(errors: NDArray[np.float64], metric: str, tolerances: NDArray[np.float64]) -> Worst:
    """Hold errors [steps, outputs] against each output's tolerance. An error that is NaN is beyond any tolerance."""
    greatest, rms = np.abs(errors).max(axis=0), np.sqrt(np.mean(np.square(errors), axis=0))
    judged = greatest if metric == "max" else rms
    within = judged <= tolerances
    share = np.where(within, judged, np.inf) / np.where(tolerances > 0, tolerances, 1.0)
    index = int(np.argmax(np.where(within, share, np.inf)))
    return Worst(index, float(greatest[index]), float(rms[index]), float(tolerances[index]), bool(within.all()))


def verify(bundle: Bundle) -> list[Verdict]:
    """Replay all variants and backends. Raises BundleError or ModelError for what cannot even be loaded."""
    goldens = read(bundle)
    return [
        judge(backends.load(bundle, backend, variant), goldens, _entry(bundle, backend, variant))
        for backend, variant in backends.choices(bundle)
    ]


def judge(model: StepModel, goldens: Goldens, entry: ParityTable) -> Verdict:
    """Run the goldens through a model from its reset and compare with the original, and with the integer reference."""
    model.reset()
    # The first `delay` outputs do not exist yet; as many come when the sequence is flushed.
    given = np.concatenate([model.run(goldens.frames), model.flush()])[model.delay :].astype(np.float64)
    if goldens.outputs.shape[1] != given.shape[1] or goldens.at.max() >= len(given):
        raise BundleError(
            f"{GOLDENS} holds outputs of the shape {goldens.outputs.shape} up to step {goldens.at.max()}; "
            f"the model gives {given.shape}."
        )
    tolerances = np.broadcast_to(np.asarray(entry.tolerances or entry.tolerance, np.float64), given.shape[1:])
    found = worst(given[goldens.at] - goldens.outputs, entry.metric, tolerances)
    passed, against = found.passed, None
    if entry.metric == "rms":
        reference = goldens.reference.get(model.variant)
        if reference is None or reference.shape != given.shape:
            raise BundleError(f"{GOLDENS} does not hold the reference's integers of {model.variant} at every step.")
        beside = worst(given - reference, "rms", tolerances)
        passed, against = passed and beside.passed, beside.rms_err
    return Verdict(
        model.variant, model.backend, len(goldens.frames), found.max_abs_err, found.rms_err, entry.metric,
        found.tolerance, against, passed,
    )  # fmt: skip


def read(bundle: Bundle) -> Goldens:
    """Read parity.npz. Raises BundleError if it is not what it should be; nothing in it is unpickled."""
    path = bundle.path / GOLDENS
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no NumPy archive")  # noqa: TRY301 - told like any other damage
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: np.asarray(file[name]) for name in file.files}
        frames, at, outputs = arrays["frames"], arrays["at"], arrays["outputs"]
        reference = {
            name.removesuffix(".integers"): (array.astype(np.float64) - arrays[f"{name[:-9]}.zero_point"])
            * arrays[f"{name[:-9]}.scale"]
            + arrays[f"{name[:-9]}.offset"]
            for name, array in arrays.items()
            if name.endswith(".integers")
        }
    except Exception as cause:
        # A damaged archive fails in any way: zipfile, zlib and NumPy each have errors of their own.
        raise BundleError(f"{path}: holds no goldens ({cause or type(cause).__name__}). Export it again.") from cause
    if frames.ndim != 2 or not 0 < len(frames) <= MAX_GOLDEN_STEPS or frames.dtype != np.float32:  # noqa: PLR2004
        raise BundleError(
            f"{path}: its frames are {frames.dtype}{frames.shape}, not 1 to {MAX_GOLDEN_STEPS} steps of float32."
        )
    if at.dtype != np.int64 or at.ndim != 1 or not len(at) or at.min() < 0:
        raise BundleError(f"{path}: its steps `at` are no list of steps, but {at.dtype}{at.shape}.")
    if outputs.dtype != np.float64 or outputs.ndim != 2 or len(outputs) != len(at) or not np.isfinite(outputs).all():  # noqa: PLR2004
        raise BundleError(
            f"{path}: its outputs are not {len(at)} rows of finite float64, but {outputs.dtype}{outputs.shape}."
        )
    return Goldens(frames, at, outputs, reference)


def _entry(bundle: Bundle, backend: str, variant: str) -> ParityTable:
    for entry in bundle.manifest.parity:
        if (entry.backend, entry.variant) == (backend, variant):
            outputs = sum(math.prod(tensor.shape) for tensor in bundle.graph().outputs)
            if len(entry.tolerances) not in (0, outputs):
                raise BundleError(
                    f"{bundle.path}: {variant} has {len(entry.tolerances)} tolerances, not one an output."
                )
            return entry
    raise BundleError(f"{bundle.path}: export recorded no parity of {variant} on {backend}. Export it again.")
