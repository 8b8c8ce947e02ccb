"""Writes a bundle: all of it aside first, then renamed into place, so that nothing half-written is ever seen."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import tomli_w
from numpy.typing import NDArray

from edgeseq.bundle import GOLDENS, MANIFEST, SUMS, Manifest, sha256
from export.errors import ExportError


@contextmanager
def folder(output: Path) -> Iterator[Path]:
    """Give a folder beside `output` to write into; put it in place at the end, or remove it if anything fails.

    An earlier bundle at `output` is replaced; anything else there is left alone, with an ExportError.
    """
    if output.exists() and not (output / MANIFEST).is_file() and (not output.is_dir() or any(output.iterdir())):
        raise ExportError(f"{output}: exists and is no bundle; it is not overwritten. Choose another --output.")
    output.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    try:
        yield aside
        aside.chmod(0o755)
        if output.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
            output.replace(old)
            aside.replace(output)
            shutil.rmtree(old)
        else:
            aside.replace(output)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def manifest(path: Path, content: Manifest) -> None:
    """Write bundle.toml."""
    (path / MANIFEST).write_text(tomli_w.dumps(_plain(msgspec.to_builtins(content))), "utf-8")


def goldens(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write parity.npz."""
    # A NumPy archive's members carry no time of writing, so the same arrays give the same bytes.
    np.savez_compressed(path / GOLDENS, allow_pickle=False, **arrays)


def sums(path: Path) -> None:
    """Write SHA256SUMS over everything else in the folder, in the form that `sha256sum -c` reads."""
    lines = [f"{sha256(file)}  {file.name}\n" for file in sorted(path.iterdir()) if file.name != SUMS]
    (path / SUMS).write_text("".join(lines), "utf-8")


def _plain(value: Any) -> Any:
    """TOML has no null: leave out what is None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
