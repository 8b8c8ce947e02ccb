"""Keeps trained models as plain arrays, and reads them back; nothing is pickled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zoo.turbofan.data import Standardizer
from zoo.turbofan.fit import Trained
from zoo.turbofan.model import Turbofan

WEIGHTS = "weights."


def save(trained: Trained, path: Path) -> None:
    """Write one .npz: weights as `weights.NAME`, statistics, calibration frames joined, and the rest as JSON."""
    standardizer = trained.standardizer
    arrays: dict[str, Any] = {WEIGHTS + name: value.numpy() for name, value in trained.module.state_dict().items()}
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
        **arrays,
    )


def load(path: Path) -> Trained:
    """Read what `save` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        facts = json.loads(str(arrays["facts"]))
        standardizer = Standardizer(
            tuple(facts["channels"]), arrays["mean"], arrays["std"], arrays["centres"], facts["clip"]
        )
        weights = {
            name.removeprefix(WEIGHTS): torch.from_numpy(arrays[name]) for name in arrays if name.startswith(WEIGHTS)
        }
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
