"""parity.npz of a step: frames, what the original gives for them, and what each quantized variant's reference does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import Graph
from export.parity import Truth
from export.progress import Progress, counted
from export.quantize.step import ReferenceStep, recorded
from export.variants import Variant


def arrays(golden: Truth, made: Sequence[Variant], graph: Graph, progress: Progress) -> dict[str, NDArray[Any]]:
    """Return the file's arrays; those of a quantized variant's reference begin with its name and a dot."""
    found: dict[str, NDArray[Any]] = {"frames": golden.frames, "at": golden.at, "outputs": golden.outputs}
    for variant in made:
        if variant.program is None:
            continue
        model = ReferenceStep(variant.program, graph, variant.name)
        tick = counted(progress, f"running the reference of {variant.name}", len(golden.frames))
        rows = []
        for start in range(0, len(golden.frames), 64):
            rows.append(model.run(part := golden.frames[start : start + 64]))
            tick(len(part))
        outputs = np.concatenate([*rows, model.flush()])[model.delay :]
        found |= {f"{variant.name}.{key}": array for key, array in recorded(model, outputs).items()}
    return found
