"""TLS towards a store, as its URL asks for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from tidegate.errors import InvalidSetting


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Which certificates are trusted and shown. By default the system's, and the name is checked.

    Attributes:
        ca_file: PEM file of the authorities that are trusted instead of the system's.
        cert_file, key_file: What this side shows, where the server asks for it.
        verify: False trusts whoever answers.
        check_hostname: False accepts a trusted certificate of another name.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    key_password: str = field(default="", repr=False)
    verify: bool = True
    check_hostname: bool = True

    def context(self) -> ssl.SSLContext:
        """Read the files and make what connections share. It takes milliseconds.

        Raises:
            InvalidSetting: a file cannot be read, or holds no certificate or key.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise _unreadable("ssl_ca_certs", self.ca_file, error) from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.verify and self.check_hostname
        context.verify_mode = ssl.CERT_REQUIRED if self.verify else ssl.CERT_NONE
        if self.cert_file:
            try:
                # A function, even of an empty password: otherwise OpenSSL asks on the terminal.
                context.load_cert_chain(
                    self.cert_file, self.key_file or None, lambda: self.key_password
                )
            except (OSError, ValueError) as error:
                raise _unreadable("ssl_certfile", self.cert_file, error) from None
        return context


def _unreadable(option: str, path: str, error: Exception) -> InvalidSetting:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or "unreadable"
    return InvalidSetting(option, path, f"a readable PEM file with its key ({reason})")
