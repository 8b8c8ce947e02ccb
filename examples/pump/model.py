"""A pump that wears out: a small GRU to export. Stands in for a model of yours.

`edgeseq export examples/pump/model.py:trained` calls `trained`, which gives (module, example). Run as a program it
writes two files into the working directory: pump.csv, a recording as a sensor would deliver it, and calibration.npz,
frames as the model takes them.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from torch import nn

MEAN = np.array([5.4, 4.0, 48.5])
STD = np.array([0.3, 1.1, 3.3])
"""Of current, vibration and temperature; about.toml tells the same to the device."""
MINUTES = 300


def recording(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a recording, float[MINUTES, 3] in A, mm/s and degC, and the wear at each minute, 0 to 1."""
    # Wear comes and goes with cavitation; the temperature follows it slowly, the load hides it.
    phase, pace = random.uniform(0, 2 * np.pi), random.uniform(0.6, 1.4)
    wear = 0.5 + 0.5 * np.sin(phase + pace * np.linspace(0, 4 * np.pi, MINUTES))
    load = random.uniform(0.8, 1.2, MINUTES)
    current = 4 + load + 0.8 * wear + random.normal(0, 0.1, MINUTES)
    vibration = 2 + 0.5 * load + 3 * wear + random.normal(0, 0.4, MINUTES)
    temperature = 42 + 2 * load + 9 * wear + random.normal(0, 0.8, MINUTES)
    return np.stack([current, vibration, temperature], axis=1), wear


class Pump(nn.Module):
    """[batch, time, 3] standardized readings in, [batch, time, 1] wear out."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 16, batch_first=True)
        self.head = nn.Linear(16, 1)

    def forward(self, readings: torch.Tensor) -> torch.Tensor:
        """Estimate the wear at every step from all steps so far."""
        return self.head(self.gru(readings)[0])


def trained() -> tuple[nn.Module, torch.Tensor]:
    """Train for a few seconds and return the module with one example input."""
    torch.set_num_threads(1)  # quicker for a model this small
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    records = [recording(random) for _ in range(24)]
    x = torch.tensor(np.stack([(values - MEAN) / STD for values, _ in records]), dtype=torch.float32)
    y = torch.tensor(np.stack([wear[:, None] for _, wear in records]), dtype=torch.float32)
    model = Pump()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return model, x[:1]


if __name__ == "__main__":
    source = np.random.default_rng(1)
    with Path("pump.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["current", "vibration", "temperature"])
        table.writerows([f"{value:.3f}" for value in row] for row in recording(source)[0])
    frames = [((recording(source)[0] - MEAN) / STD).astype(np.float32) for _ in range(8)]
    np.savez("calibration.npz", *frames)
