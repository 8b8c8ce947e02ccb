"""Keras' own predictions against the graph read from its file, its reference in NumPy, and the exported stream."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from keras_models import frames, saved
from numpy.typing import NDArray

import edgeseq
import export
from export.frontends import keras as frontend
from export.frontends import keras_archive
from export.graph import session


def predicted(model: Any, x: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(model.predict(x[None], verbose=0))


def close(given: NDArray[np.floating], expected: NDArray[np.floating]) -> None:
    np.testing.assert_allclose(given, expected, rtol=0, atol=2e-5 * max(1.0, float(np.abs(expected).max())))


def equals_keras(model: Any, folder: Path, x: NDArray[Any] | None = None) -> frontend.Layers:
    """Hold graph and reference, in both float types, against Keras."""
    path = saved(model, folder)
    sequence = frontend.load(path, input_name=None, time_axis=None)
    x = (frames() if x is None else x)[None]
    expected = predicted(model, x[0])
    given = session(sequence.model).run(None, {sequence.inputs[0].name: x})[0]
    close(given, expected)
    double, single = sequence.double([x])[0], sequence.single([x])[0]
    assert (double.dtype, single.dtype) == (np.float64, np.float32)
    close(double, expected)
    close(single, expected)
    read = frontend.Layers(keras_archive.Archive(path))
    read.read()
    return read


def streams_as_keras(model: Any, folder: Path, x: NDArray[Any] | None = None, **options: Any) -> edgeseq.bundle.Graph:
    """Export, and hold every step (flushed ones included) against Keras over the whole sequence."""
    x = frames() if x is None else x
    expected = predicted(model, x)
    last = expected.ndim == 2
    path = saved(model, folder)
    bundle = export.export(
        path,
        folder / "b",
        calibration=[x.reshape(len(x), -1)],
        variants=["float32"],
        state="carry" if last or model.input_shape[1] else None,
        **options,
    )
    step = edgeseq.load(bundle)
    rows = x.reshape(len(x), -1)
    given = np.concatenate([step.run(part) for part in np.split(rows, [1, 2, 9, len(x) // 2])])
    if last:
        for length in (1, 17, len(x)):
            close(given[length - 1], predicted(model, x[:length])[0])
        return bundle.manifest.graphs[0]
    given = np.concatenate([given, step.flush()])[step.delay :]
    close(given[: len(expected[0])], expected[0])
    return bundle.manifest.graphs[0]
