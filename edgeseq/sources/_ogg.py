"""Whether an Ogg file is whole: libsndfile passes over pages that are damaged or missing without a word."""

from __future__ import annotations

import zlib
from pathlib import Path

_HEAD = 27
_CRC = slice(22, 26)
_ALL = 0xFFFFFFFF
_MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
"""Each byte with its bits in the other order."""


def damage(path: Path) -> str | None:
    """Return what is wrong with a file as words that follow its name; None where nothing is, or where it is no Ogg.

    Source: RFC 3533, section 6: pages with a sum each, numbered within their stream, the last of a stream marked.
    """
    following: dict[bytes, int] = {}
    open_streams: set[bytes] = set()
    with path.open("rb") as file:
        while head := file.read(_HEAD):
            if not head.startswith(b"OggS"):
                return f"is damaged: no page begins at byte {file.tell() - len(head)}." if following else None
            lengths = file.read(head[26]) if len(head) == _HEAD else b""
            body = file.read(sum(lengths))
            if len(head) < _HEAD or len(lengths) < head[26] or len(body) < sum(lengths):
                return "ends within a page: it is cut off."
            stream, number = head[14:18], int.from_bytes(head[18:22], "little")
            if _sum(head[:22] + bytes(4) + head[26:] + lengths + body) != head[_CRC]:
                return f"is damaged: page {number} is not what its sum says."
            if following.get(stream, number) != number:
                return f"is damaged: page {number} follows page {following[stream] - 1}."
            following[stream] = number + 1 & _ALL
            open_streams.add(stream)
            if head[5] & 4:
                open_streams.discard(stream)
    return "has no page that is marked as the last: it is cut off." if open_streams else None


def _sum(page: bytes) -> bytes:
    """Return a page's sum: the polynomial of zlib's, over bits in the other order, from zero and not inverted."""
    mirrored = zlib.crc32(page.translate(_MIRRORED), _ALL) ^ _ALL
    return mirrored.to_bytes(4, "big").translate(_MIRRORED)
