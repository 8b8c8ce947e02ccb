"""Ranges are seen on all that was given to calibrate with: every sequence, and all of each."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import models
import numpy as np
import pytest
import torch
from lowered import stream_of
from torch import nn

import export
from export import beside, parity, variants
from export.quantize.calibrate import Batch
from export.quantize.types import HEADROOM
from export.variants import Maker


class Convolution(nn.Module):
    """Its memory is the last two frames: a ring, whose type is that of the frames."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv1d(models.FEATURES, 2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(nn.functional.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)


def source() -> tuple[nn.Module, torch.Tensor]:
    return Convolution().eval(), models.example()


@pytest.mark.parametrize("where", ["in a later sequence", "late in a long one"])
def test_what_was_seen_once_has_its_place(where: str, tmp_path: Path) -> None:
    if where == "in a later sequence":
        frames = models.walks(parity.SEGMENTS + 2, 1200)
        loud = frames[-1][600]
    else:
        frames = models.walks(1, 25_000)
        loud = frames[0][24_000]
    loud[0] = 50.0
    with mock.patch.dict(beside.WRITERS):
        beside.WRITERS.clear()
        bundle = export.export(source(), tmp_path / "b", calibration=frames, variants=["w8a16"])
    (state,) = bundle.manifest.files[0].states
    assert state.scale == pytest.approx(50.0 * HEADROOM["int16"].tensors / 32767)
    assert "ranges were seen on" not in bundle.manifest.origin.note


def test_of_more_than_can_be_looked_at_a_part_is_and_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MOST", 8)
    monkeypatch.setattr(variants, "FORGETFUL", 100)
    sequences = models.walks(20, 250)
    sequences[0][0, 0], sequences[-1][-1, 0] = 40.0, 60.0
    maker = Maker(stream_of(source()), sequences)
    program = maker.make("w8a16").program
    assert program is not None
    # 60 pieces, two of three of 100 frames; the first and the last are among those looked at.
    assert maker.notes == ["ranges were seen on 650 frames of 5,000"]
    kind = program.types[program.states[0].input]
    assert kind.scale == pytest.approx(60.0 * HEADROOM["int16"].tensors / 32767)


def test_pieces_are_whole_steps_and_what_begins_anew_has_none() -> None:
    long = np.arange(25, dtype=np.float32)[:, None]
    assert [len(part) for part in variants._pieces(Batch([long, long[:7]]), 10).sequences] == [10, 10, 5, 7]
    assert [len(part) for part in variants._pieces(Batch([long, long[:7]]), None).sequences] == [25, 7]
    assert [len(part) for part in variants._pieces(Batch([long, long[:7]], anew=True), 10).sequences] == [10, 7]
    held = variants._pieces(Batch([long], {"memory": np.zeros((1, 3), np.float32)}), 10)
    assert [len(part) for part in held.sequences] == [10]  # one, as there is one of what is held
