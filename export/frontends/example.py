"""`--example`: input as an ONNX model takes it, which says what the file leaves open: how many features there are.

1. An example must fit what the file does say: the number of axes, the sizes that are fixed, whole numbers or floats.
2. Its features fill in the size of the last axis that is not time, where the file leaves it open.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.errors import OptionError
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
    time = None if time_axis is None else time_axis % len(dims)
    features = next(axis for axis in reversed(range(len(dims))) if axis != time)
    alone = sum(1 for dim in dims if not isinstance(dim, int)) < 2  # noqa: PLR2004 - what alone is open is time
    if isinstance(dims[features], int) or alone or (tokens and len(dims) < 3):  # noqa: PLR2004 - tokens have no features
        return dims
    return [example.shape[axis] if axis == features else dim for axis, dim in enumerate(dims)]  # 2
