"""What the disk is asked for, beyond what Python's files do: whole writes, and names that survive a loss of power."""

from __future__ import annotations

import os
from pathlib import Path


def write(file: int, data: bytes | bytearray) -> None:
    """Write all of it. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, their names durable. Raises OSError."""
    if not folder.is_dir():
        make_folder(folder.parent)
        folder.mkdir(0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Make a folder's names durable. Raises OSError."""
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
