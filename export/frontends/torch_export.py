"""A PyTorch module as an ONNX graph with a time axis that is truly free, proven by running three lengths.

PyTorch's two exporters each freeze the time axis of what the other handles (the newer one that of recurrent layers, the
older one that of some attention), without a word. So an export counts only once it has equalled the module at several
lengths. The older one takes a hundredth of the newer one's time and is tried first; what it makes of attention is taken
where the newer one has nothing better. A module with a loop over time of its own is frozen by both: see
torch_unrolled.py.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from collections.abc import Sequence as Items
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from export.errors import ExportError
from export.frontends.lengths import Lengths, derive, inserted
from export.frontends.onnx import fix_shape, read
from export.frontends.sequence import Run
from export.frontends.torch_packed import Unpacking
from export.frontends.torch_scripted import as_written
from export.frontends.torch_unrolled import LENGTH, rolled, unrolls, written_out
from export.graph import Input, first_line, session

OPSET = 17
TOLD = 200
"""Characters of an exporter's reason that are told; some hold the whole graph."""


def exported(  # noqa: PLR0917 - two calls, from torch.py
    module: torch.nn.Module,
    inputs: tuple[Input, ...],
    counts: Items[Lengths],
    single: Run,
    lengths: Items[tuple[int, ...]],
    origin: str,
) -> tuple[onnx.ModelProto, str]:
    """Return the module's ONNX graph, proven at the lengths given, and what to tell of it.

    Inputs of different lengths have times of their own.
    """
    written = written_out(module)
    recurrent = any(isinstance(part, torch.nn.RNNBase) for part in written.modules())
    plain = [(dynamo, False) for dynamo in (False, True)]
    unrolled = [(dynamo, True) for dynamo in (False, True)]
    # An encoder-decoder's loop is one over the target.
    sources = [] if all(len(set(each)) == 1 for each in lengths) else [inputs[0].name]
    # What both exporters unroll needs no try of the other kind, which takes long.
    # A loop over lengths is none over time.
    ways = plain if counts else unrolled or plain if unrolls(written, inputs) else [*plain, *unrolled]
    reasons = []
    attending: tuple[onnx.ModelProto, str] | None = None
    for dynamo, rolling in ways:
        if attending is not None and rolling:
            break
        told = f"dynamo={dynamo}{f', unrolled over {LENGTH} steps' if rolling else ''}"
        try:
            example = tuple(
                LENGTH if rolling and entry.name not in sources else length
                for entry, length in zip(inputs, lengths[1], strict=True)
            )
            free = [entry.name for entry in inputs if not rolling or entry.name in sources]
            model = _export(written, inputs, counts, example, dynamo=dynamo, free=free)
            model, loops = rolled(model, inputs, sources) if rolling else (model, 0)
        except Exception as cause:  # noqa: BLE001 - the exporter raises whatever it likes; the reason is told
            reasons.append(f"{told}: {_reason(cause)[:TOLD]}")
            continue
        reason = _differs(model, inputs, single, lengths)
        if reason is None:
            steps = ", ".join("/".join(map(str, sorted({*each}))) for each in lengths)
            again = f" and {loops} loops over time rolled again" if rolling else ""
            found = model, f"exported by torch.onnx with {told}{again}, equal at {steps} steps"
            if dynamo or rolling or recurrent or not _attends(model):
                return found
            attending = found
            continue
        reasons.append(f"{told}: {reason}")
    if attending is not None:
        return attending
    raise ExportError(f"{origin}: PyTorch could not export it with a free time axis ({'; '.join(reasons)}).")


def exported_fixed(
    module: torch.nn.Module, inputs: tuple[Input, ...], single: Run, length: int, origin: str
) -> tuple[onnx.ModelProto, str]:
    """Return the ONNX graph of a module that runs at one length alone, proven there. Its input says time is free."""
    reasons = []
    for dynamo in (False, True):
        told = f"dynamo={dynamo}"
        try:
            model = _export(written_out(module), inputs, (), (length,) * len(inputs), dynamo=dynamo, free=[])
        except Exception as cause:  # noqa: BLE001 - as above
            reasons.append(f"{told}: {_reason(cause)[:TOLD]}")
            continue
        for entry in inputs:
            fix_shape(model, entry.name, entry.shape)
        reason = _differs(model, inputs, single, [(length,) * len(inputs)])
        if reason is None:
            return model, f"exported by torch.onnx with {told}, equal at {length} steps, the only length it runs at"
        reasons.append(f"{told}: {reason}")
    raise ExportError(f"{origin}: PyTorch could not export it at {length} steps ({'; '.join(reasons)}).")


def _attends(model: onnx.ModelProto) -> bool:
    """Return whether there is attention in an export: there the newer exporter keeps closer to what was written."""
    return any(node.op_type == "Softmax" for node in model.graph.node)


def _differs(
    model: onnx.ModelProto, inputs: tuple[Input, ...], single: Run, lengths: Items[tuple[int, ...]]
) -> str | None:
    """Run the export beside the module at several lengths; return how they differ, or None."""
    try:
        runtime = session(model)
    except ExportError as cause:
        return str(cause)
    for each in lengths:
        x = [entry.noise(length, place) for place, (entry, length) in enumerate(zip(inputs, each, strict=True))]
        expected = single(x)
        try:
            given = runtime.run(None, {entry.name: array for entry, array in zip(inputs, x, strict=True)})
        except Exception as cause:  # noqa: BLE001 - a frozen time axis shows as any kind of failure
            return f"the export does not run at {each[0]} steps ({first_line(cause)})"
        # Float32 sums taken in another order differ in their last bits; a frozen or wrong export differs grossly.
        for ours, theirs in zip(given, expected, strict=True):
            if ours.shape != theirs.shape or not np.allclose(ours, theirs, rtol=1e-3, atol=1e-4):
                return f"the export differs from the module at {each[0]} steps"
    return None


def _export(
    module: torch.nn.Module,
    inputs: tuple[Input, ...],
    counts: Items[Lengths],
    lengths: tuple[int, ...],
    *,
    dynamo: bool,
    free: Items[str],
) -> onnx.ModelProto:
    frames = [entry.noise(length) for entry, length in zip(inputs, lengths, strict=True)]
    sample = tuple(torch.from_numpy(array) for array in inserted(frames, counts, lengths))
    entering = [entry.name for entry in inputs]
    for each in counts:
        entering.insert(each.place, each.name)
    names = ["time"] * len(inputs) if len(set(lengths)) == 1 else [entry.name for entry in inputs]
    with torch.no_grad(), as_written():
        count = len(tensors(module(*sample)))
    options: dict[str, Any] = {
        "input_names": entering,
        "output_names": ["output", *(f"output{number}" for number in range(1, count))],
        "opset_version": OPSET,
        "dynamo": dynamo,
    }
    timed = [pair for pair in zip(inputs, names, strict=True) if pair[0].name in free]
    if dynamo:
        options["opset_version"] = 18
    if timed and dynamo:
        times = {name: torch.export.Dim(f"{name}_length", min=2, max=1 << 20) for _, name in timed}
        axes = {entry.name: {entry.time_axis: times[name]} for entry, name in timed}
        options["dynamic_shapes"] = tuple(axes.get(name) for name in entering)
    elif timed:
        options["dynamic_axes"] = {entry.name: {entry.time_axis: f"{name}_length"} for entry, name in timed}
    with tempfile.TemporaryDirectory() as folder, _quiet(), as_written(), _masks_as_given():
        file = Path(folder) / "sequence.onnx"
        unpacking = Unpacking(module) if counts and not dynamo else None
        try:
            torch.onnx.export(unpacking or module, sample, str(file), **options)
        finally:
            if unpacking is not None:
                unpacking.remove()
        model = read(file)
    del model.graph.output[count:]
    for each in counts:
        derive(model, each, inputs[each.counts])
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


@contextlib.contextmanager
def _masks_as_given() -> Iterator[None]:
    """Let PyTorch's own Transformer apply masks without first looking whether they are causal.

    That look is a branch on data, which the newer exporter cannot follow; all that hangs on it is a quicker kernel.
    """
    layers: Any = torch.nn.modules.transformer
    detect = getattr(layers, "_detect_is_causal_mask", None)
    if detect is None:
        yield
        return
    layers._detect_is_causal_mask = lambda mask, is_causal=None, size=None: bool(is_causal)  # noqa: ARG005, SLF001
    try:
        yield
    finally:
        layers._detect_is_causal_mask = detect  # noqa: SLF001


def _reason(cause: BaseException) -> str:
    """Return the first line of what an exporter stumbled over; the outer errors only say at which of its steps."""
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return first_line(cause)


def tensors(output: object) -> list[torch.Tensor]:
    """Return all tensors of a module's output in the order in which the exporters name them."""
    if isinstance(output, torch.Tensor):
        return [output]
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]
