"""Every family in every variant on every backend: proven over 10,000 steps, near the reference, verified here."""

from __future__ import annotations

from pathlib import Path

import pytest
from families import ALL, FAMILIES

from edgeseq import bundle as bundles
from edgeseq.backends import FORMATS
from edgeseq.verification import verify

pytestmark = pytest.mark.long

SHARES = {"int8": 0.04, "w8a16": 0.01, "float16": 0.001, "w8": 0.04}
"""Of the output's standard deviation: the rms error that a variant may have."""
INTEGER = ("int8", "w8a16")


@pytest.mark.parametrize("family", FAMILIES)
def test_it_is_proven_in_every_variant_on_every_backend(family: str, cases: Path) -> None:
    parity = bundles.read(cases / family).manifest.parity
    assert {(entry.variant, entry.backend) for entry in parity} == {
        (variant, backend) for variant in ALL for backend in FORMATS
    }
    # int8 of ONNX Runtime says what a share of 1 is; the output that is named may be another in each entry.
    known = next(entry for entry in parity if (entry.variant, entry.backend) == ("int8", "ort"))
    spreads = [tolerance / SHARES["int8"] for tolerance in known.tolerances or (known.tolerance,)]
    for entry in parity:
        assert entry.passed
        assert entry.steps >= 10_000
        if entry.variant in SHARES:
            assert (entry.metric, entry.rms_err <= entry.tolerance) == ("rms", True)
            allowed = [SHARES[entry.variant] * spread for spread in spreads]
            assert list(entry.tolerances or (entry.tolerance,)) == pytest.approx(allowed)


@pytest.mark.parametrize("family", FAMILIES)
def test_it_computes_here_what_was_trained_and_native_what_the_reference_does(family: str, cases: Path) -> None:
    bundle = bundles.read(cases / family)
    exact = {(entry.variant, entry.backend) for entry in bundle.manifest.parity if entry.exact}
    assert all(backend == "native" for _, backend in exact)
    for verdict in verify.verify(bundle):
        assert verdict.passed, verdict
        assert (verdict.reference_rms_err is not None) == (verdict.variant in INTEGER)
        if (verdict.variant, verdict.backend) in exact:
            assert verdict.reference_rms_err == 0


def test_half_of_the_families_are_the_references_integers_to_the_bit(cases: Path) -> None:
    """In the others a softmax, a norm or another function in float32 stands between the integers."""
    found = {
        family: {e.variant for e in bundles.read(cases / family).manifest.parity if e.exact} for family in FAMILIES
    }
    assert sum(variants == {*INTEGER} for variants in found.values()) >= len(FAMILIES) / 2
