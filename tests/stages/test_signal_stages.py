"""Into the spectrum and back, against plain formulas; and the signal in line with what came in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from small_chains import chain, signal

from edgeseq.stages.istft import Istft
from edgeseq.stages.mask import Mask
from edgeseq.stages.overlap_add import OverlapAdd
from edgeseq.stages.stft import Stft

BACK = """
[[model]]
type = "stft"
block = {block}
hop = {hop}
window = "sqrt_hann"
[[model]]
type = "istft"
inputs = {inputs}
window = "sqrt_hann"
[[model]]
type = "overlap_add"
gain = {gain}
"""
WHOLE = '{ spectrum = "stft.spectrum" }'
PARTS = '{ magnitude = "stft.magnitude", phase = "stft.phase" }'


@pytest.mark.parametrize("inputs", [WHOLE, PARTS])
@pytest.mark.parametrize(("block", "hop", "gain"), [(64, 32, 1.0), (64, 16, 0.5)])
@pytest.mark.parametrize("count", [5, 32, 320, 333])
def test_there_and_back_is_the_signal_in_its_place(
    tmp_path: Path, inputs: str, *, block: int, hop: int, gain: float, count: int
) -> None:
    model, x = chain(tmp_path, BACK.format(block=block, hop=hop, gain=gain, inputs=inputs)), signal(count)
    rows = np.concatenate([model.run(x), model.flush()])
    assert np.isnan(rows[: model.delay]).all() or count < block
    y = rows[len(rows) - (count + hop - 1) // hop :].ravel()
    assert np.isnan(y[count:]).all(), "beyond the end there is nothing"
    np.testing.assert_allclose(y[:count], x.ravel(), atol=2e-6)


def test_stft_against_the_formula() -> None:
    stage, block, hop = Stft(block=12, window="hann"), 12, 5
    assert stage.open({"": (hop, 1)}, hop)["spectrum"] == (1, 7, 2)
    x, state = signal(hop * 6).ravel(), stage.initial()
    padded = np.concatenate([np.zeros(block - hop), x])
    window = [0.5 - 0.5 * np.cos(2 * np.pi * i / block) for i in range(block)]
    for step in range(6):
        out, state = stage.step({"": x[step * hop : (step + 1) * hop, None]}, state)
        frame = padded[step * hop : step * hop + block] * window
        bins = [sum(frame[n] * np.exp(-2j * np.pi * k * n / block) for n in range(block)) for k in range(7)]
        np.testing.assert_allclose(out["spectrum"][0, :, 0] + 1j * out["spectrum"][0, :, 1], bins, atol=1e-6)
        np.testing.assert_allclose(out["magnitude"][0], np.abs(bins), atol=1e-6)
        np.testing.assert_allclose(out["magnitude"] * np.exp(1j * out["phase"]), [bins], atol=1e-6)


@pytest.mark.parametrize("swapped", [True, False])
def test_a_complex_mask(*, swapped: bool) -> None:
    rng = np.random.default_rng(1)
    mask, of = rng.normal(size=(2, 1, 9, 2)).astype(np.float32)
    given: Any = mask.transpose(0, 2, 1) if swapped else mask
    stage = Mask()
    stage.open({"mask": given.shape, "of": of.shape}, 4)
    out, _ = stage.step({"mask": given, "of": of}, {})
    product = (mask[..., 0] + 1j * mask[..., 1]) * (of[..., 0] + 1j * of[..., 1])
    np.testing.assert_allclose(out["masked"][..., 0] + 1j * out["masked"][..., 1], product, rtol=1e-5, atol=1e-6)


def test_a_real_mask_on_magnitude_and_spectrum() -> None:
    rng = np.random.default_rng(2)
    mask, magnitude = rng.normal(size=(2, 1, 9)).astype(np.float32)
    for of in (magnitude, np.stack([magnitude, magnitude], axis=-1)):
        stage = Mask()
        assert stage.open({"mask": mask.shape, "of": of.shape}, 4) == {"masked": of.shape}
        out, _ = stage.step({"mask": mask, "of": of}, {})
        np.testing.assert_array_equal(out["masked"], of * (mask if of.ndim == 2 else mask[..., None]))


def test_a_spectrum_that_stands_the_other_way() -> None:
    spectrum = np.random.default_rng(3).normal(size=(1, 9, 2)).astype(np.float32)
    plain, turned = Istft(), Istft()
    plain.open({"": (1, 9, 2)}, 4)
    turned.open({"": (1, 2, 9)}, 4)
    one, _ = plain.step({"": spectrum}, {})
    two, _ = turned.step({"": spectrum.transpose(0, 2, 1)}, {})
    np.testing.assert_array_equal(one["block"], two["block"])


def test_overlap_add_by_hand() -> None:
    stage = OverlapAdd(gain=2.0)
    assert stage.open({"": (1, 6)}, 2) == {"signal": (2, 1)}
    assert stage.delay == 2
    state, got = stage.initial(), []
    for step in range(4):
        out, state = stage.step({"": np.arange(6, dtype=np.float32)[None] + 10 * step}, state)
        got += out["signal"].ravel().tolist()
    # Sample i is the sum of the blocks over it: 0, 1 | 2+10, 3+11 | 4+12+20, 5+13+21 | 14+22+30, 15+23+31, doubled.
    assert got == [0, 2, 24, 28, 72, 78, 132, 138]


def test_rows_of_the_past_of_another_stage(tmp_path: Path) -> None:
    small_models.per_frame(tmp_path / "context.onnx", 1.0, [1, 3, 9])
    text = '[[model]]\ntype = "stft"\nblock = 16\nhop = 4\n[[model]]\ntype = "onnx"\nfile = "context.onnx"\n'
    model = chain(tmp_path, text + 'inputs = { x = "stft.magnitude" }\noverlap = { x = 2 }\n')
    rows = model.run(signal(80)).reshape(-1, 3, 9)
    np.testing.assert_array_equal(rows[0, :2], 0)
    np.testing.assert_array_equal(rows[2:, 0], rows[:-2, 2])
    np.testing.assert_array_equal(rows[1:, 1], rows[:-1, 2])
