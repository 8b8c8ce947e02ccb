"""Frames on the wire: contents sealed with their length and two checks, COBS-encoded, ended by a zero byte.

    on the wire  code byte | encoded frame | 0
    a frame      length (1) | contents | CRC-32 (4) of all before it, little-endian | sum (1)

length counts the whole frame; sum is what makes the sum of all the frame's bytes 0 modulo 256. A frame has at most 253
bytes, so that COBS adds exactly one byte and every frame has exactly one encoding.

Every error of a single bit on the wire is detected, for certain and not only with the odds of a checksum:

1. A byte of the frame changes and no zero comes of it: the CRC or the sum is wrong.
2. A code byte changes: zeros of the frame move, which may spread over more bits than a CRC is sure of. But a code is
   the distance to the next zero, and where decoding meets the old codes again all distances before add up to what they
   did, less the change: the sum of the decoded bytes changes by just that power of two, and is wrong. Where decoding
   never meets them, it does not end with the frame.
3. A byte becomes 0 and cuts the frame in two: the first part is shorter than the length that stands in it, and the
   second, should it look like a frame by chance, is as long as what the first one lacks: `halves` tells.
4. The 0 at the end changes: two frames run together, longer than the length in the first.

CRC-32 is that of IEEE 802.3 (zlib's); it detects every burst of up to 32 bits in the frame's bytes. COBS: Cheshire and
Baker, "Consistent overhead byte stuffing", IEEE/ACM Transactions on Networking 7 (1999).
"""

from __future__ import annotations

import zlib

VERSION = 1
"""The first byte of all contents; less than MIN_FRAME - 1, so that a frame whose first byte was cut off shows."""
CHECKS = 5
MIN_FRAME = 15
"""A length, contents of 9 bytes at least (the header of every message), the checks."""
MAX_FRAME = 253
MAX_CONTENTS = MAX_FRAME - 1 - CHECKS
MAX_ENCODED = MAX_FRAME + 1
"""Bytes between two zeros of the wire; what is longer is no frame."""
_FIRST_CODE = 3
"""Length and version are never 0, so the first code of a frame is at least this."""


def seal(contents: bytes) -> bytes:
    """Return contents, VERSION first, as bytes for the wire, the zero at the end included.

    Raises ValueError where there are more than MAX_CONTENTS bytes.
    """
    size = 1 + len(contents) + CHECKS
    if not MIN_FRAME <= size <= MAX_FRAME:
        raise ValueError(f"a frame holds {MIN_FRAME - 1 - CHECKS} to {MAX_CONTENTS} bytes, not {len(contents)}.")
    frame = bytes((size,)) + contents
    frame += zlib.crc32(frame).to_bytes(4, "little")
    return encode(frame + bytes((-_sum(frame) & 0xFF,))) + b"\0"


def unseal(piece: bytes) -> bytes | None:
    """Return the contents of what stood between two zeros of the wire, or None where any check fails."""
    size = len(piece) - 1
    if not MIN_FRAME <= size <= MAX_FRAME or piece[0] < _FIRST_CODE or piece[1] != size or piece[2] != VERSION:
        return None
    frame = decode(piece)
    if frame is None or _sum(frame) & 0xFF or zlib.crc32(frame[:-5]) != int.from_bytes(frame[-5:-1], "little"):
        return None
    return frame[1:-5]


def halves(first: bytes, second: bytes) -> bool:
    """Whether two pieces between zeros, of which the first is no frame, may be one frame cut in two by a false zero."""
    begun = len(first) > 1 and first[0] >= _FIRST_CODE and (len(first) == 2 or first[2] == VERSION)  # noqa: PLR2004
    return begun and first[1] + 1 == len(first) + 1 + len(second)


def encode(frame: bytes) -> bytes:
    """Return at most 253 bytes COBS-encoded, without the zero at the end.

    Every zero becomes the distance to the next one; the distance to the first stands in front.
    """
    encoded = bytearray(1) + frame
    at = 0
    while at < len(encoded):
        following = encoded.find(0, at + 1)
        following = len(encoded) if following < 0 else following
        encoded[at] = following - at
        at = following
    return bytes(encoded)


def decode(piece: bytes) -> bytes | None:
    """Return what `encode` was given, or None where a distance leads beyond the end. The piece holds no zero."""
    decoded = bytearray(piece)
    at, end = 0, len(decoded)
    while at < end:
        code = decoded[at]
        decoded[at] = 0
        at += code
    return bytes(memoryview(decoded)[1:]) if at == end else None


def _sum(frame: bytes) -> int:
    """Return 1 less than Adler-32's first half: below 257 bytes it is the plain sum, taken in C."""
    return (zlib.adler32(frame) - 1) & 0xFFFF
