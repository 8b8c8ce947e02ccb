"""An MQTT broker as a configuration names it: where it is, who we are there, and what proves it to both sides.

Passwords and certificates are read from files when they are needed, kept nowhere else, never logged.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion

from edgeseq.errors import ConfigError, EdgeseqError

PROTOCOLS = {"5": MQTTProtocolVersion.MQTTv5, "3.1.1": MQTTProtocolVersion.MQTTv311}
MAX_PORT = MAX_PASSWORD = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """host, port, protocol: the broker. username, password_file: the password is the file's first line.

    tls: encrypt, and check the broker's certificate against the system's authorities, or ca_file, which implies tls;
    cert_file, key_file: our own certificate (the key may stand in the same file). error: what is raised for a file that
    cannot be used. Raises ConfigError for what does not go together.
    """

    host: str
    port: int
    protocol: str
    username: str | None
    password_file: Path | None
    tls: bool
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    error: type[EdgeseqError]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.:%-]+", self.host):
            raise ConfigError(
                f"host must be a name or an address alone, not {self.host!r}; the port has a key of its own.", "host"
            )
        if not 1 <= self.port <= MAX_PORT:
            raise ConfigError(f"port must lie between 1 and {MAX_PORT}, not {self.port}.", "port")
        if self.protocol not in PROTOCOLS:
            raise ConfigError(
                f"protocol must be one of {', '.join(PROTOCOLS)}, as text, not {self.protocol!r}.", "protocol"
            )
        if self.password_file is not None and self.username is None:
            raise ConfigError("password_file needs username.", "password_file")
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("key_file needs cert_file.", "key_file")

    @property
    def where(self) -> str:
        """Return host and port."""
        return f"{self.host}:{self.port}"

    @property
    def version(self) -> MQTTProtocolVersion:
        """The protocol in paho's words."""
        return PROTOCOLS[self.protocol]

    def words(self) -> str:
        """Return it in words, for `edgeseq check`. Raises `error` for a file that cannot be used."""
        self._password()
        if self._encrypted:
            self._context()
        return f"{self.where} with MQTT {self.protocol}{', encrypted,' if self._encrypted else ''}"

    def introduce(self, client: paho.Client) -> None:
        """Tell a client, before it connects, who we are and whom we trust. Raises `error`."""
        if self.username is not None:
            client.username_pw_set(self.username, self._password())
        if self._encrypted:
            client.tls_set_context(self._context())

    @property
    def _encrypted(self) -> bool:
        return self.tls or self.ca_file is not None or self.cert_file is not None

    def _password(self) -> str | None:
        file = self.password_file
        if file is None:
            return None
        try:
            with file.open(encoding="utf-8") as lines:
                found = lines.readline(MAX_PASSWORD + 1).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as cause:
            reason = getattr(cause, "strerror", None) or "not UTF-8 text"
            raise self.error(f"the password file {file} cannot be read: {reason}.") from cause
        if not found or len(found) > MAX_PASSWORD:
            raise self.error(f"the password file {file} holds no password on its first line.")
        return found

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except OSError as cause:
            raise self.error(f"the certificate file {self.ca_file} cannot be used: {cause}.") from cause
        if self.cert_file is not None:
            try:
                # A key with a passphrase would ask for it on the terminal, which a service has not.
                context.load_cert_chain(self.cert_file, self.key_file, password=lambda: "")
            except OSError as cause:
                raise self.error(
                    f"the client certificate {self.cert_file} with the key {self.key_file or self.cert_file} cannot be "
                    f"used: {cause}. Both must be PEM files that belong together, the key without a passphrase."
                ) from cause
        return context
