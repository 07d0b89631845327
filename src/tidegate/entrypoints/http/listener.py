"""The socket the service answers on, bound before anything heavy is loaded or started."""

from __future__ import annotations

import socket

from tidegate.bootstrap import Settings
from tidegate.errors import InvalidSetting, Unavailable

BACKLOG = 2048


def bind(settings: Settings) -> socket.socket:
    """Bind the address of the settings.

    Raises:
        InvalidSetting: the host is none.
        Unavailable: the port is in use, or the address is not ours.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM
        )[0]
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no name of a host"
        raise InvalidSetting("host", settings.host, f"an address ({reason.lower()})") from None
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        reason = (error.strerror or str(error)).lower()
        raise Unavailable(
            f"port {settings.port} on {settings.host} cannot be had: {reason}; "
            "choose another one with --port or TIDEGATE_PORT"
        ) from None
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL under which a bound socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
