"""What stands beside a variant's ONNX files for other backends, where there are forms for the graph's operations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edgeseq.bundle import Graph, ModelFile
from export import native, tflite
from export.variants import Maker, Variant

Write = Callable[[Maker, Variant, Path, Graph], ModelFile]
WRITERS: dict[str, Write] = {"tflite": tflite.write, "npz": native.write}
"""Format -> what writes a variant's file of one of a bundle's graphs; it raises ExportError where it cannot."""
TITLES = {"tflite": "TFLite", "npz": "native"}


def left_out(file_format: str, variant: str, reason: object) -> str:
    """Return the note that a variant has no file of a format."""
    return f"{TITLES[file_format]} was left out of {variant}: {reason}"
