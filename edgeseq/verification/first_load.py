"""Before a variant, or a feature chain, first runs on a machine and library version, its goldens are replayed there.

A kernel that computes something else on this very processor is found here, not in the alerts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

import edgeseq
from edgeseq import backends, machine
from edgeseq.bundle import Bundle
from edgeseq.errors import ModelError
from edgeseq.models.encoder_decoder import EncoderDecoder
from edgeseq.types import StepModel
from edgeseq.verification import feature_goldens, verdicts, verify
from edgeseq.verification.verify import Verdict

log = logging.getLogger(__name__)


def check(bundle: Bundle, model: StepModel | EncoderDecoder) -> None:
    """Replay the goldens unless they are known to have passed here; the model is left as it was.

    Raises ModelError for a variant that misses its tolerance.
    """
    subject = _subject(bundle, model.backend, model.variant)
    if verdicts.passed(subject):
        return
    found = verify.judge(bundle, model if isinstance(model, EncoderDecoder) else model.fork())
    verdicts.keep(subject, passed=found.passed)
    if not found.passed:
        raise ModelError(
            f"{bundle.path}: {found.variant} on {found.backend} ({subject.library}) does not compute here what was "
            f"exported, so it is not run: over {found.steps:,} golden steps {found.reason}. Choose a variant and "
            f"backend that `edgeseq verify {bundle.path}` passes, or install another version of the library."
        )
    log.info("%s: %s on %s passes its goldens here", bundle.path, found.variant, found.backend)


def check_features(bundle: Bundle) -> None:
    """Replay the goldens of a bundle's feature chain, where it has them, unless they are known to have passed here.

    Raises ModelError for a chain that misses its tolerance.
    """
    if not feature_goldens.there(bundle):
        return
    subject = _subject(bundle, feature_goldens.BACKEND, feature_goldens.VARIANT)
    if verdicts.passed(subject):
        return
    found = verify.features(bundle)
    verdicts.keep(subject, passed=found.passed)
    if not found.passed:
        raise ModelError(
            f"{bundle.path}: its features ({subject.library}) do not come out here as they did at export, so nothing "
            f"is run on them: over {found.steps:,} golden frames {found.reason}. Install another version of "
            "the library, or export the bundle again with this one."
        )
    log.info("%s: its features pass their goldens here", bundle.path)


def remember(bundle: Bundle, found: Iterable[Verdict]) -> None:
    """Keep what a verification has found, in place of what was known."""
    for verdict in found:
        verdicts.keep(_subject(bundle, verdict.backend, verdict.variant), passed=verdict.passed)


def _subject(bundle: Bundle, backend: str, variant: str) -> verdicts.Subject:
    return verdicts.Subject(
        bundle=bundle.digest,
        variant=variant,
        backend=backend,
        library=feature_goldens.library() if variant == feature_goldens.VARIANT else backends.library(backend),
        edgeseq=edgeseq.__version__,
        machine=machine.identity(),
    )
