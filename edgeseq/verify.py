"""Replays a bundle's golden frames here and holds every variant on every backend against what export recorded."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.bundle import GOLDENS, Bundle
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


def verify(bundle: Bundle) -> list[Verdict]:
    """Replay all variants and backends. Raises BundleError or ModelError for what cannot even be loaded."""
    goldens = read(bundle)
    return [
        judge(backends.load(bundle, backend, variant), goldens, *_tolerance(bundle, backend, variant))
        for backend, variant in backends.choices(bundle)
    ]


def judge(model: StepModel, goldens: Goldens, metric: str, tolerance: float) -> Verdict:
    """Run the goldens through a model from its reset and compare with the original, and with the integer reference."""
    model.reset()
    # The first `delay` outputs do not exist yet; as many come when the sequence is flushed.
    given = np.concatenate([model.run(goldens.frames), model.flush()])[model.delay :].astype(np.float64)
    error = given[goldens.at] - goldens.outputs
    greatest, rms = float(np.abs(error).max()), float(np.sqrt(np.mean(np.square(error))))
    passed = (greatest if metric == "max" else rms) <= tolerance
    against = None
    if model.variant in goldens.reference:
        against = float(np.sqrt(np.mean(np.square(given - goldens.reference[model.variant]))))
        passed = passed and against <= tolerance
    return Verdict(
        model.variant, model.backend, len(goldens.frames), greatest, rms, metric, tolerance, against, bool(passed)
    )


def read(bundle: Bundle) -> Goldens:
    """Read parity.npz. Raises BundleError if it is not what it should be; nothing in it is unpickled."""
    path = bundle.path / GOLDENS
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = {name: file[name] for name in file.files}
        frames, at, outputs = arrays["frames"], arrays["at"], arrays["outputs"]
        reference = {
            name.removesuffix(".integers"): (array.astype(np.float64) - arrays[f"{name[:-9]}.zero_point"])
            * arrays[f"{name[:-9]}.scale"]
            + arrays[f"{name[:-9]}.offset"]
            for name, array in arrays.items()
            if name.endswith(".integers")
        }
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as cause:
        raise BundleError(f"{path}: holds no goldens ({cause}). Export the bundle again.") from cause
    if frames.ndim != 2 or not 0 < len(frames) <= MAX_GOLDEN_STEPS or len(at) != len(outputs) or len(at) == 0:  # noqa: PLR2004
        raise BundleError(f"{path}: its frames have the shape {frames.shape}; 1 to {MAX_GOLDEN_STEPS} are expected.")
    return Goldens(frames, at, outputs, reference)


def _tolerance(bundle: Bundle, backend: str, variant: str) -> tuple[str, float]:
    for entry in bundle.manifest.parity:
        if (entry.backend, entry.variant) == (backend, variant):
            return entry.metric, entry.tolerance
    raise BundleError(f"{bundle.path}: export recorded no parity of {variant} on {backend}. Export it again.")
