"""Features of any signal and of text, a block of samples a call, against what people train with.

python -m benchmarks.features_general

Whoever keeps no state between blocks gets each block with the past it needs, as a device would have to give it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy import signal
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from benchmarks import command
from benchmarks.measure import Contender, agree, interleave
from benchmarks.report import Report
from edgeseq.features.byte_pairs import BytePairs
from edgeseq.features.ewma import Ewma
from edgeseq.features.resample import Resample, design
from edgeseq.features.window_quantiles import WindowQuantiles
from edgeseq.features.zscore import Zscore
from edgeseq.types import Channel, Feature, StreamSpec

OURS = "edgeseq"
RATE_HZ, CHANNELS, BLOCK, BLOCKS = 16000, 8, 1600, 4
WINDOW, QUANTILES = 400, [0.0, 0.25, 0.5, 0.75, 1.0]
Call = Callable[..., NDArray[Any]]


def measure(options: command.Options) -> None:
    """Measure a block of each feature."""
    report = Report("features: general", options.blocks, options.seed, options.cpu_time, unit="sample of all channels")
    for name, field in FIELDS.items():
        contenders = field()
        if name not in UNLIKE:
            agree(contenders)
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        report.compare(name, OURS, [each.name for each in contenders[1:]], None)
    for note in UNLIKE.values():
        report.note(note)
    report.show(options.json)


def samples() -> NDArray[np.float32]:
    """Return float32[BLOCKS + 1, BLOCK, CHANNELS]; the first block is everybody's past."""
    return np.random.default_rng(0).normal(size=(BLOCKS + 1, BLOCK, CHANNELS)).astype(np.float32)


def ours(feature: Feature, blocks: NDArray[np.float32], rate_hz: float = RATE_HZ) -> Contender:
    """Return one of ours, which knows the first block."""
    feature.open(StreamSpec(tuple(Channel(f"c{place}") for place in range(blocks.shape[2])), rate_hz))
    times = (np.arange(blocks.shape[1]) * (1e9 / rate_hz)).astype(np.int64)

    def reset() -> None:
        feature.reset()
        feature.push(times, blocks[0])

    def push(block: NDArray[np.float32]) -> NDArray[Any]:
        return feature.push(times, block)[1]

    return Contender(OURS, push, [(block,) for block in blocks[1:]], reset, blocks.shape[1])


def theirs(name: str, call: Call, blocks: Sequence[Any], reset: Callable[[], None] = lambda: None) -> Contender:
    """Return one of others."""
    return Contender(name, call, [(block,) for block in blocks], reset, BLOCK)


def with_past(blocks: NDArray[np.float32], past: int) -> list[NDArray[np.float64]]:
    """Return each block but the first with so many samples before it, in float64."""
    whole = np.concatenate(list(blocks)).astype(np.float64)
    return [whole[k * BLOCK - past : (k + 1) * BLOCK] for k in range(1, BLOCKS + 1)]


def ewma() -> list[Contender]:
    """Compare with SciPy's filter, which carries its state."""
    blocks = samples()
    alpha = -np.expm1(-1 / (0.1 * RATE_HZ))
    state: list[Any] = [None]

    def reset() -> None:
        first = blocks[0].astype(np.float64)
        state[0] = signal.lfilter([alpha], [1, alpha - 1], first, axis=0, zi=(1 - alpha) * first[:1])[1]

    def run(block: NDArray[np.float64]) -> NDArray[Any]:
        y, state[0] = signal.lfilter([alpha], [1, alpha - 1], block, axis=0, zi=state[0])
        return y  # type: ignore[no-any-return]

    wide = [block.astype(np.float64) for block in blocks[1:]]
    return [ours(Ewma(time_constant=0.1), blocks), theirs("scipy lfilter", run, wide, reset)]


def zscore() -> list[Contender]:
    """Compare with NumPy's mean and std of every window."""

    def run(x: NDArray[np.float64]) -> NDArray[Any]:
        windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)
        z: NDArray[Any] = (windows[..., -1] - windows.mean(axis=-1)) / windows.std(axis=-1)
        return z

    blocks = samples()
    return [ours(Zscore(window=WINDOW / RATE_HZ), blocks), theirs("numpy", run, with_past(blocks, WINDOW - 1))]


def quantiles(hop: int) -> list[Contender]:
    """Compare with NumPy's quantiles of every window."""

    def run(x: NDArray[np.float64]) -> NDArray[Any]:
        windows = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=0)[::hop]
        return np.quantile(windows, QUANTILES, axis=-1).transpose(1, 2, 0)

    blocks = samples()
    feature = WindowQuantiles(window=WINDOW / RATE_HZ, hop=hop / RATE_HZ, quantiles=QUANTILES)
    first = (WINDOW - 1) % hop + 1  # samples into a block, whose length is whole hops, its first window ends
    return [ours(feature, blocks), theirs("numpy", run, with_past(blocks, WINDOW - first))]


def resample(rate_hz: int, half_length: int, beta: float) -> list[Contender]:
    """Compare with a stream of soxr, and SciPy on whole blocks."""
    blocks = samples()
    feature = Resample(rate_hz=rate_hz, half_length=half_length, beta=beta)
    stream = soxr.ResampleStream(RATE_HZ, rate_hz, CHANNELS, dtype="float32", quality="HQ")
    common = int(np.gcd(RATE_HZ, rate_hz))
    up, down = rate_hz // common, RATE_HZ // common
    taps = design(up, down, half_length, beta) / up  # SciPy multiplies them by it
    poly = partial(signal.resample_poly, up=up, down=down, axis=0, window=taps)
    return [
        ours(feature, blocks),
        theirs("soxr HQ stream", stream.resample_chunk, list(blocks[1:]), stream.clear),
        theirs("scipy resample_poly", poly, [block.astype(np.float64) for block in blocks[1:]]),
    ]


def byte_pairs() -> list[Contender]:
    """Compare with the same tokenizer on the same blocks of text, which it takes for whole texts."""
    words = "the pump on line four has lost pressure again, and the alarm (code 1042) came at 03:15 in the night. "
    text = words * 200
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.json"
        path.write_text(json.dumps(json.loads(trained(text).to_str())), "utf-8")
        feature = BytePairs(tokenizer=path)
    whole = np.array([ord(each) for each in text[: (BLOCKS + 1) * BLOCK]], np.float32)
    blocks = whole.reshape(BLOCKS + 1, BLOCK, 1)
    pieces = [text[k * BLOCK : (k + 1) * BLOCK] for k in range(1, BLOCKS + 1)]
    tokenizer = trained(text)

    def run(piece: str) -> NDArray[Any]:
        return np.array(tokenizer.encode(piece).ids)

    return [ours(feature, blocks), theirs("tokenizers, whole blocks", run, pieces)]


def trained(text: str) -> Any:
    """Return a small tokenizer of bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\p{L}+| ?\p{N}{1,3}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text], trainer)
    return tokenizer


FIELDS: dict[str, Callable[[], list[Contender]]] = {
    "ewma": ewma,
    f"zscore, {WINDOW} samples": zscore,
    f"window_quantiles, {WINDOW} every 1": partial(quantiles, 1),
    f"window_quantiles, {WINDOW} every 160": partial(quantiles, 160),
    "resample to 8 kHz, defaults": partial(resample, 8000, 10, 5.0),
    "resample to 44.1 kHz, 64 and 12": partial(resample, 44100, 64, 12.0),
    "byte_pairs": byte_pairs,
}
UNLIKE = {
    "resample to 8 kHz, defaults": "resample: soxr's filter is another, and SciPy takes each block for a whole signal.",
    "resample to 44.1 kHz, 64 and 12": "resample: 64 and 12 is about what soxr's HQ does.",
    "byte_pairs": "byte_pairs: tokenizers is given whole blocks, and is wrong at their edges.",
}

if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
