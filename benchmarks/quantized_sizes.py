"""Sizes of float32, int8 and w8a16 in both formats, what they compute in, and their error.

`python -m benchmarks.quantized_sizes` exports networks of common sizes with PyTorch's initial weights, calibrated on
slow walks with noise. The error is rms over at least 10,000 free-running steps, as a share of the output's spread;
sizes are shares of float32's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import export
from benchmarks.modules import FEATURES, Convolutional, Recurrent, transformer, walks
from edgeseq import backends
from edgeseq.bundle import Bundle

COLUMNS = ("network", "variant", "backend", "weights", "of float32", "file", "of float32", "integer MACs", "error")


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "GRU 256": lambda: Recurrent(nn.GRU, 256, 1),
    "2 x LSTM 256": lambda: Recurrent(nn.LSTM, 256, 2),
    "TCN 8 x 64": lambda: Convolutional(64, 8),
    "Transformer d=64, 2 layers, window 64": lambda: transformer(64, 2),
}


def rows(name: str, bundle: Bundle) -> list[tuple[str, ...]]:
    """Return the table's rows for one network."""
    proven = {(entry.variant, entry.backend): entry for entry in bundle.manifest.parity}
    found: list[tuple[str, ...]] = []
    for file in bundle.manifest.files:
        whole = bundle.file("float32", file.format)
        size, most = ((bundle.path / each.path).stat().st_size for each in (file, whole))
        entry = proven[file.variant, backends.reader(file)]
        # The tolerance is the variant's share of the spread: 4 % for int8, 1 % for w8a16.
        share = {"int8": 0.04, "w8a16": 0.01}.get(file.variant)
        error = "" if share is None else f"{share * entry.rms_err / entry.tolerance:.2%}"
        found.append(
            (
                name, file.variant, backends.reader(file), f"{file.weight_bytes:,}",
                f"{file.weight_bytes / whole.weight_bytes:.1%}", f"{size:,}", f"{size / most:.1%}",
                f"{file.integer_macs / (file.integer_macs + file.float_macs):.0%}", error,
            )
        )  # fmt: skip
    return found


def main() -> int:
    """Print the table."""
    table = Table(*COLUMNS)
    for name, made in NETWORKS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            source = made().eval(), torch.zeros(1, 80, FEATURES)
            bundle = export.export(source, Path(folder) / "b", calibration=walks())
            for row in rows(name, bundle):
                table.add_row(*row)
    Console(width=160).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
