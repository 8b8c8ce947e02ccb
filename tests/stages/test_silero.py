"""silero-vad (MIT) from its wheel, without a bundle: the step with overlap against the same model's sequence form."""

import shutil
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import shared_files
import soundfile

from edgeseq import cli
from edgeseq import config as configs

EXAMPLE = (Path(__file__).parents[2] / "configs" / "silero.toml").read_text("utf-8")
HOP, PAST = 512, 64


def test_the_step_equals_the_sequence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_files.silero()
    samples = shared_files.noisy_speech()
    soundfile.write(tmp_path / "speech.wav", samples, shared_files.RATE_HZ, subtype="FLOAT")
    shutil.copy(folder / "silero_vad.onnx", tmp_path)
    (tmp_path / "silero.toml").write_text(EXAMPLE)
    assert cli.main(["check", str(tmp_path / "silero.toml")]) == 0
    said = capsys.readouterr().out
    assert "state state from stateN (the only pairing that shapes and types allow)" in said
    assert "sr held at 16000" in said
    trained = configs.load(tmp_path / "silero.toml").trained
    assert not isinstance(trained, configs.Bundle)
    got = trained.chain.run(samples[:, None])[:, 0]

    count = len(samples) // HOP
    padded = np.concatenate([np.zeros(PAST, np.float32), samples])
    windows = np.stack([padded[i * HOP : i * HOP + HOP + PAST] for i in range(count)])
    options = ort.SessionOptions()
    options.log_severity_level = 4
    sequence = ort.InferenceSession(str(folder / "silero_vad_16k_sequence.onnx"), options)
    zero = np.zeros((1, 1, 128), np.float32)
    expected = sequence.run(["speech_probs"], {"input": windows, "h": zero, "c": zero})[0]
    assert len(got) == count
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)
    assert expected.max() > 0.9, "there is speech in it"
    assert expected.min() < 0.1
