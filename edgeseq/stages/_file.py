"""A model file as somebody else made it: it is there, not too large, and, where its sum is given, what it was."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from edgeseq.errors import ConfigError

MAX_BYTES = 1 << 30


def checked(file: Path, sha256: str | None) -> str:
    """Return the file's SHA-256. Raises ConfigError if it is missing, too large, or differs from `sha256`."""
    if sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        raise ConfigError("a SHA-256 has 64 hexadecimal digits, as sha256sum prints them.", "sha256")
    if not file.is_file():
        raise ConfigError(f"there is no file {file}.", "file")
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise ConfigError(f"{file} is larger than {MAX_BYTES >> 20} MiB, too large for a step.", "file")
        with file.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as cause:
        raise ConfigError(f"{file} cannot be read: {cause.strerror or cause}.", "file") from cause
    if sha256 is not None and found != sha256.lower():
        raise ConfigError(
            f"{file} is not the file that was meant: its SHA-256 is {found}. It was changed or damaged; get it again, "
            "or write the new sum if the change is yours.",
            "sha256",
        )
    return found
