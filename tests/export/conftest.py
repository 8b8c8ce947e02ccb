from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import models

import export
from edgeseq.bundle import Bundle


@pytest.fixture(scope="session", autouse=True)
def operators_gathered_once() -> Iterator[None]:
    """Let PyTorch gather the ONNX forms of its operators once, not at each export, a fifth of whose time it takes."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry  # noqa: PLC0415 - it loads for a second

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(scope="session")
def gru_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A small GRU in all variants, calibrated on slow walks."""
    output = tmp_path_factory.mktemp("bundles") / "gru"
    return export.export((models.gru(), models.example()), output, calibration=models.walks())
