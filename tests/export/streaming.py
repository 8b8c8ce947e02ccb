"""Runs a rewritten step as a device does and holds it against the original: chunks, flush and reset included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgeseq import backends
from edgeseq.types import StepModel
from export import choices, reference
from export.frontends import Sequence, load
from export.frontends import torch as frontend
from export.graph import StreamGraph
from export.variants import Maker, describe


def opened(source: Any) -> Sequence:
    """Load an ONNX file, or a PyTorch (module, example); what is loaded stays as it is."""
    if isinstance(source, Sequence):
        return source
    if isinstance(source, tuple):
        return frontend.from_module(source[0].eval(), source[1], "model", "")
    return load(str(source))


def stepping(stream: StreamGraph, folder: Path) -> StepModel:
    """Open the float step as a device would."""
    made = Maker(stream, []).make("float32")
    onnx.save(made.model, str(folder / made.file.path))
    return backends.open_file(folder / made.file.path, "ort", describe(stream), made.file)


def rewritten(source: Any, **options: Any) -> tuple[Sequence, StreamGraph]:
    """Rewrite to a step, the state carried on."""
    sequence = opened(source)
    return sequence, choices.Choice("carry").rewrite(sequence, **options)


def equals_the_original(
    source: Any, folder: Path, steps: int = 90, *, frames: NDArray[np.float32] | None = None, **options: Any
) -> tuple[Sequence, StreamGraph]:
    """Hold the step against the original in float64, from output 0 to what a flush gives."""
    sequence, stream = rewritten(source, **options)
    model = stepping(stream, folder)
    if frames is None:
        frames = np.random.default_rng(1).normal(size=(steps, sequence.features)).astype(np.float32)
    held, _ = reference.bounded(sequence, stream, frames)
    cuts = [1, 2, 9, 40, 41]
    given = np.concatenate([model.run(part) for part in np.split(frames, cuts)])
    assert np.isnan(given[: model.delay]).all()
    whole = np.concatenate([given, model.flush()])[model.delay :]
    # A head without a time axis gives one output after each step, from the first on that it has an entry for.
    newest = len(frames) // model.frames_per_step - model.delay - 1
    places = [0] if sequence.every_step else [0, 1, 2, min(19, newest), newest]
    for place in places:
        end = len(frames) if sequence.every_step else (place + model.delay + 1) * model.frames_per_step
        expected = held.outputs(frames[:end], held.double)
        found = whole[: len(expected)] if sequence.every_step else whole[place : place + 1]
        assert len(found) == len(expected)
        single = np.abs(held.outputs(frames[:end], held.single) - expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=max(1e-5 * expected.std(), 4 * single, 2e-6))
    model.reset()
    np.testing.assert_array_equal(model.run(frames), given)
    return sequence, stream
