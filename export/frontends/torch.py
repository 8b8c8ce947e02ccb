"""PyTorch modules: exported to ONNX with a time axis that is truly free, proven by running three lengths.

PyTorch's two exporters each freeze the time axis of what the other handles (the newer one that of recurrent layers, the
older one that of attention), without a word. So the likelier one is tried first, and an export counts only once it has
equalled the module at several lengths.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib.util
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from export.errors import ExportError
from export.frontends.onnx import read
from export.frontends.sequence import PROOF_LENGTHS, Sequence, axis_of
from export.graph import first_line, session

OPSET = 17


def load(path: Path, function: str, *, time_axis: int | None) -> Sequence:
    """Call `function` of the file, which gives (module, example), and export the module. Raises ExportError."""
    module, example = _call(path, function)
    return from_module(module, example, f"{path.name}:{function}", _sha256(path), time_axis=time_axis)


def from_module(
    module: torch.nn.Module, example: torch.Tensor, origin: str, sha256: str, *, time_axis: int | None = None
) -> Sequence:
    """Export a PyTorch module. example: one input, [batch, time, features] unless time_axis says otherwise."""
    _check(module, example, origin)
    module = module.eval()
    default = 1 if example.ndim > 2 else 0  # noqa: PLR2004
    axis = default if time_axis is None else axis_of(time_axis, tuple(example.shape), origin)
    shape = tuple(-1 if i == axis else 1 if i != example.ndim - 1 else size for i, size in enumerate(example.shape))
    twin = _double(module, origin)

    def single(x: NDArray[np.floating]) -> NDArray[np.floating]:
        return _run(module, x, torch.float32, origin)

    def double(x: NDArray[np.floating]) -> NDArray[np.floating]:
        return _run(twin, x, torch.float64, origin)

    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in module.modules())
    reasons = []
    for dynamo in (False, True) if recurrent else (True, False):
        try:
            model = _export(module, shape, axis, dynamo=dynamo)
        except Exception as cause:  # noqa: BLE001 - the exporter raises whatever it likes; the reason is told
            reasons.append(f"dynamo={dynamo}: {first_line(cause)}")
            continue
        name = model.graph.input[0].name
        sequence = Sequence(model, name, axis, shape, single, double, "PyTorch", origin, sha256)
        reason = _differs(sequence)
        if reason is None:
            if not isinstance(module(example), torch.Tensor):
                sequence.notes.append(
                    "the module gives several outputs: the first is streamed, the others are left out"
                )
            sequence.notes.append(f"exported by torch.onnx with dynamo={dynamo}, equal at {PROOF_LENGTHS} steps")
            return sequence
        reasons.append(f"dynamo={dynamo}: {reason}")
    raise ExportError(f"{origin}: PyTorch could not export it with a free time axis ({'; '.join(reasons)}).")


def _differs(sequence: Sequence) -> str | None:
    """Run the export beside the module at several lengths; return how they differ, or None."""
    runtime = session(sequence.model)
    for length in PROOF_LENGTHS:
        x = sequence.noise(length)
        expected = sequence.single(x)
        try:
            given = runtime.run(None, {sequence.input: x})[0]
        except Exception as cause:  # noqa: BLE001 - a frozen time axis shows as any kind of failure
            return f"the export does not run at {length} steps ({first_line(cause)})"
        # Float32 sums taken in another order differ in their last bits; a frozen or wrong export differs grossly.
        if given.shape != expected.shape or not np.allclose(given, expected, rtol=1e-3, atol=1e-4):
            return f"the export differs from the module at {length} steps"
    return None


def _export(module: torch.nn.Module, shape: tuple[int, ...], axis: int, *, dynamo: bool) -> Any:
    sample = torch.randn([PROOF_LENGTHS[1] if size == -1 else size for size in shape])
    options: dict[str, Any] = {
        "input_names": ["frames"],
        "output_names": ["output"],
        "opset_version": OPSET,
        "dynamo": dynamo,
    }
    if dynamo:
        options["dynamic_shapes"] = ({axis: torch.export.Dim("time", min=2, max=1 << 20)},)
        options["opset_version"] = 18
    else:
        options["dynamic_axes"] = {"frames": {axis: "time"}}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        file = Path(folder) / "sequence.onnx"
        torch.onnx.export(module, (sample,), str(file), **options)
        model = read(file)
    # A module that gives (output, state) streams its output; the states are made explicit by the rewrite.
    del model.graph.output[1:]
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' own progress and warnings quiet; what matters of it is proven afterwards."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _call(path: Path, function: str) -> tuple[torch.nn.Module, torch.Tensor]:
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
        result = getattr(code, function)() if callable(getattr(code, function, None)) else None
    except (Exception, SystemExit) as cause:
        raise ExportError(f"{path}: {function}() failed: {type(cause).__name__}: {first_line(cause)}") from cause
    finally:
        sys.path.remove(str(path.parent.resolve()))
    if result is None:
        raise ExportError(f"{path}: has no function '{function}' that returns (module, example).")
    if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], torch.nn.Module)):  # noqa: PLR2004
        raise ExportError(f"{path}: {function}() must return (module, example).")
    module, example = result
    return module, example[0] if isinstance(example, tuple) and len(example) == 1 else example


def _check(module: torch.nn.Module, example: torch.Tensor, origin: str) -> None:
    """Refuse what no export could make right. Raises ExportError."""
    if not isinstance(example, torch.Tensor) or example.ndim not in (2, 3):
        raise ExportError(f"{origin}: the example must be one tensor, [batch, time, features].")
    if example.dtype != torch.float32:
        raise ExportError(f"{origin}: the example is {example.dtype}; frames are float32 (token models come later).")
    for name, weight in module.named_parameters():
        if not torch.isfinite(weight).all():
            raise ExportError(f"{origin}: the parameter '{name}' holds NaN or infinity.")


def _run(module: torch.nn.Module, x: NDArray[np.floating], dtype: torch.dtype, origin: str) -> NDArray[np.floating]:
    """Run a module in a float type; what it makes itself, such as an initial state of zeros, is of that type too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.no_grad():
            output = module(torch.from_numpy(x).to(dtype))
    except Exception as cause:
        reason = first_line(cause)
        raise ExportError(f"{origin}: the module does not run on {dtype} frames {x.shape}: {reason}") from cause
    finally:
        torch.set_default_dtype(before)
    first = output[0] if isinstance(output, tuple | list) and output else output
    if not isinstance(first, torch.Tensor):
        raise ExportError(f"{origin}: the module gives a {type(first).__name__}; a tensor, or one first, is expected.")
    return np.asarray(first.numpy())


def _double(module: torch.nn.Module, origin: str) -> torch.nn.Module:
    """Return a float64 twin of the module, with what state_dict would not hold: plain tensors as attributes."""
    try:
        twin = copy.deepcopy(module).double()
    except Exception as cause:
        raise ExportError(f"{origin}: the module cannot be copied to float64: {first_line(cause)}") from cause
    for part in twin.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                setattr(part, name, value.double())
    return twin


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
