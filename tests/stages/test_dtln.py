"""DTLN, noise suppression by somebody else (MIT), without a bundle: audio file in, audio file out.

Reference: the loop of the paper's authors (Westhausen & Meyer, "Dual-Signal Transformation LSTM Network for Real-Time
Noise Suppression", Interspeech 2020) written plainly here: shift the block by a hop, spectrum, masked magnitude with
the noisy phase, back, second model, overlap-add.
"""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import shared_files
import soundfile
from numpy.typing import NDArray

from edgeseq import cli
from edgeseq import config as configs
from edgeseq.models.chain import Chain

BLOCK, HOP = 512, 128
EXAMPLE = (Path(__file__).parents[2] / "configs" / "dtln.toml").read_text("utf-8")
EPS = float(np.finfo(np.float32).eps)


@pytest.fixture
def noisy(tmp_path: Path) -> NDArray[np.float32]:
    """Write noisy.wav, of no whole number of hops, and return it; the models lie beside it."""
    for path in shared_files.models("dtln").glob("model_*"):
        shutil.copy(path, tmp_path)
    samples = shared_files.noisy_speech()[:-57]
    soundfile.write(tmp_path / "noisy.wav", samples, shared_files.RATE_HZ, subtype="FLOAT")
    return samples


def configured(folder: Path, kind: str, quantized: str = "") -> Path:
    """Write configs/dtln.toml beside the models, with files of this kind."""
    text = EXAMPLE if kind == "onnx" else EXAMPLE.replace('"onnx"', '"tflite"').replace(".onnx", ".tflite")
    # TFLite names its inputs as the ONNX files do; outputs are not named in the configuration.
    text = re.sub(r'file = ".*model_(.)', rf'file = "model_{quantized}\1', text)
    path = folder / f"dtln-{kind}{quantized}.toml"
    path.write_text(text.replace(re.search(r'path = ".*"', text)[0], 'path = "noisy.wav"'))  # type: ignore[index]
    return path


def chain(config: Path) -> Chain:
    found = configs.load(config).trained
    assert not isinstance(found, configs.Bundle)
    return found.chain


def session(path: Path) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(str(path), options)


def reference(folder: Path, samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the authors' loop over the samples and three hops of zeros, its lag of three hops cut off."""
    one, two = session(folder / "model_1.onnx"), session(folder / "model_2.onnx")
    state_1 = state_2 = np.zeros((1, 2, 128, 2), np.float32)
    block, total, out = np.zeros(BLOCK, np.float32), np.zeros(BLOCK, np.float32), []
    hops = -(-len(samples) // HOP) + 3
    padded = np.concatenate([samples, np.zeros(hops * HOP - len(samples), np.float32)])
    for hop in padded.reshape(-1, HOP):
        block = np.concatenate([block[HOP:], hop])
        spectrum = np.fft.rfft(block)
        magnitude, phase = np.abs(spectrum), np.angle(spectrum)
        frame = magnitude.reshape(1, 1, -1).astype(np.float32)
        mask, state_1 = one.run(None, {"input_2": frame, "input_3": state_1})
        estimate = np.fft.irfft(magnitude * mask.ravel() * np.exp(1j * phase))
        clean, state_2 = two.run(None, {"input_4": estimate.reshape(1, 1, -1).astype(np.float32), "input_5": state_2})
        total = np.concatenate([total[HOP:], np.zeros(HOP, np.float32)]) + clean.ravel()
        out.append(total[:HOP])
    return np.concatenate(out)[BLOCK - HOP :][: len(samples)]


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_file_in_file_out_equals_the_reference(
    tmp_path: Path, noisy: NDArray[np.float32], kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(tmp_path, kind)
    assert cli.main(["check", str(config)]) == 0
    said = capsys.readouterr().out
    assert "state input_3 from" in said
    assert "the only pairing" in said
    clean = tmp_path / "clean.wav"
    assert cli.main(["replay", str(config), "--input", str(tmp_path / "noisy.wav"), "--output", str(clean)]) == 0
    got, rate = soundfile.read(clean, dtype="float32")
    assert (rate, len(got)) == (shared_files.RATE_HZ, len(noisy)), "sample for sample in line"
    np.testing.assert_allclose(got, reference(tmp_path, noisy), rtol=0, atol=1e-5)
    assert 0.01 < np.std(got) < np.std(noisy), "noise went, speech stayed"


def test_onnx_and_tflite_agree(tmp_path: Path, noisy: NDArray[np.float32]) -> None:
    """Signals agree to a few units of float32 at full scale. The states hold cells of LSTMs, sums without bound (over
    1,000 here), so they agree relative to their size: over n steps, rounding each sum half a unit apart walks to
    sqrt(n) / 2 units, and gates that two engines approximate differently add a few more; both engines do so.
    """
    one, two = (chain(configured(tmp_path, kind)) for kind in ("onnx", "tflite"))
    x = noisy[:, None]
    y, z = one.run(x)[3:], two.run(x)[3:]
    # Four blocks are added up, by two engines, each within two units of the exact value: 5e-7 to 1e-6 were seen.
    assert np.abs(y - z).max() <= 16 * EPS * max(1.0, float(np.abs(y).max()))
    kept, other = one.get_state(), two.get_state()
    assert kept.keys() == other.keys()
    limit = 2 * (np.sqrt(float(kept["steps"])) / 2 + 4) * EPS
    for name, value in kept.items():
        size = max(1.0, float(np.abs(value.astype(np.float64)).max()))
        assert np.abs(value.astype(np.float64) - other[name].astype(np.float64)).max() <= limit * size, name


@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_any_split_and_a_restart_give_the_same_bits(tmp_path: Path, noisy: NDArray[np.float32], kind: str) -> None:
    model = chain(configured(tmp_path, kind))
    x = noisy[: 2 * shared_files.RATE_HZ + 31, None]
    whole = np.concatenate([model.run(x), model.flush()])
    rng = np.random.default_rng(3)
    for _ in range(3):
        part, rows, start = model.fork(), [], 0
        while start < len(x):
            stop = start + int(rng.integers(1, 900))
            rows.append(part.run(x[start:stop]))
            kept, part = part.get_state(), model.fork()
            part.set_state(kept)
            start = stop
        np.testing.assert_array_equal(np.concatenate([*rows, part.flush()]), whole)


def test_the_quantized_files_run_too(tmp_path: Path, noisy: NDArray[np.float32]) -> None:
    x = noisy[:, None]
    plain, quantized = (chain(configured(tmp_path, "tflite", which)).run(x)[3:] for which in ("", "quant_"))
    error = np.mean(np.square(plain - quantized)) / np.mean(np.square(plain))
    assert 0 < error < 0.1, "published: 0.63 dB lost; it is the same signal, not the same numbers"
