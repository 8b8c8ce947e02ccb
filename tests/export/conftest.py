from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import models

import export
from edgeseq.bundle import Bundle


@pytest.fixture(scope="session")
def gru_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small GRU in all variants, calibrated on slow walks."""
    output = tmp_path_factory.mktemp("bundles") / "gru"
    return export.export((models.gru(), models.example()), output, calibration=models.walks())
