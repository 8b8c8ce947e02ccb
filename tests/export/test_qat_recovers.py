"""What fine-tuning recovers of what calibration alone loses, measured on exported steps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import models
import numpy as np
import pytest
import qat_models
import torch
import torch.nn.functional as F  # noqa: N812 - its usual name
from torch import nn

import edgeseq
import export
from export import parity, qat

pytestmark = pytest.mark.long


class Causal(nn.Module):
    """Two causal convolutions over time with a relu between; channels that differ widely in size."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(7)
        self.first, self.second = nn.Conv1d(2, 12, 3), nn.Conv1d(12, 1, 3, dilation=2)
        scale = 10 ** torch.empty(12).uniform_(-1.5, 1.5)
        with torch.no_grad():
            self.first.weight *= scale[:, None, None]
            self.first.bias *= scale  # type: ignore[operator, misc]
            self.second.weight /= scale[:, None]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.first(F.pad(x.transpose(1, 2), (2, 0))))
        return self.second(F.pad(y, (4, 0))).transpose(1, 2)


def distance(found: np.ndarray, wanted: np.ndarray) -> float:
    """Root of the mean square, as a share of the wanted outputs' standard deviation."""
    return float(np.sqrt(np.mean(np.square(found - wanted))) / wanted.std())


def outputs(module: nn.Module, frames: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return np.asarray(module(torch.from_numpy(frames)).numpy())


def int8(module: nn.Module, frames: list[np.ndarray], unseen: np.ndarray, output: Path) -> np.ndarray:
    """Export, and run the int8 step freely over each of the sequences."""
    source = module, torch.zeros(1, 20, unseen.shape[-1])
    bundle = export.export(source, output, calibration=frames, variants=("float32", "int8"))
    step = edgeseq.load(bundle, backend="ort", variant="int8")
    rows = []
    for sequence in unseen:
        step.reset()
        rows.append(step.run(sequence))
    return np.stack(rows)


@pytest.mark.parametrize(("kind", "left"), [("gru", 0.8), ("lstm", 0.6)])
def test_int8_comes_nearer_to_the_float_model(
    kind: str, left: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured on the exported int8 steps, running freely over sequences that neither training nor calibration saw."""
    monkeypatch.setitem(parity.QUANTIZED_BOUNDS, "int8", 1.0)  # without fine-tuning the export refuses to write it
    module = qat_models.trained(kind)
    frames, unseen = list(qat_models.leaky(16, 200, 1)[0]), qat_models.leaky(8, 400, 2)[0]
    wanted = outputs(module, unseen)

    before = distance(int8(module, frames, unseen, tmp_path / "before"), wanted)
    assert before > 0.1
    qat.finetune(module, frames, steps=200, rate=7e-3, window=30)
    assert distance(int8(module, frames, unseen, tmp_path / "after"), wanted) < left * before


@pytest.mark.parametrize(("variant", "left"), [("int8", 0.75), ("w8a16", 0.9)])
def test_convolutions_come_nearer_to_the_float_model(variant: Any, left: float) -> None:
    """Measured as they compute in training, on sequences that it did not see."""
    module = Causal()
    frames, unseen = list(qat_models.leaky(8, 200, 1)[0]), qat_models.leaky(8, 400, 2)[0]
    wanted = outputs(module, unseen)
    with qat.prepared(copy.deepcopy(module), frames, variant=variant) as rounded:
        before = distance(outputs(rounded, unseen), wanted)
    qat.finetune(module, frames, variant=variant, steps=200, rate=2e-2)
    with qat.prepared(module, frames, variant=variant):
        after = distance(outputs(module, unseen), wanted)
    assert after < left * before


def test_weights_alone_in_8_bits_lose_nothing_more(tmp_path: Path) -> None:
    module = models.gru()
    qat.finetune(module, models.walks(2, 60), steps=3)
    bundle = export.export((module, models.example()), tmp_path / "b", variants=("float32", "w8"))
    entry = next(entry for entry in bundle.manifest.parity if entry.variant == "w8")
    assert entry.rms_err < 1e-3 * entry.tolerance


def test_a_module_computes_in_training_as_its_export_will(tmp_path: Path) -> None:
    torch.manual_seed(1)
    module = models.Recurrent("lstm", 1, 24, norm=False, residual=False, last=False).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(1.3)
    frames, unseen = models.walks(), np.stack(models.walks(seed=9))
    with qat.prepared(module, frames):
        rounded = outputs(module, unseen)
    found = int8(module, frames, unseen, tmp_path / "b")
    assert distance(found, outputs(module, unseen)) > 0.04  # the walks go beyond what was calibrated on
    assert distance(found, rounded) < 0.02
