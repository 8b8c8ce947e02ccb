"""Keeps trained models as plain arrays, and reads them back; nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from zoo import networks
from zoo.keyword.fit import Trained
from zoo.keyword.model import Keyword


def save(trained: Trained, path: Path) -> None:
    """Write one .npz: weights as `weights.NAME`, statistics, calibration sound, and the rest as JSON."""
    facts = {
        "seed": trained.seed,
        "accuracy_held_out": trained.accuracy_held_out,
        "held_out": trained.held_out,
        "threshold": trained.threshold,
    }
    np.savez_compressed(
        path,
        allow_pickle=False,
        mean=trained.mean,
        std=trained.std,
        calibration=trained.calibration,
        facts=json.dumps(facts),
        **networks.arrays(trained.module),
    )


def load(path: Path) -> Trained:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        weights = networks.weights(arrays)
        return Trained(
            Keyword.like(weights),
            arrays["mean"],
            arrays["std"],
            facts["seed"],
            facts["accuracy_held_out"],
            tuple(facts["held_out"]),
            facts["threshold"],
            arrays["calibration"],
        )
