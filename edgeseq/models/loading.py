"""`edgeseq.load`: a bundle's model as people call it, once its goldens have passed on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseq import backends, bundle
from edgeseq.errors import ModelError
from edgeseq.models import encoder_decoder
from edgeseq.models.named import named
from edgeseq.types import StepModel
from edgeseq.verification import first_load


def load(opened: bundle.Bundle | Path | str, backend: str = "auto", variant: str = "auto", streams: int = 1) -> Any:
    """Load a bundle's model, freshly reset.

    That is a `StepModel`; a `NamedStep` where it has several inputs or outputs; an `EncoderDecoder` where it is one.
    backend, variant, streams: as in `backends.load`. Raises BundleError, or ModelError, also for a variant that misses
    its tolerance here.
    """
    given = opened if isinstance(opened, bundle.Bundle) else bundle.read(Path(opened))
    if given.encoder_decoder:
        if streams != 1:
            raise ModelError(f"{given.path}: holds an encoder and a decoder, which read one source at a time.")
        pair = encoder_decoder.load(given, backend, variant)
        first_load.check(given, pair)
        return pair
    return named(step(given, backend, variant, streams), given.graph())


def step(opened: bundle.Bundle, backend: str = "auto", variant: str = "auto", streams: int = 1) -> StepModel:
    """Load the step model itself, whose frames hold its inputs side by side."""
    model = backends.load(opened, backend, variant, streams)
    # Goldens are one stream's; several side by side compute what one does.
    first_load.check(opened, model if streams == 1 else backends.load(opened, model.backend, model.variant))
    return model
