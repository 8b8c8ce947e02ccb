"""`--example`: input as an ONNX model takes it, which says what the file leaves open: how many features there are.

1. An example must fit what the file does say: the number of axes, the sizes that are fixed, whole numbers or floats.
2. It fills in the sizes that the file leaves open, but for those of time and batch. Where the time is not said, it is
   taken to be where it mostly is.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import OptionError
from export.frontends.sequence import batch_axis, image_axis
from export.graph import Array, first_line

Example = str | Path | NDArray[np.generic] | Mapping[str, NDArray[np.generic]]
MAX_BYTES = 1 << 28


def read(given: Example) -> dict[str, Array]:
    """Return the examples by their inputs' names, "" standing for the only input. Raises OptionError."""
    if isinstance(given, Mapping):
        return {name: np.asarray(array) for name, array in given.items()}
    if not isinstance(given, str | Path):
        return {"": np.asarray(given)}
    path = Path(given)
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise OptionError(f"--example {path}: larger than {MAX_BYTES >> 20} MiB; a short example will do.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return {"": loaded}
        with loaded:
            return {name: np.asarray(loaded[name]) for name in loaded.files}
    except Exception as cause:
        # Damaged files fail in any way: zipfile, zlib and NumPy each have errors of their own.
        raise OptionError(f"--example {path}: is no .npy or .npz file of numbers ({first_line(cause)}).") from cause


def chosen(examples: Mapping[str, Array], names: list[str]) -> dict[str, Array]:
    """Return the examples with the only input named. Raises OptionError for other names than the model's."""
    if set(examples) == {""} and len(names) == 1:
        return {names[0]: examples[""]}
    wrong = sorted(set(examples) - set(names))
    if wrong:
        told = "an .npz file with an array for each of them" if wrong == [""] else f"not '{wrong[0]}'"
        raise OptionError(f"--example: the model's inputs are {', '.join(names)}; give {told}.")
    return dict(examples)


def filled(name: str, dims: list[int | str], tokens: bool, example: Array, time_axis: int | None) -> list[int | str]:  # noqa: FBT001 - one call
    """Return an input's sizes with what the example says of them. Raises OptionError where it does not fit (1)."""
    fits = len(dims) == example.ndim and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(dims, example.shape, strict=True)
    )
    if not fits or example.dtype.kind not in ("iu" if tokens else "f") or not example.size:
        kind = "whole numbers" if tokens else "floats"
        raise OptionError(
            f"--example: the input '{name}' takes {kind} of the shape [{', '.join(str(dim or '?') for dim in dims)}]; "
            f"the example is {example.dtype} of the shape {list(example.shape)}."
        )
    if len(dims) < 3 - (not tokens):  # tokens alone, or one axis, have no features
        return dims
    if time_axis is not None:
        time = time_axis % len(dims)
    elif len(dims) == 2:  # noqa: PLR2004 - [time, features]
        time = 0
    else:
        time = image_axis(example.shape) if len(dims) > 3 else 2 if isinstance(dims[1], int) else 1  # noqa: PLR2004
    kept = {time} if len(dims) == 2 else {time, batch_axis(time)}  # noqa: PLR2004 - a matrix has no batch
    return [dim if axis in kept else example.shape[axis] for axis, dim in enumerate(dims)]  # 2
