"""What torchaudio (Kaldi's dialect) and TensorFlow give in float64: recorded once, as neither is fit for every machine.

    pip install --no-deps torchaudio==2.11.1; python tests/features/mel_goldens.py kaldi
    pip install tensorflow-cpu==2.21.0;       python tests/features/mel_goldens.py tensorflow

each write their part of mel_goldens.npz anew: torchaudio needs the PyTorch that the tests have, TensorFlow is 1.5 GB.
"""

from __future__ import annotations

import importlib
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FILE = Path(__file__).with_suffix(".npz")
WINDOW, HOP = 400, 160
SAMPLES = 4000


@dataclass(frozen=True)
class Case:
    """A signal of SIGNALS and how it is treated. given: parameters of log_mel, or of mfcc where it has coefficients."""

    signal: str
    rate_hz: int = 16_000
    window: int = WINDOW
    given: dict[str, Any] = field(default_factory=lambda: {"bands": 40})

    @property
    def parameters(self) -> dict[str, Any]:
        """What the feature takes but for its dialect."""
        return {"window": self.window / self.rate_hz, "hop": HOP / self.rate_hz, **self.given}


KALDI = {
    **{f"{signal}, 40 bands": Case(signal) for signal in ("sweep", "tone", "noise", "steps", "speech")},
    "as 16 bits": Case("speech", given={"bands": 80, "gain": 32768.0}),
    "a tone as 16 bits": Case("tone", given={"bands": 23, "gain": 32768.0}),
    "8 kHz": Case("sweep", 8000, 200, {"bands": 23, "low_hz": 0.0, "high_hz": 3600.0}),
    "few bands": Case("noise", given={"bands": 7, "low_hz": 300.0, "high_hz": 7900.0}),
    "mfcc": Case("speech", given={"bands": 23, "coefficients": 13, "gain": 32768.0}),
    "mfcc of a tone": Case("tone", given={"bands": 23, "coefficients": 13}),
    "mfcc without energy": Case("sweep", given={"bands": 40, "coefficients": 40, "energy": False}),
    "mfcc, another lifter": Case("steps", given={"bands": 23, "coefficients": 20, "lifter": 35.5}),
    "mfcc, no lifter": Case("noise", given={"bands": 23, "coefficients": 23, "lifter": 0.0}),
}
TENSORFLOW = {
    **{f"{signal}, 40 bands": Case(signal) for signal in ("sweep", "tone", "noise", "steps", "speech")},
    "an odd window": Case("speech", window=399, given={"bands": 64, "low_hz": 60.0, "high_hz": 7600.0}),
    "8 kHz": Case("sweep", 8000, 256, {"bands": 20}),
    "mfcc": Case("speech", given={"bands": 40, "coefficients": 13}),
    "mfcc of a tone": Case("tone", given={"bands": 80, "coefficients": 80}),
}
CASES = {"kaldi": KALDI, "tensorflow": TENSORFLOW}


def signals() -> dict[str, NDArray[np.float32]]:
    """Return float32[SAMPLES] each, within ±1: what has bands 100 dB below its loudest, silence, an offset, speech."""
    import soundfile  # noqa: PLC0415 - to record alone
    from sounds import sweep  # noqa: PLC0415

    rng = np.random.default_rng(0)
    steps = np.zeros(SAMPLES)
    steps[1000], steps[1600:2600], steps[2600:] = 1, rng.normal(0, 0.1, 1000) + 0.5, -0.25
    tone = 0.9 * np.sin(2 * np.pi * np.arange(SAMPLES) / 16) + rng.normal(0, 1e-5, SAMPLES)
    track = Path(__file__).parents[2] / "zoo/keyword/sample/track.flac"
    heard = soundfile.read(track, dtype="float32")[0]
    loudest = int(np.abs(heard).argmax()) - SAMPLES // 2
    found = {
        "sweep": sweep(SAMPLES / 16_000), "tone": tone, "noise": rng.normal(0, 0.1, SAMPLES), "steps": steps,
        "speech": heard[loudest : loudest + SAMPLES],
    }  # fmt: skip
    return {name: x.astype(np.float32) for name, x in found.items()}


def recorded(dialect: str, name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return a case's signal and float64[frames, width], what the library gave."""
    with np.load(FILE) as file:
        return file[f"signal.{CASES[dialect][name].signal}"], file[f"{dialect}.{name}"]


def kaldi(x: NDArray[np.float64], case: Case) -> NDArray[np.float64]:
    """Return what torchaudio.compliance.kaldi gives, every step of it in float64."""
    # Its parts in C++, which stand for CUDA in some wheels, take no part in this; without them the rest loads.
    stub = types.ModuleType("torchaudio._extension")
    stub.__dict__.update(_IS_TORCHAUDIO_EXT_AVAILABLE=False, fail_if_no_align=lambda function: function)
    sys.modules.setdefault("torchaudio._extension", stub)
    torch, library = importlib.import_module("torch"), importlib.import_module("torchaudio.compliance.kaldi")
    torch.set_default_dtype(torch.float64)  # of what it makes by itself: mel bands, cosines
    names = {"bands": "num_mel_bins", "low_hz": "low_freq", "high_hz": "high_freq", "coefficients": "num_ceps",
             "energy": "use_energy", "lifter": "cepstral_lifter"}  # fmt: skip
    keys = {names[key]: value for key, value in case.given.items() if key in names}
    if "num_ceps" in keys:
        keys.setdefault("use_energy", True)  # Kaldi's own default
    call = library.mfcc if "num_ceps" in keys else library.fbank
    waveform = torch.from_numpy(x * case.given.get("gain", 1.0))[None]
    times = {"frame_length": 1e3 * case.window / case.rate_hz, "frame_shift": 1e3 * HOP / case.rate_hz}
    found = call(waveform, sample_frequency=float(case.rate_hz), dither=0.0, energy_floor=0.0, **times, **keys)
    return np.asarray(found)


def tensorflow(x: NDArray[np.float64], case: Case) -> NDArray[np.float64]:
    """Return what the guide to tf.signal computes, in float64."""
    tf = importlib.import_module("tensorflow")
    spectrum = tf.abs(tf.signal.stft(tf.constant(x), case.window, HOP))
    low, high = case.given.get("low_hz", 125.0), case.given.get("high_hz", 3800.0)
    weights = tf.signal.linear_to_mel_weight_matrix(
        case.given["bands"], spectrum.shape[-1], case.rate_hz, low, high, tf.float64
    )
    mel = tf.math.log(tf.tensordot(spectrum, weights, 1) + 1e-6)
    if "coefficients" in case.given:
        mel = tf.signal.mfccs_from_log_mel_spectrograms(mel)[..., : case.given["coefficients"]]
    return np.asarray(mel)


def main() -> None:
    """Record one library's part."""
    dialect = sys.argv[1]
    call = {"kaldi": kaldi, "tensorflow": tensorflow}[dialect]
    if FILE.exists():
        with np.load(FILE) as file:
            arrays: dict[str, Any] = {name: file[name] for name in file.files if not name.startswith(dialect)}
    else:
        arrays = {f"signal.{name}": x for name, x in signals().items()}
    for name, case in CASES[dialect].items():
        found = call(arrays[f"signal.{case.signal}"].astype(np.float64), case)
        assert found.dtype == np.float64, name
        arrays[f"{dialect}.{name}"] = found
    np.savez_compressed(FILE, **arrays)


if __name__ == "__main__":
    main()
