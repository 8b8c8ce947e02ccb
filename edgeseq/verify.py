"""Replays a bundle's golden frames here and holds every variant on every backend against what export recorded."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends, encoder_decoder, goldens
from edgeseq.bundle import GOLDENS, STORAGE, Bundle, Graph, ParityTable
from edgeseq.encoder_decoder import EncoderDecoder
from edgeseq.errors import BundleError
from edgeseq.goldens import Goldens, PairGolden
from edgeseq.types import StepModel


@dataclass(frozen=True)
class Verdict:
    """How one variant on one backend did here. The fields are those of `edgeseq verify --json`."""

    variant: str
    backend: str
    steps: int
    max_abs_err: float
    rms_err: float
    metric: str
    tolerance: float
    reference_rms_err: float | None
    """Against the integer reference; None for float variants."""
    passed: bool


@dataclass(frozen=True)
class Worst:
    """The output whose error is the greatest share of its tolerance, and whether all outputs kept theirs."""

    output: int
    max_abs_err: float
    rms_err: float
    tolerance: float
    passed: bool


def worst(errors: NDArray[np.float64], metric: str, tolerances: NDArray[np.float64]) -> Worst:
    """Hold errors [steps, outputs] against each output's tolerance. An error that is NaN is beyond any tolerance."""
    greatest, rms = np.abs(errors).max(axis=0), np.sqrt(np.mean(np.square(errors), axis=0))
    judged = greatest if metric == "max" else rms
    within = judged <= tolerances
    share = np.where(within, judged, np.inf) / np.where(tolerances > 0, tolerances, 1.0)
    index = int(np.argmax(np.where(within, share, np.inf)))
    return Worst(index, float(greatest[index]), float(rms[index]), float(tolerances[index]), bool(within.all()))


def verify(bundle: Bundle) -> list[Verdict]:
    """Replay all variants and backends. Raises BundleError or ModelError for what cannot even be loaded."""
    load = encoder_decoder.load if bundle.encoder_decoder else backends.load
    return [judge(bundle, load(bundle, *choice)) for choice in backends.choices(bundle)]


def judge(bundle: Bundle, model: StepModel | EncoderDecoder) -> Verdict:
    """Replay the goldens on one of a bundle's models, from its reset. Raises BundleError or ModelError."""
    graph = bundle.graph("decoder" if bundle.encoder_decoder else "step")
    entry = _entry(bundle, graph, model.backend, model.variant)
    if isinstance(model, EncoderDecoder):
        return _judge_pair(model, goldens.read_pairs(bundle), entry)
    return _judge(model, goldens.read(bundle), entry)


def _judge(model: StepModel, goldens: Goldens, entry: ParityTable) -> Verdict:
    """Run the goldens through a model from its reset and compare with the original, and with the integer reference."""
    model.reset()
    # The first `delay` outputs do not exist yet; as many come when the sequence is flushed.
    given = np.concatenate([model.run(goldens.frames), model.flush()])[model.delay :].astype(np.float64)
    if goldens.outputs.shape[1] != given.shape[1] or goldens.at.max() >= len(given):
        raise BundleError(
            f"{GOLDENS} holds outputs of the shape {goldens.outputs.shape} up to step {goldens.at.max()}; "
            f"the model gives {given.shape}."
        )
    tolerances = np.broadcast_to(np.asarray(entry.tolerances or entry.tolerance, np.float64), given.shape[1:])
    found = worst(given[goldens.at] - goldens.outputs, entry.metric, tolerances)
    passed, against = found.passed, None
    if entry.variant not in ("float32", *STORAGE):
        reference = goldens.reference.get(model.variant)
        if reference is None or reference.shape != given.shape:
            raise BundleError(f"{GOLDENS} does not hold the reference's integers of {model.variant} at every step.")
        beside = worst(given - reference, "rms", tolerances)
        passed, against = passed and beside.passed, beside.rms_err
    return Verdict(
        model.variant, model.backend, len(goldens.frames), found.max_abs_err, found.rms_err, entry.metric,
        found.tolerance, against, passed,
    )  # fmt: skip


def _judge_pair(model: EncoderDecoder, pairs: list[PairGolden], entry: ParityTable) -> Verdict:
    """Compare given targets' outputs within the tolerance, and greedy tokens one by one.

    The tokens end where float32 cannot tell the best from the second; of rounded weights the same is not known.
    """
    errors, same = [], True
    for pair in pairs:
        given = model.logits(pair.source, pair.target)
        if given.shape != pair.outputs.shape:
            raise BundleError(
                f"{GOLDENS} holds outputs of the shape {pair.outputs.shape}; the model gives {given.shape}."
            )
        errors.append(given.astype(np.float64) - pair.outputs)
        if entry.metric == "max" and pair.greedy is not None and len(pair.greedy):
            tokens = model.generate(pair.source, max_length=len(pair.greedy)).tokens
            same = same and tokens == tuple(pair.greedy.tolist())
    tolerances = np.broadcast_to(np.asarray(entry.tolerances or entry.tolerance, np.float64), errors[0].shape[1:])
    found = worst(np.concatenate(errors), entry.metric, tolerances)
    return Verdict(
        model.variant, model.backend, sum(map(len, errors)), found.max_abs_err, found.rms_err, entry.metric,
        found.tolerance, None, found.passed and same,
    )  # fmt: skip


def _entry(bundle: Bundle, graph: Graph, backend: str, variant: str) -> ParityTable:
    for entry in bundle.manifest.parity:
        if (entry.backend, entry.variant) == (backend, variant):
            outputs = sum(math.prod(tensor.shape) for tensor in graph.outputs)
            if len(entry.tolerances) not in (0, outputs):
                raise BundleError(
                    f"{bundle.path}: {variant} has {len(entry.tolerances)} tolerances, not one an output."
                )
            return entry
    raise BundleError(f"{bundle.path}: export recorded no parity of {variant} on {backend}. Export it again.")
