"""Writes a Program as a TFLite file with one signature, `step`, that ai-edge-litert and tflite-runtime 2.14 both run.

Stock ops alone. Integer ops are within one step of the reference's integers, float ops within the rounding of float32.
doubles.py brings float64 into float32; each of products.py, moving.py, integers.py, real.py and sizes.py says which
forms that takes, magnitudes.py which values are small in any case; file.py packs the flatbuffer.
"""

from __future__ import annotations

from collections.abc import Sequence

from export.program import Program
from export.writers.tflite import integers, moving, products, real, sizes, stored
from export.writers.tflite.doubles import paired
from export.writers.tflite.file import schema
from export.writers.tflite.writer import Writer

__all__ = ["paired", "schema", "weight_bytes", "write"]
FORMS = {**real.FORMS, **moving.FORMS, **products.FORMS, **integers.FORMS, **sizes.FORMS}


def write(program: Program, outputs: Sequence[str], storage: str = "") -> bytes:
    """Return a Program, float or quantized, as a TFLite file.

    outputs: the names of its outputs in the graph. States enter as `<state>.in` and leave as `<state>.out`, in their
    stored integers; one in float64 as `<state>.high` and `<state>.low`, two float32 whose sum it is. storage: "float16"
    or "w8" for a float step whose weights are stored so. Raises ExportError naming the node that has no TFLite form,
    and without ai-edge-litert.
    """
    return Writer(paired(program), FORMS, storage).write(outputs)


def weight_bytes(program: Program, storage: str = "") -> int:
    """Return the bytes of the numbers that a Program's file holds: weights, biases, their scales, constants."""
    return stored.total(paired(program), storage)
