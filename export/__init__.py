"""The workstation side: turns any trained sequence model into a bundle, and proves that it computes the same."""

from export.about import About
from export.errors import ExportError
from export.exporter import export

__all__ = ["About", "ExportError", "export"]
