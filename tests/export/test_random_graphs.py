"""Random models of all families, written in ways nobody here has seen: the step is the model, however it is fed."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import onnx
import pytest
from random_graphs import FAMILIES, FEATURES, random_graph
from scramble import scrambled

import edgeseq
import export
from export.frontends import load
from export.frontends.sequence import Sequence
from export.graph import session

LENGTHS = (1, 2, 7, 101, 130)


@pytest.mark.parametrize("seed", models.seeds(8, range(4)))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_nobody_has_seen_streams(family: str, seed: int, tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(scrambled(random_graph(family, seed), seed), source)
    bundle = export.export(source, tmp_path / "b", variants=["float32"])
    limits = np.array(bundle.manifest.parity[0].tolerances)
    original = load(str(source))
    assert isinstance(original, Sequence)
    model = edgeseq.load(bundle)
    rng = np.random.default_rng(seed)
    for length in LENGTHS:
        x = rng.normal(size=(length, FEATURES)).astype(np.float32)
        cuts = np.sort(rng.integers(0, length + 1, 3))
        model.reset()  # in the middle of what was before
        rows = [model.run(part) for part in np.split(x, cuts)]
        given = np.concatenate([*rows, model.flush()])[model.delay :]
        try:
            expected = original.outputs(x, original.double)
        except export.ExportError:  # too short for the original: there is no output yet
            expected = np.empty((0, 2))
        assert given.shape == expected.shape
        errors = np.abs(given - expected)
        assert (errors <= limits).all(), errors.max(axis=0) / limits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_scrambling_changes_nothing(family: str, seed: int) -> None:
    model = random_graph(family, seed)
    other = scrambled(model, seed)
    x = np.random.default_rng(0).normal(size=(1, 60, FEATURES)).astype(np.float32)
    names = {value.name for node in other.graph.node for value in (*other.graph.input, *other.graph.output)}
    assert not names & {"x", "y"}
    expected = session(model).run(None, {"x": x})[0]
    given = session(other).run(None, {other.graph.input[0].name: x})[0]
    np.testing.assert_allclose(given, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
