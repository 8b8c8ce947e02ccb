"""Features of sound at 16 kHz, windows of 25 ms every 10: a hop a call, and an hour at once.

python -m benchmarks.features_audio
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks import command
from benchmarks.measure import Contender, agree, fastest, interleave
from benchmarks.peers import sound
from benchmarks.report import Report
from edgeseq.features.log_mel import LogMel
from edgeseq.features.mfcc import Mfcc
from edgeseq.features.micro_frontend import MicroFrontend
from edgeseq.types import Channel, Feature, Frames, StreamSpec

SPEC = StreamSpec((Channel("x"),), float(sound.RATE_HZ))
HOPS, HOUR = 200, 3600
HOUR_BLOCKS = 7
OURS, KALDI, LIBROSA, MICRO = "edgeseq", "kaldi-native-fbank", "librosa", "pymicro-features"
FRAMING: dict[str, Any] = {"window": sound.SIZE / sound.RATE_HZ, "hop": sound.HOP / sound.RATE_HZ, "bands": sound.BANDS}
AT_LIBROSAS: dict[str, Any] = {**FRAMING, "dialect": "librosa", "points": sound.POINTS}
AT_KALDIS: dict[str, Any] = {**FRAMING, "dialect": "kaldi"}
AGREES = 1e-4
"""Of the greatest number that is given: they compute in float32."""
LAST_BITS = 0.005
"""The same where they compute in integers, whose weights hang on the C library's logarithm in their last bits."""


def measure(options: command.Options) -> None:
    """Measure every feature and its peer in turn."""
    report = Report("features of sound", options.blocks, options.seed, options.cpu_time, unit="hop")
    x = noise(HOPS * sound.HOP, options.seed)
    cepstra: dict[str, Any] = {"coefficients": sound.COEFFICIENTS}
    cases: dict[str, tuple[str, float | None, list[Contender]]] = {
        "log-mel, Kaldi's": (KALDI, 10.0, [kaldi(x, cepstra=False), ours(LogMel(**AT_KALDIS), x)]),
        "log-mel, librosa's": (LIBROSA, 100.0, [librosa(x, sound.librosa_log_mel), ours(LogMel(**AT_LIBROSAS), x)]),
        "MFCC, Kaldi's": (KALDI, None, [kaldi(x, cepstra=True), ours(Mfcc(**AT_KALDIS, **cepstra), x)]),
        "MFCC, librosa's": (LIBROSA, None, [librosa(x, sound.librosa_mfcc), ours(Mfcc(**AT_LIBROSAS, **cepstra), x)]),
        "micro frontend": (MICRO, None, micro(x)),
    }
    for name, (peer, target, contenders) in cases.items():
        agree(contenders, (LAST_BITS if peer == MICRO else AGREES) * float(np.abs(contenders[0].outputs()).max()))
        report.measured[name] = interleave(contenders, options.blocks, options.seed, cpu_time=options.cpu_time)
        report.compare(name, OURS, (peer,), target)
    at_once = hour(options.seed)
    agree(at_once, AGREES * 100)
    report.measured["an hour at once"] = interleave(at_once, HOUR_BLOCKS, options.seed, cpu_time=options.cpu_time)
    report.compare("an hour at once", OURS, (LIBROSA,), 1.0)
    report.show(options.json)


def noise(samples: int, seed: int) -> Frames:
    """Return float32[samples] within ±1."""
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


def ours(feature: Feature, x: Frames) -> Contender:
    """Return a feature that is given a hop a call, as float32[samples, 1]."""
    feature.open(SPEC)
    t_ns = np.round(np.arange(sound.HOP) * 1e9 / sound.RATE_HZ).astype(np.int64)
    arguments: list[tuple[Any, ...]] = [(t_ns, part[:, None].copy()) for part in np.split(x, HOPS)]
    return Contender(OURS, lambda t, part: feature.push(t, part)[1], arguments, feature.reset)


def kaldi(x: Frames, *, cepstra: bool) -> Contender:
    """Return Kaldi's that is given a hop a call, in the form that it takes most quickly."""
    ways: list[Contender] = []
    for form, parts in (("list", [part.tolist() for part in np.split(x, HOPS)]), ("array", np.split(x, HOPS))):
        peer = sound.Kaldi(cepstra=cepstra)
        ways.append(Contender(KALDI, peer.push, [(part,) for part in parts], peer.reset, settings=form))
    return fastest(ways)


def librosa(x: Frames, call: Any) -> Contender:
    """Return librosa's, which has no stream: it is given the window of each hop anew."""
    margin = (sound.POINTS - sound.SIZE) // 2  # of the points without weight, for the last of which nobody waits
    starts, x = range(0, len(x) - margin - sound.SIZE + 1, sound.HOP), np.pad(x, (0, margin))
    return Contender(LIBROSA, call, [(x[k : k + sound.POINTS],) for k in starts], lambda: None)


def micro(x: Frames) -> list[Contender]:
    """Return the micro frontend's C code and ours, whose window is 30 ms; the C code's numbers are scaled."""
    whole = np.rint(x * 32768)
    peer, feature = sound.Micro(), MicroFrontend(**{**FRAMING, "window": 0.03}, gain=1.0)
    parts = [(part.astype(np.int16).tobytes(),) for part in np.split(whole, HOPS)]
    own = ours(feature, whole.astype(np.float32))
    return [
        Contender(MICRO, peer.push, parts, peer.reset),
        Contender(OURS, lambda t, part: own.call(t, part) * np.float32(0.0390625), own.arguments, own.reset),
    ]


def hour(seed: int) -> list[Contender]:
    """Return librosa and ours, which are given an hour in one call."""
    x = noise(HOUR * sound.RATE_HZ, seed)
    feature = LogMel(**AT_LIBROSAS)
    feature.open(SPEC)
    t_ns = np.arange(len(x), dtype=np.int64)
    hops = (len(x) - sound.POINTS) // sound.HOP + 1

    def at_once(t: Any, values: Frames) -> Frames:
        feature.reset()
        return feature.push(t, values)[1][:hops]

    return [
        Contender(LIBROSA, sound.librosa_log_mel, [(x,)], lambda: None, steps=hops),
        Contender(OURS, at_once, [(t_ns, x[:, None])], lambda: None, steps=hops),
    ]


if __name__ == "__main__":
    sys.exit(command.main(__doc__, measure))
