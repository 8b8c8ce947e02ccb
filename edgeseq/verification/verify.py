"""Replays a bundle's goldens here and holds every variant on every backend, and its features, against the export's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeseq import backends, feature_tables
from edgeseq.bundle import GOLDENS, STORAGE, Bundle, Graph, ParityTable
from edgeseq.errors import BundleError
from edgeseq.models import encoder_decoder
from edgeseq.models.encoder_decoder import EncoderDecoder
from edgeseq.types import Frames, StepModel, TimesNs
from edgeseq.verification import feature_goldens, goldens
from edgeseq.verification.feature_goldens import Link
from edgeseq.verification.goldens import Goldens, PairGolden


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
    reason: str | None = None
    """Why it did not pass; None where it did."""


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
    """Replay all variants and backends, and the features where the bundle has goldens of them.

    Raises BundleError or ModelError for what cannot even be loaded.
    """
    load = encoder_decoder.load if bundle.encoder_decoder else backends.load
    models = [judge(bundle, load(bundle, *choice)) for choice in backends.choices(bundle)]
    return [*models, features(bundle)] if feature_goldens.there(bundle) else models


def features(bundle: Bundle) -> Verdict:
    """Replay the golden samples on the bundle's feature chain, and hold each link's frames against the export's.

    What is told is of the first link beyond its tolerance, else of the last. Raises BundleError.
    """
    chain = feature_tables.of_bundle(bundle)
    known = feature_goldens.read(bundle, chain)
    given = feature_goldens.run(chain, known.t_ns, known.samples)
    found = Worst(0, 0.0, 0.0, 0.0, passed=True)
    reason = None
    for index, (spec, link) in enumerate(zip(chain.open()[1][1:], known.links, strict=True)):
        found, reason = _judge_link(link, *given[index], spec.names, chain.name(index))
        if reason is not None:
            break
    return Verdict(
        feature_goldens.VARIANT, feature_goldens.BACKEND, len(known.links[-1].t_ns), found.max_abs_err, found.rms_err,
        "max", found.tolerance, None, reason is None, reason,
    )  # fmt: skip


def _judge_link(
    link: Link, t_ns: TimesNs, frames: Frames, names: Sequence[str], whose: str
) -> tuple[Worst, str | None]:
    """Compare what a link gives with what it gave, and say what is beyond its tolerance."""
    count = min(len(frames), len(link.frames))
    away = feature_goldens.apart(link, frames, count)
    found = worst(away, "max", link.tolerances) if count else Worst(0, 0.0, 0.0, 0.0, passed=True)
    late = int(np.abs(t_ns[:count] - link.t_ns[:count]).max(initial=0))
    reason = None
    if len(frames) != len(link.frames):
        reason = f"{whose} gives {len(frames):,} frames, {len(link.frames):,} were recorded"
    elif not found.passed:
        which, off = f"'{names[found.output]}' of {whose}", f"{found.max_abs_err:.3g}"
        reason = f"{which} is off by {off}, {found.tolerance:.3g} is allowed"
    elif late > feature_goldens.TIME_NS:
        reason = f"the times of {whose} are off by {late:,} ns, {feature_goldens.TIME_NS:,} are allowed"
    return found, reason


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
    reference = goldens.reference.get(model.variant)
    beside = (
        _exactly(entry, given, reference, goldens.spacing.get(model.variant))
        if entry.exact
        else _beside(entry, given, reference, tolerances)
    )
    return _verdict(entry, len(goldens.frames), found, beside)


def _beside(
    entry: ParityTable,
    given: NDArray[np.float64],
    reference: NDArray[np.float64] | None,
    tolerances: NDArray[np.float64],
) -> Worst | None:
    """Hold a quantized variant against the integer reference; None for any other."""
    if entry.variant in ("float32", *STORAGE):
        return None
    return worst(given - _known(entry, given, reference), "rms", tolerances)


def _exactly(
    entry: ParityTable,
    given: NDArray[np.float64],
    reference: NDArray[np.float64] | None,
    spacing: NDArray[np.float64] | None,
) -> Worst:
    """Hold a variant against the reference's integers, none of which may differ: 0 is allowed."""
    reference = _known(entry, given, reference)
    if spacing is None or spacing.shape != given.shape[1:]:
        raise BundleError(f"{GOLDENS} does not hold the scale of each output's integers of {entry.variant}.")
    # What is given is their float32, which is rounded; so are integers that stand nearer than float32 can tell.
    nearest = np.maximum(spacing / 2, np.spacing(np.abs(reference).astype(np.float32)))
    away = given - reference
    return worst(np.where(np.abs(away) < nearest, 0, away), "rms", np.zeros(given.shape[1]))


def _known(
    entry: ParityTable, given: NDArray[np.float64], reference: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Return the reference. Raises BundleError where it is not of what is given."""
    if reference is None or reference.shape != given.shape:
        raise BundleError(f"{GOLDENS} does not hold the reference's integers of {entry.variant} at every step.")
    return reference


def _verdict(entry: ParityTable, steps: int, found: Worst, beside: Worst | None, *, same: bool = True) -> Verdict:
    """Sum up: against the original, beside the integer reference, and whether the same tokens were generated."""
    error = found.rms_err if entry.metric == "rms" else found.max_abs_err
    reason = None
    if not found.passed:
        reason = f"its {entry.metric} error is {error:.3g}, {found.tolerance:.3g} is allowed"
    elif beside is not None and not beside.passed:
        reason = (
            f"its rms error against the integer reference is {beside.rms_err:.3g}, {beside.tolerance:.3g} is allowed"
        )
    elif not same:
        reason = "it generates other tokens than the original"
    against = None if beside is None else beside.rms_err
    return Verdict(
        entry.variant, entry.backend, steps, found.max_abs_err, found.rms_err, entry.metric, found.tolerance, against,
        reason is None, reason,
    )  # fmt: skip


def _judge_pair(model: EncoderDecoder, pairs: list[PairGolden], entry: ParityTable) -> Verdict:
    """Compare given targets' outputs within the tolerance, and greedy tokens one by one.

    The tokens end where float32 cannot tell the best from the second; of what was rounded the same is not known.
    """
    rows, same = [], True
    for pair in pairs:
        given = model.logits(pair.source, pair.target)
        if given.shape != pair.outputs.shape:
            raise BundleError(
                f"{GOLDENS} holds outputs of the shape {pair.outputs.shape}; the model gives {given.shape}."
            )
        rows.append(given.astype(np.float64))
        if entry.metric == "max" and pair.greedy is not None and len(pair.greedy):
            tokens = model.generate(pair.source, max_length=len(pair.greedy)).tokens
            same = same and tokens == tuple(pair.greedy.tolist())
    outputs = np.concatenate(rows)
    tolerances = np.broadcast_to(np.asarray(entry.tolerances or entry.tolerance, np.float64), outputs.shape[1:])
    found = worst(outputs - np.concatenate([pair.outputs for pair in pairs]), entry.metric, tolerances)
    known = [pair.reference[entry.variant] for pair in pairs if entry.variant in pair.reference]
    reference = np.concatenate(known) if known else None
    beside = (
        _exactly(entry, outputs, reference, pairs[0].spacing.get(entry.variant))
        if entry.exact
        else _beside(entry, outputs, reference, tolerances)
    )
    return _verdict(entry, len(outputs), found, beside, same=same)


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
