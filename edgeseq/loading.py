"""`edgeseq.load`: a bundle's model as people call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeseq import backends, bundle
from edgeseq.named import named


def load(opened: bundle.Bundle | Path | str, backend: str = "auto", variant: str = "auto", streams: int = 1) -> Any:
    """Load a bundle's model, freshly reset: a `StepModel`, or where it has several inputs or outputs a `NamedStep`.

    backend, variant: as in `backends.load`. streams: how many independent streams one step takes. Raises BundleError
    or ModelError.
    """
    given = opened if isinstance(opened, bundle.Bundle) else bundle.read(Path(opened))
    return named(backends.load(given, backend, variant, streams), given.graph())
