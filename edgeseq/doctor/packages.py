"""The libraries: there, of which version, and whether they load beside each other."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from importlib import metadata

from edgeseq import libraries
from edgeseq.backends.settings import turn_off_telemetry
from edgeseq.doctor.finding import Finding
from edgeseq.errors import ConfigError

NEEDED = {
    "numpy": "numpy",
    "numba": "numba",
    "rocket-fft": "rocket_fft",
    "onnxruntime": "onnxruntime",
    "paho-mqtt": "paho.mqtt",
}
"""Distribution -> what is imported of it."""
OPTIONAL = {
    "soundfile": ("soundfile", "audio"),
    "sounddevice": ("sounddevice", "audio"),
    "pyserial": ("serial", "serial"),
    "pyarrow": ("pyarrow", "parquet"),
    "tokenizers": ("tokenizers", "text"),
    "drain3": ("drain3", "text"),
}
"""Distribution -> what is imported of it, and the extra that brings it."""


def findings() -> Iterator[Finding]:
    """Load each library there is."""
    turn_off_telemetry()
    for name, module in NEEDED.items():
        yield _loaded(name, module) or Finding(name, "bad", "is not installed", "pip install --upgrade edgeseq")
    yield _litert()
    for name, (module, extra) in OPTIONAL.items():
        found = _loaded(name, module)
        if found is not None and found.level == "bad":
            yield found
        elif found is not None:
            yield Finding(name, "ok", f"{found.says} (extra {extra})")


def _loaded(name: str, module: str) -> Finding | None:
    """Load a library; None where it is not installed."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
    try:
        importlib.import_module(module)
    except Exception as cause:  # noqa: BLE001 - a library that does not go with another fails in any way
        return Finding(name, "bad", f"{version} does not load: {cause}", f"pip install --force-reinstall {name}")
    return Finding(name, "ok", version)


def _litert() -> Finding:
    there = [name for name in ("ai-edge-litert", "tflite-runtime") if _version(name)]
    if not there:
        return Finding("litert", "ok", "not installed; only TFLite files need it (extra tflite)")
    versions = ", ".join(f"{name} {_version(name)}" for name in there)
    try:
        libraries.litert()
    except ConfigError as cause:
        return Finding("litert", "bad", f"{versions}: {cause}", "what the sentence says")
    return Finding("litert", "ok", versions)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
