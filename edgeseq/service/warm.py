"""A model's first step, taken before anything depends on it."""

from __future__ import annotations

import numpy as np

from edgeseq.types import StepModel


def warm(model: StepModel, features: int) -> None:
    """Let a copy of the model take one step on zeros: what libraries put off until then is done now.

    features: values a frame. The model itself stays as it is.
    """
    model.fork().run(np.zeros((model.frames_per_step, features), np.float32))
