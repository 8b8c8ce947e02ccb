"""Loads a bundle's step model. One file a backend; its library is imported only when it is asked for."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from numpy.typing import NDArray

from edgeseq import bundle as bundles
from edgeseq import libraries
from edgeseq.backends import settings
from edgeseq.errors import ConfigError, ModelError
from edgeseq.tables import suggest
from edgeseq.types import Frames, StepModel

Whole = Callable[[Frames, Mapping[str, NDArray[Any]]], dict[str, NDArray[Any]]]
"""A part of an encoder that runs once: takes the source's rows [T, features] and what it holds by name, and gives the
graph's outputs by name."""
FORMATS = {"ort": "onnx", "litert": "tflite", "native": "npz"}
"""Backend -> the format of the files that it reads."""
NATIVE = "native"
"""The backend that steps several streams in one call, and every call on one thread."""
log = logging.getLogger(__name__)


def load(
    bundle: bundles.Bundle | Path | str,
    backend: str = "auto",
    variant: str = "auto",
    streams: int = 1,
    *,
    threads: int = settings.THREADS,
) -> StepModel:
    """Load a bundle's step model, freshly reset.

    backend "auto" takes the first of those that bundle.toml names which has the variant, variant "auto" the one that
    bundle.toml names for the backend; neither ever falls back to another because the one chosen does not run here.
    streams: how many independent streams one step takes; more than one on the backend `native` alone. threads: how many
    work on one step; more than one on all others. Raises BundleError, ModelError, or ConfigError where the backend's
    library is missing.
    """
    opened = bundle if isinstance(bundle, bundles.Bundle) else bundles.read(Path(bundle))
    if opened.encoder_decoder:
        raise ModelError(f"{opened.path}: holds an encoder and a decoder, no single step; open it with edgeseq.load.")
    left_open = backend == "auto"
    backend, variant = chosen(opened, backend, variant)
    if left_open and backend != NATIVE:
        log.info("%s: %s runs on %s, as its bundle.toml chooses", opened.path, variant, backend)
    file = opened.file(variant, FORMATS[backend])
    return open_file(opened.path / file.path, backend, opened.graph(), file, streams, threads=threads)


def chosen(opened: bundles.Bundle, backend: str, variant: str) -> tuple[str, str]:
    """Return the backend and variant that "auto" stands for. Raises ModelError where there are none such."""
    defaults = opened.manifest.defaults
    if backend == "auto":
        there = {(reader(file), file.variant) for file in opened.manifest.files}
        # A variant may have no file for the bundle's first backend.
        having = (name for name in defaults if variant == "auto" or (name, variant) in there)
        backend = next(having, next(iter(defaults)))
    if backend not in FORMATS:
        raise ModelError(f"there is no backend '{backend}'. {suggest(backend, FORMATS)}")
    if variant == "auto":
        if backend not in defaults:
            raise ModelError(_without_default(opened, backend))
        variant = defaults[backend]
    return backend, variant


def _without_default(opened: bundles.Bundle, backend: str) -> str:
    """Say why a bundle has no default variant for a backend."""
    held = _held(opened)
    if any(name == backend for name, _ in held):
        return f"{opened.path}: bundle.toml names no default variant for '{backend}'; choose one."
    there = ", ".join(f"{variant} on {name}" for name, variant in held) or "nothing that runs"
    only = f"holds no file for the backend '{backend}', only {there}"
    return f"{opened.path}: {only}. Choose one of them, or export it again."


def open_file(
    path: Path,
    backend: str,
    graph: bundles.Graph,
    file: bundles.ModelFile,
    streams: int = 1,
    *,
    threads: int = settings.THREADS,
) -> StepModel:
    """Open one model file of a bundle, described by its graph and file tables, on a backend."""
    if streams < 1:
        raise ModelError(f"a model steps one stream or more, not {streams}.")
    if threads < 1:
        raise ModelError(f"a step runs on one thread or more, not {threads}.")
    if streams != 1 and backend != NATIVE:
        raise ModelError(
            f"the backend '{backend}' steps one stream in a call, not {streams}: load the model on '{NATIVE}', or load "
            "one and fork it for each stream."
        )
    if threads != 1 and backend == NATIVE:
        raise ModelError(
            f"the backend '{NATIVE}' steps on one thread, not {threads}: its steps are over before another core has "
            "woken up. Leave threads at 1, and give every core a process of its own if there is work for several; or "
            "choose the backend 'ort' or 'litert'."
        )
    own = {"streams": streams} if backend == NATIVE else {"threads": threads}
    model: StepModel = _module(backend).open_step(path, graph, file, **own)
    return model


def open_whole(path: Path, backend: str, graph: bundles.Graph, file: bundles.ModelFile) -> Whole:
    """Open an encoder, or a part of one, that runs once."""
    run: Whole = _module(backend).open_whole(path, graph, file)
    return run


def library(backend: str) -> str:
    """Return the library that a backend runs on, with its version: with either, what it computes may change."""
    name: str = _module(backend).library()
    return name


def _module(backend: str) -> ModuleType:
    """Import a backend. Raises ConfigError naming the cure where its library is missing."""
    if backend == "native":  # the others' import nothing that may be missing, or say so themselves
        libraries.numba()
    return importlib.import_module(f"edgeseq.backends.{backend}")


def reader(file: bundles.ModelFile) -> str:
    """Return the backend that reads a file; its format where none does."""
    return next((backend for backend, file_format in FORMATS.items() if file_format == file.format), file.format)


def by_default(defaults: Mapping[str, str]) -> str:
    """Say what "auto" runs: what it takes by itself, and what where a backend is named. defaults: as of bundle.toml."""
    first, *others = (f"{variant} on {backend}" for backend, variant in defaults.items())
    return f"{first}; where the backend is named, {', '.join(others)}" if others else first


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
        if backend == "litert":
            libraries.litert()
        elif backend == "native":
            libraries.numba()
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
