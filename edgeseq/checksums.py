"""A bundle's sums: every file of it is listed in SHA256SUMS, and is what was exported."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeseq.errors import BundleError

SUMS = "SHA256SUMS"
SIGNATURE = "SHA256SUMS.sig"
MAX_FILE_BYTES = 2 << 30


def check_sums(path: Path, manifest: str) -> None:
    """Compare every file with SHA256SUMS. Raises BundleError for a difference, a missing or an unlisted file.

    manifest: the file that must be among them.
    """
    sums = path / SUMS
    if not sums.is_file():
        raise BundleError(f"{path}: {SUMS} is missing, so nothing in this folder can be trusted. Export it again.")
    listed: set[str] = set()
    for number, line in enumerate(sums.read_text("utf-8", "replace").splitlines(), start=1):
        digest, separator, name = line.partition("  ")
        if not separator or len(digest) != hashlib.sha256().digest_size * 2 or Path(name).name != name:
            raise BundleError(f"{sums}, line {number}: not of the form '<sha256>  <file name>'.")
        listed.add(name)
        if not _is_plain_file(path / name):
            raise BundleError(f"{path}: {name} is listed in {SUMS} but missing. Copy the bundle again, whole.")
        if sha256(path / name) != digest:
            raise BundleError(
                f"{path}: {name} is not what was exported: its SHA-256 differs from {SUMS}. "
                "It was altered or damaged on the way; copy the bundle again, whole."
            )
    if manifest not in listed:
        raise BundleError(f"{path}: {manifest} is not listed in {SUMS}. Export it again.")
    for file in sorted(path.iterdir()):
        if file.name not in {*listed, SUMS, SIGNATURE}:
            raise BundleError(f"{path}: {file.name} is not listed in {SUMS}: it is no part of the bundle. Remove it.")


def sha256(path: Path) -> str:
    """Return a file's SHA-256 as hexadecimal digits."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise BundleError(f"{path}: larger than {MAX_FILE_BYTES >> 30} GiB.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_plain_file(path: Path) -> bool:
    try:
        return path.is_file() and not path.is_symlink()
    except OSError:  # a name that is longer than the file system takes
        return False
