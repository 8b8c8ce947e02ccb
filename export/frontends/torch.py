"""PyTorch modules: `module.py:function`, what they take, and the module itself in float32 and float64 as the original.

- torch_export.py: the ONNX graph, with a time axis that is truly free
- torch_unrolled.py: modules with a loop over time of their own
- torch_packed.py, torch_scripted.py: packed sequences, scripted functions
- torch_weights.py: weights from a file
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import sys
from collections.abc import Sequence as Items
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from edgeseq.tables import suggest
from export.errors import ExportError
from export.frontends import encoder_decoder, fixed, torch_weights
from export.frontends.encoder_decoder import EncoderDecoder
from export.frontends.lengths import Lengths, RunPadded, inserted, padded, steps_of, told_apart
from export.frontends.sequence import (
    IMAGE,
    PROOF_LENGTHS,
    Run,
    Sequence,
    axis_of,
    batch_axis,
    image_axis,
    in_groups,
)
from export.frontends.torch_export import exported, exported_fixed, tensors
from export.frontends.torch_scripted import in_float_type
from export.graph import Array, Input, first_line
from export.lengths import accepted
from export.lengths import runs as accepts

Example = torch.Tensor | tuple[torch.Tensor, ...]


def load(
    path: Path, function: str, *, time_axis: int | None, weights: str | Path | None = None
) -> Sequence | EncoderDecoder:
    """Call `function` of the file, which gives (module, example), and export the module. Raises ExportError.

    weights: a file with the module's state_dict.
    """
    module, example = _call(path, function)
    if weights is not None:
        torch_weights.load(module, Path(weights))
    return from_module(module, example, f"{path.name}:{function}", _sha256(path), time_axis=time_axis)


def from_module(
    module: torch.nn.Module, example: Example, origin: str, sha256: str, *, time_axis: int | None = None
) -> Sequence | EncoderDecoder:
    """Export a PyTorch module. example: an input, or several, [batch, time, features] unless time_axis says otherwise.

    Tokens come as int64 [batch, time], images over time as [batch, channels, time, features].
    """
    examples = _checked(module, example, origin)
    module = module.eval()
    twin = _double(module, origin)
    counts = _find_lengths(module, examples, time_axis, origin)
    frames = [given for place, given in enumerate(examples) if all(place != entry.place for entry in counts)]
    inputs = tuple(_input(number, given, time_axis, origin) for number, given in enumerate(frames))

    def of(each: torch.nn.Module, dtype: torch.dtype) -> RunPadded:
        return lambda x, lengths, steps: _run(each, inserted(x, lengths, steps), dtype, origin)

    def whole(x: Items[Array]) -> list[Array]:
        return inserted(x, counts, steps_of(x, inputs))

    def single(x: Items[Array]) -> list[Array]:
        return _run(module, whole(x), torch.float32, origin)

    def double(x: Items[Array]) -> list[Array]:
        return _run(twin, whole(x), torch.float64, origin)

    if encoder_decoder.recognized(inputs, single):
        source, target = replace(inputs[0], name="source"), replace(inputs[1], name="target")
        model, note = exported(module, (source, target), counts, single, encoder_decoder.PROOF_LENGTHS, origin)
        runs = of(module, torch.float32), of(twin, torch.float64)
        notes = [note, *(entry.note_of((source, target)) for entry in counts)]
        return EncoderDecoder(
            model, source, target, single, double, "PyTorch", origin, sha256, notes, padded(runs, inputs, counts)
        )
    lengths = None
    try:
        lengths = accepted(lambda length: single([entry.noise(length) for entry in inputs]), PROOF_LENGTHS)
        model, note = exported(module, inputs, counts, single, [(length,) * len(inputs) for length in lengths], origin)
    except ExportError as cause:
        others = _other_axes(module, frames, inputs, whole) if time_axis is None and lengths is None else []
        if others:
            raise ExportError(
                f"{cause}. Time was taken to be axis {inputs[0].time_axis}, but it runs at other lengths along axis "
                f"{' or '.join(map(str, others))}: say which one time is, --time-axis N."
            ) from cause
        if lengths == PROOF_LENGTHS or counts:
            raise
        return _of_one_length(module, frames, inputs, (single, double), cause, (origin, sha256))
    sequence = in_groups(Sequence(model, inputs, single, double, "PyTorch", origin, sha256))
    sequence.count_tokens()
    sequence.keep_streamed()
    sequence.notes.extend([note, *(entry.note for entry in counts)])
    if time_axis is None and any(given.ndim == IMAGE for given in frames):
        told = " and ".join(
            f"{entry.time_axis} of {list(given.shape)}" for entry, given in zip(inputs, frames, strict=True)
        )
        sequence.notes.append(f"time was taken to be axis {told}; --time-axis says otherwise")
    return sequence


def _of_one_length(  # noqa: PLR0917 - one call, above
    module: torch.nn.Module,
    examples: Items[torch.Tensor],
    inputs: tuple[Input, ...],
    runs: tuple[Run, Run],
    cause: ExportError,
    named: tuple[str, str],
) -> Sequence:
    """Return a module that takes its example's length alone, as one that lays a window flat. Raises `cause` if none."""
    length = int(examples[0].shape[inputs[0].time_axis])

    def run(length: int) -> None:
        runs[0]([entry.noise(length) for entry in inputs])

    if not accepts(run, length):
        raise cause
    model, note = exported_fixed(module, inputs, runs[0], length, named[0])
    alone = Sequence(model, inputs, *runs, "PyTorch", *named, window=length, notes=[note])
    # At a few lengths runs one that cuts a window into patches and leaves off what fills none: that is no loop.
    return replace(alone, fixed=str(cause)) if accepts(run, length + 1) else fixed.freed(alone)


def _find_lengths(
    module: torch.nn.Module, examples: Items[torch.Tensor], time_axis: int | None, origin: str
) -> list[Lengths]:
    """Return the inputs that are lengths. Raises ExportError for other numbers a sequence."""
    maybe = [place for place, given in enumerate(examples) if not given.is_floating_point() and given.ndim <= 1]
    others = [given for place, given in enumerate(examples) if place not in maybe]
    if not maybe or not others:
        return []
    inputs = [_input(number, given, time_axis, origin) for number, given in enumerate(others)]
    maybe_lengths = [
        Lengths(
            f"lengths{place}", place, (1,) * examples[place].ndim, str(examples[place].dtype).removeprefix("torch.")
        )
        for place in maybe
    ]

    def run(x: Items[Array], lengths: Items[Lengths], steps: Items[int]) -> list[Array]:
        return _run(module, inserted(x, lengths, steps), torch.float32, origin)

    if found := told_apart(run, inputs, maybe_lengths):
        return found
    if all(examples[place].dtype == torch.int64 and examples[place].ndim for place in maybe):
        return []
    raise ExportError(f"{origin}: its input {maybe[0]} is one number a sequence, but not the sequence's length.")


def _call(path: Path, function: str) -> tuple[torch.nn.Module, Example]:
    if not path.is_file():
        raise ExportError(f"{path}: there is no such file.")
    spec = importlib.util.spec_from_file_location(f"edgeseq_source_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ExportError(f"{path}: is no Python file.")
    code = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = code  # dataclasses look their module up there
    sys.path.insert(0, str(path.parent.resolve()))
    try:
        spec.loader.exec_module(code)
        called = getattr(code, function, None)
        result = called() if callable(called) else None
    except (Exception, SystemExit) as cause:
        raise ExportError(f"{path}: {function}() failed: {type(cause).__name__}: {first_line(cause)}") from cause
    finally:
        sys.path.remove(str(path.parent.resolve()))
    if not callable(called):
        own = [name for name, value in vars(code).items() if callable(value) and _is_of(value, code)]
        raise ExportError(
            f"{path}: has no function '{function}' that returns (module, example). {suggest(function, own)}"
        )
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], torch.nn.Module)):  # noqa: PLR2004
        raise ExportError(f"{path}: {function}() must return (module, example).")
    module, example = result
    return module, example


def _is_of(value: Any, code: ModuleType) -> bool:
    """Say whether a module defines something itself."""
    return getattr(value, "__module__", None) == code.__name__ and not isinstance(value, type)


def _checked(module: torch.nn.Module, example: Example, origin: str) -> tuple[torch.Tensor, ...]:
    """Return the examples. Raises ExportError for what no export could make right."""
    examples = example if isinstance(example, tuple) else (example,)
    if not examples or not all(isinstance(given, torch.Tensor) for given in examples):
        raise ExportError(f"{origin}: the example must be a tensor, [batch, time, features], or a tuple of them.")
    for given in examples:
        count = given.dtype == torch.int32 and given.ndim <= 1 and len(examples) > 1
        if given.dtype not in (torch.float32, torch.int64) and not count:
            raise ExportError(f"{origin}: the example is {given.dtype}; frames are float32, tokens int64.")
        fits = (2, 3, 4) if given.is_floating_point() else (1, 2, 3) if len(examples) == 1 else (0, 1, 2, 3)
        if given.ndim not in fits:
            raise ExportError(
                f"{origin}: the example has the shape {tuple(given.shape)}; [batch, time, features] is expected, "
                "[batch, channels, time, features], or [batch, time] of tokens."
            )
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            raise ExportError(f"{origin}: the parameter '{name}' holds NaN or infinity.")
    return examples


def _input(number: int, example: torch.Tensor, time_axis: int | None, origin: str) -> Input:
    """Describe one input: batch 1, time free."""
    dims, tokens = tuple(example.shape), example.dtype == torch.int64
    batched = len(dims) > (1 if tokens else 2)
    usual = image_axis(dims) if len(dims) == IMAGE else int(batched)
    axis = usual if time_axis is None else axis_of(time_axis, dims, origin)
    batch = batch_axis(axis) if batched else None
    shape = tuple(-1 if i == axis else 1 if i == batch else size for i, size in enumerate(dims))
    return Input("frames" if number == 0 else f"frames{number}", shape, "int64" if tokens else "float32")


def _other_axes(module: torch.nn.Module, examples: Items[torch.Tensor], inputs: Items[Input], whole: Run) -> list[int]:
    """Return the axes that are as long as one likes where the one taken for time is not; all inputs have them."""
    ranks = {given.ndim for given in examples}
    found = []
    for axis in range(1, min(ranks)):
        tried = [_input(number, given, axis, "") for number, given in enumerate(examples)]
        with contextlib.suppress(ExportError):
            if axis != inputs[0].time_axis:
                x = ([entry.noise(length) for entry in tried] for length in PROOF_LENGTHS[:2])
                found.extend([axis] if all(_run(module, whole(each), torch.float32, "") for each in x) else [])
    return found


def _run(module: torch.nn.Module, x: Items[Array], dtype: torch.dtype, origin: str) -> list[Array]:
    """Run a module in a float type; what it makes itself, such as an initial state of zeros, is of that type too."""
    try:
        with torch.no_grad(), in_float_type(module, dtype):
            given = [torch.from_numpy(array) for array in x]
            output = module(*(each.to(dtype) if each.is_floating_point() else each for each in given))
    except Exception as cause:
        reason, shapes = first_line(cause), " and ".join(str(array.shape) for array in x)
        raise ExportError(f"{origin}: the module does not run on {dtype} frames {shapes}: {reason}") from cause
    given = tensors(output)
    if not given:
        raise ExportError(f"{origin}: the module gives a {type(output).__name__}; a tensor, or several, is expected.")
    return [np.asarray(tensor.numpy()) for tensor in given]


def _double(module: torch.nn.Module, origin: str) -> torch.nn.Module:
    """Return a float64 twin of the module, with what state_dict would not hold: plain tensors as attributes."""
    held = [value for part in module.modules() for value in vars(part).values()]
    # A scripted function holds no weights, and cannot be copied: both call the same one.
    same = {id(value): value for value in held if isinstance(value, torch.jit.ScriptFunction)}
    try:
        twin = copy.deepcopy(module, same).double()
    except Exception as cause:
        raise ExportError(f"{origin}: the module cannot be copied to float64: {first_line(cause)}") from cause
    for part in twin.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    return twin


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
