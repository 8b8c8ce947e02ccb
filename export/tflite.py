"""The TFLite files of a bundle: one beside each variant's ONNX file, where the step's ops have TFLite forms."""

from __future__ import annotations

from pathlib import Path

from edgeseq.bundle import STORAGE, ModelFile
from export.errors import FLOAT_ALONE, ExportError
from export.quantize.step import stored_states
from export.variants import Maker, Variant, file_of
from export.writers import tflite as writer


def write(maker: Maker, variant: Variant, folder: Path, notes: list[str]) -> list[ModelFile]:
    """Write a variant's file and return how bundle.toml describes it; note why where there is none."""
    try:
        writer.schema()
        # What computes in float32 has no Program of its own; some variants store its weights smaller.
        program = maker.lowered() if variant.program is None else variant.program
        storage = variant.name if variant.name in STORAGE else ""
        content = writer.write(program, maker.outputs, storage)
    except ExportError as cause:
        notes.append(f"TFLite was left out of {variant.name}: {str(cause).removesuffix(FLOAT_ALONE)}")
        return []
    size = writer.weight_bytes(program, storage)
    file = file_of(program, variant.name, "tflite", size, stored_states(program))
    (folder / file.path).write_bytes(content)
    return [file]
