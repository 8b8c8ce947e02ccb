"""The standard streams as every command needs them: open, able to write any name, and stderr never a reason to fail."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def ready() -> None:
    """Make stdin, stdout and stderr fit for use.

    One that the caller closed becomes /dev/null: the next file that is opened would get its number, and what a library
    prints would land in that file. What an encoding cannot say, and names that are no UTF-8, are written as JSON
    escapes, which `--json` needs. What stderr cannot take, as on a full disk, is lost.
    """
    codecs.register_error("edgeseq-escape", _escape)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - lives as long as we
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="edgeseq-escape")
    if sys.stderr is sys.__stderr__:
        encoding = sys.stderr.encoding if sys.stderr else "utf-8"
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Lossy(2, "w", closefd=False)), encoding, errors="edgeseq-escape", line_buffering=True
        )


class _Lossy(io.FileIO):
    """A file that takes everything, and loses what the system does not."""

    def write(self, data: ReadableBuffer, /) -> int:
        """Write it if that is possible."""
        try:
            return super().write(data) or memoryview(data).nbytes
        except OSError:
            return memoryview(data).nbytes


def _escape(error: UnicodeError) -> tuple[str, int]:
    """Return what stands for the characters that cannot be encoded, and where to go on."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
