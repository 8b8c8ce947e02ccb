"""Devices that write lines of text: CSV, JSON, or whatever a regular expression finds. Bytes in, rows out; no I/O."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

MAX_LINE = 4096
"""Bytes; a longer line is none of a sensor."""

_LARGEST = float(np.finfo(np.float32).max)

Row = list[float]
Reader = Callable[[str], Row]
"""Makes a row of a line. Raises ValueError for a line that holds none."""


class LineDecoder:
    """Finds the rows in a stream of bytes, split in any way. The first line is let go: it may have lost its beginning.

    reader: what makes a row of a line. dropped: lines that gave none, by reason: "no_row", "too_long", "not_utf8".
    """

    def __init__(self, reader: Reader) -> None:
        self.good = 0
        self.dropped: Counter[str] = Counter()
        self._read = reader
        self._rest = b""
        self._first = True

    def feed(self, data: bytes) -> list[Row | None]:
        """Take the next bytes; return a row for each line that they complete, None where it gave none."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[: MAX_LINE + 1]
        if lines and self._first:
            self._first = False
            del lines[0]
        return [self._row(line) for line in lines if line.strip()]

    def _row(self, line: bytes) -> Row | None:
        try:
            if len(line) > MAX_LINE:
                self.dropped["too_long"] += 1
                return None
            row = self._read(line.decode())
        except UnicodeDecodeError:
            self.dropped["not_utf8"] += 1
        except ValueError:
            self.dropped["no_row"] += 1
        else:
            self.good += 1
            return row
        return None


def csv(cells: Sequence[str], columns: Sequence[str], delimiter: str) -> Reader:
    """Return what reads numbers between delimiters (" ": any run of blanks). cells: names of all of a line's, in order.

    More cells are an error, as are fewer: half a line is no row.
    """
    wanted = [cells.index(column) for column in columns]

    def read(line: str) -> Row:
        found = line.split(None if delimiter == " " else delimiter)
        if len(found) != len(cells):
            raise ValueError("another number of cells")
        return [_number(found[place]) for place in wanted]

    return read


def json_lines(columns: Sequence[str]) -> Reader:
    """Return what reads a JSON object a line; a column is a key, or keys joined by points."""
    paths = [column.split(".") for column in columns]

    def read(line: str) -> Row:
        try:
            found = json.loads(line)
        except RecursionError as cause:
            raise ValueError("nested too deeply") from cause
        return [_number(_at(found, path)) for path in paths]

    return read


def pattern(columns: Sequence[str], expression: str) -> Reader:
    """Return what reads the groups of a regular expression, named as the columns, found anywhere in a line.

    Raises ValueError for an expression that is none, or that lacks a column's group.
    """
    try:
        compiled = re.compile(expression)
    except re.error as cause:
        raise ValueError(f"{expression!r} is no regular expression: {cause}.") from cause
    for column in columns:
        if column not in compiled.groupindex:
            raise ValueError(f"{expression!r} has no group (?P<{column}>...); every channel needs one.")

    def read(line: str) -> Row:
        found = compiled.search(line)
        if found is None:
            raise ValueError("no match")
        return [_number(found[column]) for column in columns]

    return read


def _at(found: object, path: Sequence[str]) -> object:
    for key in path:
        if not isinstance(found, dict) or key not in found:
            raise ValueError(f"no {key}")
        found = found[key]
    return found


def _number(cell: object) -> float:
    """Return a cell as a finite number. Raises ValueError for text that is none, for true, null and an empty group."""
    # Python reads 1_5 as 15; from a device it is a point that was damaged.
    none = isinstance(cell, bool) or (isinstance(cell, str) and "_" in cell)
    try:
        value = math.nan if none else float(cell)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, OverflowError) as cause:
        raise ValueError("no number") from cause
    if not abs(value) <= _LARGEST:
        raise ValueError("not finite as float32")
    return value
