"""Loads a bundle's step model. One file a backend; its library is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq import libraries
from edgeseq.errors import ConfigError, ModelError
from edgeseq.tables import suggest
from edgeseq.types import Frames, StepModel

Whole = Callable[[Frames], dict[str, NDArray[Any]]]
FORMATS = {"ort": "onnx", "litert": "tflite"}
"""Backend -> the format of the files that it reads."""


def load(
    bundle: bundles.Bundle | Path | str, backend: str = "auto", variant: str = "auto", streams: int = 1
) -> StepModel:
    """Load a bundle's step model, freshly reset.

    backend "auto" takes the bundle's own default, variant "auto" the one that bundle.toml names for the backend;
    neither ever falls back to another in silence. streams: how many independent streams one step takes; no backend
    takes more than one yet: fork the model, a fork a stream. Raises BundleError or ModelError.
    """
    if streams != 1:
        raise ModelError(f"no backend steps {streams} streams in one call; load one and fork it for each stream.")
    opened = bundle if isinstance(bundle, bundles.Bundle) else bundles.read(Path(bundle))
    if opened.encoder_decoder:
        raise ModelError(f"{opened.path}: holds an encoder and a decoder, no single step; open it with edgeseq.load.")
    backend, variant = chosen(opened, backend, variant)
    file = opened.file(variant, FORMATS[backend])
    return open_file(opened.path / file.path, backend, opened.graph(), file)


def chosen(opened: bundles.Bundle, backend: str, variant: str) -> tuple[str, str]:
    """Return the backend and variant that "auto" stands for. Raises ModelError where there are none such."""
    defaults = opened.manifest.defaults
    if backend == "auto":
        backend = next(iter(defaults))
    if backend not in FORMATS:
        raise ModelError(f"there is no backend '{backend}'. {suggest(backend, FORMATS)}")
    if variant == "auto":
        if backend not in defaults:
            raise ModelError(f"{opened.path}: bundle.toml names no default variant for '{backend}'; choose one.")
        variant = defaults[backend]
    return backend, variant


def open_file(path: Path, backend: str, graph: bundles.Graph, file: bundles.ModelFile) -> StepModel:
    """Open one model file of a bundle, described by its graph and file tables, on a backend."""
    model: StepModel = importlib.import_module(f"edgeseq.backends.{backend}").open_step(path, graph, file)
    return model


def open_whole(path: Path, backend: str, graph: bundles.Graph, file: bundles.ModelFile) -> Whole:
    """Open an encoder that runs over its whole source."""
    run: Whole = importlib.import_module(f"edgeseq.backends.{backend}").open_whole(path, graph, file)
    return run


def library(backend: str) -> str:
    """Return the library that a backend runs on, with its version: with either, what it computes may change."""
    name: str = importlib.import_module(f"edgeseq.backends.{backend}").library()
    return name


def reader(file: bundles.ModelFile) -> str:
    """Return the backend that reads a file; its format where none does."""
    return next((backend for backend, file_format in FORMATS.items() if file_format == file.format), file.format)


def choices(bundle: bundles.Bundle) -> list[tuple[str, str]]:
    """Return every (backend, variant) that can be loaded from a bundle here, in the bundle's order."""
    return [choice for choice in _held(bundle) if absence(choice[0]) is None]


def absent(bundle: bundles.Bundle) -> dict[str, str]:
    """Return the backends that a bundle holds files for and that do not run here, and why."""
    reasons = {backend: absence(backend) for backend, _ in _held(bundle)}
    return {backend: reason for backend, reason in reasons.items() if reason is not None}


def absence(backend: str) -> str | None:
    """Return why a backend does not run here, and the cure; None where it does."""
    try:
        if backend == "litert":  # the runtime's own dependencies bring the others
            libraries.litert()
    except ConfigError as reason:
        return str(reason)
    return None


def _held(bundle: bundles.Bundle) -> list[tuple[str, str]]:
    first = bundle.manifest.graphs[0].name
    return [
        (backend, file.variant)
        for backend, file_format in FORMATS.items()
        for file in bundle.manifest.files
        if file.format == file_format and file.graph == first
    ]
