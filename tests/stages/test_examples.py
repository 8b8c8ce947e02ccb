"""The example configurations for models by others, on stand-ins with the inputs of the real files."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import small_models
import soundfile

from edgeseq import cli

CONFIGS = Path(__file__).parents[2] / "configs"


def test_dtln(tmp_path: Path) -> None:
    shutil.copy(CONFIGS / "dtln.toml", tmp_path)
    small_models.stand_in(tmp_path / "model_1.onnx", "input_2", [1, 1, 257], "input_3", [1, 2, 128, 2])
    small_models.stand_in(tmp_path / "model_2.onnx", "input_4", [1, 1, 512], "input_5", [1, 2, 128, 2])
    rng = np.random.default_rng(0)
    samples = rng.normal(0, 0.1, 5000).astype(np.float32)
    soundfile.write(tmp_path / "noisy.wav", samples, 16000, subtype="FLOAT")
    assert cli.main(["check", str(tmp_path / "dtln.toml")]) == 0
    assert cli.main(["replay", str(tmp_path / "dtln.toml"), "--output", str(tmp_path / "clean.wav")]) == 0
    # Mask = magnitude / 2, block / 2: four blocks lie over each sample.
    padded, expected = np.concatenate([np.zeros(384), samples, np.zeros(512)]), np.zeros(5000 + 1024)
    for start in range(0, 5000 + 384, 128):
        bins = np.fft.rfft(padded[start : start + 512])
        expected[start : start + 512] += np.fft.irfft(bins * np.abs(bins) / 2) / 2
    clean = soundfile.read(tmp_path / "clean.wav")[0]
    np.testing.assert_allclose(clean, expected[384:5384], atol=1e-5)


def test_silero(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(CONFIGS / "silero.toml", tmp_path)
    small_models.stand_in(tmp_path / "silero_vad.onnx", "input", ["batch", "time"], "state", [2, "batch", 128], sr=True)
    soundfile.write(tmp_path / "speech.wav", np.full(2048, 1e-4), 16000, subtype="FLOAT")
    assert cli.main(["check", str(tmp_path / "silero.toml")]) == 0
    assert "state state from state_next (the only pairing" in capsys.readouterr().out
    assert cli.main(["replay", str(tmp_path / "silero.toml"), "--output", str(tmp_path / "speech.csv")]) == 0
    scores = [float(line.split(",")[-1]) for line in (tmp_path / "speech.csv").read_text().splitlines()[1:]]
    # The mean of 576 samples, of which the first window lacks 64.
    assert scores == pytest.approx([0.8 * 512 / 576, 0.8, 0.8, 0.8], rel=1e-5)
