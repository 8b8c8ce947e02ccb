"""Passwords and certificates from files: read when they are needed, kept nowhere else, never logged."""

from __future__ import annotations

import ssl
from pathlib import Path

from edgeseq.errors import EdgeseqError

MAX_PASSWORD = 65_535


def password(file: Path | None, error: type[EdgeseqError]) -> str | None:
    """Return a file's first line; None for no file. Raises `error` where there is none."""
    if file is None:
        return None
    try:
        with file.open(encoding="utf-8") as lines:
            found = lines.readline(MAX_PASSWORD + 1).rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as cause:
        reason = getattr(cause, "strerror", None) or "not UTF-8 text"
        raise error(f"the password file {file} cannot be read: {reason}.") from cause
    if not found or len(found) > MAX_PASSWORD:
        raise error(f"the password file {file} holds no password on its first line.")
    return found


def tls(
    ca_file: Path | None, cert_file: Path | None, key_file: Path | None, error: type[EdgeseqError]
) -> ssl.SSLContext:
    """Return what checks the broker's certificate against an authority's, and shows our own where there is one.

    ca_file: None for the system's authorities. Raises `error` for a file that cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as cause:
        raise error(f"the certificate file {ca_file} cannot be used: {cause}.") from cause
    if cert_file is not None:
        try:
            # A key with a passphrase would ask for it on the terminal, which a service has not.
            context.load_cert_chain(cert_file, key_file, password=lambda: "")
        except OSError as cause:
            raise error(
                f"the client certificate {cert_file} with the key {key_file or cert_file} cannot be used: {cause}. "
                "Both must be PEM files that belong together, the key without a passphrase."
            ) from cause
    return context
