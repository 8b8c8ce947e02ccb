"""MQTT topics from names that anyone may have chosen."""

from __future__ import annotations

import hashlib
import re

ROOT = "edgeseq"
MAX_LEVEL = 200
"""Characters of one level; a topic may have 65,535 bytes in all."""
_UNSAFE = re.compile("[/+#$%\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def level(name: str) -> str:
    """Return a name as one level of a topic.

    What has a meaning in topics (/ + # $), % itself and what MQTT forbids (controls, NUL, non-characters) is
    percent-encoded. No name is "-"; one too long is cut and ends in its hash.
    """
    safe = _UNSAFE.sub(lambda found: "".join(f"%{byte:02X}" for byte in _bytes(found.group())), name) or "-"
    if len(safe) <= MAX_LEVEL:
        return safe
    return f"{safe[: MAX_LEVEL - 20]}~{hashlib.sha256(_bytes(name)).hexdigest()[:16]}"


def status(device: str) -> str:
    """Return the topic of a device's retained status."""
    return f"{ROOT}/{level(device)}/status"


def stream(device: str, pipeline: str, stream: str, kind: str) -> str:
    """Return the topic of a stream's `state` (retained) or `event`."""
    return f"{ROOT}/{level(device)}/{level(pipeline)}/{level(stream)}/{kind}"


def health(device: str, pipeline: str) -> str:
    """Return the topic of a pipeline's retained health."""
    return f"{ROOT}/{level(device)}/{level(pipeline)}/health"


def client_id(device: str, pipeline: str) -> str:
    """Return a client's name: stable, so that a broker that has not noticed a lost connection replaces it at once.

    With a random one it would announce the last will of the old connection after the new one said it is online.
    """
    return f"edgeseq-{plain(device)}-{plain(pipeline)}"


def plain(name: str) -> str:
    """Return a name in letters, digits, - and _ alone; one that had others ends in its hash, so that no two meet."""
    safe = re.sub(r"[^A-Za-z0-9_-]", "_", name)[: MAX_LEVEL - 20]
    return safe if safe == name else f"{safe}-{hashlib.sha256(_bytes(name)).hexdigest()[:8]}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
