"""A text file that appears whole under its name, or not at all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edgeseq.errors import ConfigError


def check(path: Path, option: str) -> None:
    """See before long work that the file can be written after it. Raises ConfigError, which names the option."""
    with _said(path, option):
        if path.exists() and not path.is_file():
            raise ConfigError(f"{option} {path}: is not a file; name one to write, or to replace.")
        aside = _aside(path)
        aside.open("ab").close()
        aside.unlink()


def write(path: Path, text: str, option: str) -> None:
    """Write the text beside its place and rename it into it. Raises ConfigError, which names the option."""
    with _said(path, option):
        aside = _aside(path)
        try:
            aside.write_text(text, encoding="utf-8")
            # Through a link, the file that it leads to is replaced, not the link.
            aside.replace(path.resolve())
        finally:
            with contextlib.suppress(OSError):
                aside.unlink(missing_ok=True)


def _aside(path: Path) -> Path:
    place = path.resolve()
    return place.with_name(f".{place.name}.partial")


@contextlib.contextmanager
def _said(path: Path, option: str) -> Iterator[None]:
    """Turn what the system says into a sentence; links that lead in a circle are a RuntimeError in Python 3.11."""
    try:
        yield
    except (OSError, RuntimeError) as cause:
        reason = getattr(cause, "strerror", None) or cause
        raise ConfigError(f"{option} {path}: cannot be written: {reason}.") from cause
