"""`edgeseq.load`: a bundle's model as people call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseq import backends, bundle, encoder_decoder
from edgeseq.named import named


def load(opened: bundle.Bundle | Path | str, backend: str = "auto", variant: str = "auto", streams: int = 1) -> Any:
    """Load a bundle's model, freshly reset.

    That is a `StepModel`; a `NamedStep` where it has several inputs or outputs; an `EncoderDecoder` where it is one.
    backend, variant, streams: as in `backends.load`. Raises BundleError or ModelError.
    """
    given = opened if isinstance(opened, bundle.Bundle) else bundle.read(Path(opened))
    if given.encoder_decoder:
        return encoder_decoder.load(given, backend, variant)
    return named(backends.load(given, backend, variant, streams), given.graph())
