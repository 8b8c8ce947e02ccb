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

from edgeseq import bundle as bundles
from edgeseq.bundle import GOLDENS, MANIFEST, Manifest
from edgeseq.checksums import SIGNATURE, SUMS, sha256
from edgeseq.verification import verify
from edgeseq.verification.feature_goldens import FILE, FeatureGoldens
from export.errors import ExportError


def check(output: Path) -> None:
    """Raise ExportError if `output` holds anything but an earlier bundle, whose files alone may be replaced."""
    if not output.exists() and not output.is_symlink():
        return
    if not output.is_dir():
        raise ExportError(f"{output}: exists and is no folder; it is not overwritten. Choose another --output.")
    there = {file.name for file in output.iterdir()}
    if there and MANIFEST not in there:
        raise ExportError(f"{output}: exists and is no bundle; it is not overwritten. Choose another --output.")
    sums_file = output / SUMS
    listed = sums_file.read_text("utf-8", "replace").splitlines() if sums_file.is_file() else []
    others = there - {line.partition("  ")[2] for line in listed} - {MANIFEST, SUMS, SIGNATURE}
    if others:
        raise ExportError(
            f"{output}: holds '{min(others)}', which is no part of the bundle there; it is not overwritten. "
            "Move it away, or choose another --output."
        )


@contextmanager
def folder(output: Path) -> Iterator[Path]:
    """Give a folder beside `output` to write into; put it in place at the end, or remove it if anything fails.

    An earlier bundle at `output` is replaced; anything else there is left alone, with an ExportError.
    """
    check(output)
    output = output.resolve()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))
    except OSError as cause:
        raise ExportError(f"{output}: cannot be written: {cause.strerror or cause}.") from cause
    try:
        yield aside
        aside.chmod(0o755)
        check(output)
        _put(aside, output)
    except OSError as cause:
        raise ExportError(f"{output}: cannot be written: {cause}.") from cause
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(aside: Path, output: Path) -> None:
    """Rename the new folder into place; an earlier one goes back there if that fails half-way."""
    if not output.exists():
        aside.replace(output)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{output.name}.old.", dir=output.parent))
    output.replace(old)
    try:
        aside.replace(output)
    except BaseException:
        old.replace(output)
        raise
    shutil.rmtree(old)


def manifest(path: Path, content: Manifest) -> None:
    """Write bundle.toml."""
    (path / MANIFEST).write_text(tomli_w.dumps(_plain(msgspec.to_builtins(content))), "utf-8")


def goldens(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write parity.npz."""
    # A NumPy archive's members carry no time of writing, so the same arrays give the same bytes.
    np.savez_compressed(path / GOLDENS, allow_pickle=False, **arrays)


def feature_goldens(path: Path, found: FeatureGoldens) -> None:
    """Write features.npz."""
    np.savez_compressed(path / FILE, allow_pickle=False, **found.arrays())


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


def finish(path: Path, content: Manifest, text: str) -> None:
    """Write what is known once all is proven: the report, and the manifest with its sums anew."""
    (path / "report.md").write_text(text, "utf-8")
    manifest(path, content)
    sums(path)


def verified(path: Path) -> None:
    """Run the goldens as a device would. Raises ExportError where one fails."""
    failed = [verdict for verdict in verify.verify(bundles.read(path)) if not verdict.passed]
    if failed:
        raise ExportError(f"the goldens of {failed[0].variant} fail on {failed[0].backend}: {failed[0]}.")
