"""parity.npz of a step: frames, what the original gives for them, and what each quantized variant's reference does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeseq.bundle import Graph
from export.parity import Truth
from export.progress import Progress, counted
from export.quantize.step import ReferenceStep, units
from export.variants import Variant


def arrays(golden: Truth, made: Sequence[Variant], graph: Graph, progress: Progress) -> dict[str, NDArray[Any]]:
    """Return the file's arrays.

    `<variant>.integers` with their scale, offset and zero_point, a column an output; `<variant>.outputs` in real units
    instead where an output comes out of float32 ops.
    """
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
        if model.ends is None:
            found[f"{variant.name}.outputs"] = outputs
            continue
        found[f"{variant.name}.integers"] = np.array(model.stored)[model.delay :].astype(np.int16)
        found |= {f"{variant.name}.{key}": array for key, array in units(variant.program, model.ends).items()}
    return found
