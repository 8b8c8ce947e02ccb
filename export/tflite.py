"""The TFLite files of a bundle: one beside each variant's ONNX file, where the step's ops have TFLite forms."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeseq.bundle import ModelFile, StateTensors
from export.errors import FLOAT_ALONE, ExportError
from export.program import Program
from export.variants import Maker, Variant
from export.writers import tflite as writer


def write(maker: Maker, made: Iterable[Variant], folder: Path, notes: list[str]) -> list[ModelFile]:
    """Write them and return how bundle.toml describes them; note why where there are none."""
    try:
        writer.schema()
        lowered = maker.lowered()
    except ExportError as cause:
        notes.append(f"TFLite was left out: {str(cause).removesuffix(FLOAT_ALONE)}")
        return []
    files = []
    for variant in made:
        # A variant that only stores its weights otherwise has no Program of its own.
        program = lowered if variant.name == "float32" else variant.program
        if program is None:
            continue
        file = _file(variant.name, program)
        try:
            content = writer.write(program, maker.outputs)
        except ExportError as cause:
            notes.append(f"TFLite was left out of {variant.name}: {cause}")
            continue
        (folder / file.path).write_bytes(content)
        files.append(file)
    return files


def _file(name: str, program: Program) -> ModelFile:
    """Describe a file. Its products are the Program's, so its runtime's multiply-accumulates are too."""
    macs = program.precisions()
    floating = macs.pop("float32", 0)
    return ModelFile(
        path=f"step.{name}.tflite", graph="step", variant=name, format="tflite",
        weight_bytes=writer.weight_bytes(program), integer_macs=sum(macs.values()), float_macs=floating,
        states=_states(program),
    )  # fmt: skip


def _states(program: Program) -> list[StateTensors]:
    states = []
    for state in program.states:
        kind = program.types.get(state.input)
        states.append(
            StateTensors(
                name=state.name, input=f"{state.name}.in", output=f"{state.name}.out",
                dtype=program.dtype(state.input), scale=None if kind is None else kind.scale,
                zero_point=0 if kind is None else kind.zero_point,
            )
        )  # fmt: skip
    return states
