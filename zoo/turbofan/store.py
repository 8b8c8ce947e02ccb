"""Keeps trained models as plain arrays, and reads them back; nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from zoo import networks
from zoo.turbofan.data import Standardizer
from zoo.turbofan.fit import Trained
from zoo.turbofan.model import Turbofan


def save(trained: Trained, path: Path) -> None:
    """Write one .npz: weights as `weights.NAME`, statistics, calibration frames joined, and the rest as JSON."""
    standardizer = trained.standardizer
    facts = {
        "subset": trained.subset,
        "seed": trained.seed,
        "epoch": trained.epoch,
        "rmse_held_out": trained.rmse_held_out,
        "held_out": trained.held_out,
        "thresholds": trained.thresholds,
        "clip": standardizer.clip,
        "channels": standardizer.channels,
        "names": standardizer.names,
        "units": standardizer.units,
    }
    np.savez_compressed(
        path,
        allow_pickle=False,
        mean=standardizer.mean,
        std=standardizer.std,
        centres=standardizer.centres,
        calibration=np.concatenate(trained.calibration),
        calibration_cycles=[len(frames) for frames in trained.calibration],
        facts=json.dumps(facts),
        **networks.arrays(trained.module),
    )


def load(path: Path) -> Trained:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        standardizer = Standardizer(
            tuple(facts["channels"]), arrays["mean"], arrays["std"], arrays["centres"], facts["clip"]
        )
        weights = networks.weights(arrays)
        ends = np.cumsum(arrays["calibration_cycles"])[:-1]
        calibration = tuple(np.split(arrays["calibration"], ends))
    module = Turbofan.like(weights)
    return Trained(
        module,
        standardizer,
        facts["subset"],
        facts["seed"],
        facts["epoch"],
        facts["rmse_held_out"],
        tuple(facts["held_out"]),
        calibration,
        facts["thresholds"],
    )
