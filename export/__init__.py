"""The workstation side: turns any trained sequence model into a bundle, and proves that it computes the same."""

from __future__ import annotations

import importlib
from types import ModuleType

from export.about import About
from export.errors import ExportError
from export.exporter import export

__all__ = ["About", "ExportError", "export"]


def __getattr__(name: str) -> ModuleType:
    """Load export.qat where it is first named: it brings PyTorch."""
    if name == "qat":
        return importlib.import_module("export.qat")
    raise AttributeError(f"module 'export' has no attribute '{name}'")
