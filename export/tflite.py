"""The TFLite files of a bundle: one beside each variant's ONNX file, where the step's ops have TFLite forms."""

from __future__ import annotations

from pathlib import Path

from edgeseq.bundle import STORAGE, Graph, ModelFile
from export.errors import FLOAT_ALONE, ExportError
from export.quantize.step import stored_states
from export.variants import Maker, Variant, file_of
from export.writers import tflite as writer


def write(maker: Maker, variant: Variant, folder: Path, graph: Graph) -> ModelFile:
    """Write a variant's file of one of a bundle's graphs. Raises ExportError naming the node without a TFLite form."""
    try:
        writer.schema()
        storage = variant.name if variant.name in STORAGE else ""
        # What computes in float32 has no Program of its own; some variants store its weights smaller.
        program = writer.paired(maker.rounded(variant) if storage else variant.program or maker.lowered())
        content = writer.write(program, maker.outputs, storage)
    except ExportError as cause:
        raise ExportError(str(cause).removesuffix(FLOAT_ALONE)) from cause
    size = writer.weight_bytes(program, storage)
    file = file_of(program, variant.name, "tflite", size, stored_states(program), graph.name)
    (folder / file.path).write_bytes(content)
    return file
