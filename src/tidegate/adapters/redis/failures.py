"""What the network reports, as sentences that an operator can act on."""

from __future__ import annotations

import os
import socket
import ssl

from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.errors import StoreUnavailable

CLOSED = "the server closed the connection"
UNREADABLE = "the server's answer makes no sense"

_SENTENCES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "no answer in time"),
    (socket.gaierror, "its name cannot be resolved"),
    (UnicodeError, "its name cannot be resolved"),
    (EOFError, CLOSED),
)


def unavailable(endpoint: Endpoint, reason: str) -> StoreUnavailable:
    """Return the error that names the server and the reason."""
    return StoreUnavailable(f"the store at {endpoint}: {reason}")


def sentence(error: Exception) -> str:
    """Say what happened. The type or the number decides; the rest is the system's text."""
    for kind, text in _SENTENCES:
        if isinstance(error, kind):
            return text
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {error.reason or error}"
        case OSError():
            return os.strerror(error.errno).lower() if error.errno else str(error)
        case _:
            return UNREADABLE
