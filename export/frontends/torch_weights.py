"""`--weights`: a PyTorch module's weights from a file, of which nothing is run.

1. The file is opened with weights_only: numbers and their names. A pickled module or TorchScript would run code.
2. It is a state_dict, or a checkpoint in which just one entry is one.
3. Every weight of the module must be there, in its shape, and none else.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from export.errors import ExportError, OptionError

TOLD = 3


def load(module: torch.nn.Module, path: Path) -> None:
    """Load a module's weights, in place. Raises OptionError or ExportError saying what does not fit."""
    if not path.is_file():
        raise OptionError(f"--weights {path}: there is no such file.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)  # 1
    except Exception as cause:
        raise OptionError(
            f"--weights {path}: holds something else than weights (a pickled module, TorchScript, or damage), which is "
            "not opened, since it could run code. Save them with torch.save(module.state_dict(), FILE)."
        ) from cause
    given, wanted = _state_dict(content, path), module.state_dict()
    missing, strange = sorted(set(wanted) - set(given)), sorted(set(given) - set(wanted))  # 3
    if missing or strange:
        parts = [f"lacks {_told(missing)}"] * bool(missing) + [f"holds {_told(strange)}, not the module's"] * bool(
            strange
        )
        raise ExportError(f"--weights {path}: {' and '.join(parts)}.")
    for name, tensor in given.items():
        if tensor.shape != wanted[name].shape:
            shapes = f"{tuple(tensor.shape)}; the module takes {tuple(wanted[name].shape)}"
            raise ExportError(f"--weights {path}: '{name}' has the shape {shapes}.")
    module.load_state_dict(given)


def _told(names: list[str]) -> str:
    return ", ".join(names[:TOLD]) + (f" and {len(names) - TOLD} more" if len(names) > TOLD else "")


def _state_dict(content: Any, path: Path) -> dict[str, torch.Tensor]:
    """Find the state_dict in what the file holds (2)."""
    entries = [content, *(content.values() if isinstance(content, Mapping) else ())]
    found = [entry for entry in entries if isinstance(entry, Mapping) and entry and _all_tensors(entry)]
    if len(found) != 1:
        raise OptionError(
            f"--weights {path}: is no state_dict, nor a checkpoint with one. Save it with "
            "torch.save(module.state_dict(), FILE)."
        )
    return {str(name): tensor for name, tensor in found[0].items()}


def _all_tensors(entry: Mapping[Any, Any]) -> bool:
    return all(isinstance(value, torch.Tensor) for value in entry.values())
