"""One thing that was looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "bad"]


@dataclass(frozen=True, slots=True)
class Finding:
    """topic: what was looked at. level: "bad" keeps edgeseq from working, "note" from working well.

    says: what is there, in words. do: what mends it; nothing where nothing needs to be.
    """

    topic: str
    level: Level
    says: str
    do: str = ""
