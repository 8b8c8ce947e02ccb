"""The file of a native program: the step's operations as JSON, their arrays beside them, in one NumPy archive.

Kinds of operations and what they mean are those of export's Program, whose shapes leave out the streams. Weights may be
stored smaller, as float16 or as int8 with scales: they are made float32 once, when the file is read.
"""

from __future__ import annotations

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeseq.errors import ModelError

DESCRIPTION = "program"
"""The archive's member that holds the JSON, as bytes."""
VERSION = 1
MAX_BYTES = 1 << 30
MAX_OPS = 100_000
Attribute = int | float | str | list[int | float]


class Tensor(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a tensor is stored: real = scale * (stored - zero_point) where it has a scale."""

    shape: list[int]
    dtype: str = "float32"
    scale: float | None = None
    zero_point: int = 0


class Op(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operation. arrays: what is fixed of it, by the archive's members."""

    kind: str
    output: str
    inputs: list[str] = []
    node: str = ""
    attributes: dict[str, Attribute] = {}
    arrays: dict[str, str] = {}


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input of frames: the columns [first, last) of a frame's numbers, in the shape in which they enter."""

    name: str
    first: int
    last: int
    time_axis: int


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A state: the tensors that it enters and leaves as."""

    name: str
    input: str
    output: str


class Description(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The archive's JSON.

    held: the tensors that enter and stay the same from step to step; a program with no other inputs runs once. Where
    they grow with a source, the shapes of `tensors` are those for one of an example's length.
    scales: of arrays that are real = stored * scale, the scale, as NumPy stretches it; both by the archive's members.
    """

    version: int
    frames: int
    inputs: list[Input]
    outputs: list[str]
    states: list[State]
    held: list[str] = []
    tensors: dict[str, Tensor]
    ops: list[Op]
    scales: dict[str, str] = {}


@dataclass(frozen=True)
class Program:
    """A description and the arrays that it names, none of them stored smaller any more."""

    path: Path
    description: Description
    arrays: Mapping[str, NDArray[Any]]


def read(path: Path) -> Program:
    """Read a native program. Raises ModelError for a file that is damaged or of another version."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ModelError(f"{path}: larger than {MAX_BYTES >> 30} GiB.")  # noqa: TRY301
        if not zipfile.is_zipfile(path):
            raise ValueError("it is no NumPy archive")  # noqa: TRY301 - told like any other damage
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_BYTES:
                raise ModelError(f"{path}: unpacks to more than {MAX_BYTES >> 30} GiB.")  # noqa: TRY301
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        description = msgspec.json.decode(arrays.pop(DESCRIPTION).tobytes(), type=Description)
    except ModelError:
        raise
    except Exception as cause:
        # A damaged archive fails in any way: zipfile, zlib, NumPy and msgspec each have errors of their own.
        raise ModelError(
            f"{path}: holds no native program ({cause or type(cause).__name__}). Export it again."
        ) from cause
    if description.version != VERSION:
        raise ModelError(
            f"{path}: this edgeseq runs native programs of version {VERSION}, the file has {description.version}. "
            "Export it again."
        )
    if len(description.ops) > MAX_OPS:
        raise ModelError(f"{path}: has {len(description.ops):,} operations; at most {MAX_OPS:,} are run.")
    return Program(path, description, _real(path, description, arrays))


def _real(path: Path, told: Description, arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return a file's arrays as the engine takes them: float16, and int8 with a scale, as float32."""
    real = {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in arrays.items()}
    for name, other in told.scales.items():
        array, scale = arrays.get(name), arrays.get(other)
        if array is None or scale is None:
            raise ModelError(f"{path}: its array '{name if array is None else other}' is missing. Export it again.")
        # A scale that stretches the array would make much of little.
        goes = scale.ndim == array.ndim and all(
            few in {1, many} for few, many in zip(scale.shape, array.shape, strict=True)
        )
        if array.dtype != np.int8 or scale.dtype != np.float32 or not goes:
            form, by = f"{array.dtype}{array.shape}", f"{scale.dtype}{scale.shape}"
            raise ModelError(f"{path}: its array '{name}' is {form}, with scales {by} in '{other}'. Export it again.")
        real[name] = array.astype(np.float32) * scale
    return real


def write(path: Path, description: Description, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a native program, its description compressed: of weights little would be gained."""
    text = np.frombuffer(msgspec.json.encode(description), np.uint8)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in {DESCRIPTION: text, **arrays}.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # of one date: the same program is the same file
            member.compress_type = zipfile.ZIP_DEFLATED if name == DESCRIPTION else zipfile.ZIP_STORED
            with archive.open(member, "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def bytes_a_stream(program: Program) -> int:
    """Return what the tensors of one stream take."""
    told = program.description
    constant = {op.output for op in told.ops if op.kind == "Constant"}
    return sum(
        math.prod(tensor.shape) * np.dtype(tensor.dtype).itemsize
        for name, tensor in told.tensors.items()
        if name not in constant
    )
