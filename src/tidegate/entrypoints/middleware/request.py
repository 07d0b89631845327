"""What claims are made of: one way to read a request, be it an ASGI scope or a WSGI environ.

Also takes the request objects of Starlette, Litestar, Django and Flask, which carry one of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from tidegate.errors import InvalidRequest

Source = Mapping[str, Any] | Any
"""A scope, an environ, or a request object around one of them."""

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

LOCAL = "unix"
"""How a peer on a Unix socket is called: it has no address."""


def header(source: Source, name: str) -> str:
    """Return a header field, its lines joined by commas; empty where there is none."""
    plain = _plain(source)
    if _is_wsgi(plain):
        value: str = plain.get(f"HTTP_{name.upper().replace('-', '_')}", "")
        return value.strip()
    wanted = name.lower().encode()
    lines = [value.decode("latin-1") for key, value in plain["headers"] if key == wanted]
    return ", ".join(lines).strip()


def method_of(source: Source) -> str:
    """Return the method. Whatever can be got can be asked after: HEAD counts as GET."""
    plain = _plain(source)
    # A WebSocket begins with a GET.
    method = plain["REQUEST_METHOD"] if _is_wsgi(plain) else plain.get("method", "GET")
    return "GET" if method == "HEAD" else str(method)


def path_of(source: Source) -> str:
    """Return the decoded path below the place where the application is mounted."""
    plain = _plain(source)
    if _is_wsgi(plain):
        # PEP 3333 carries the bytes of the path as latin-1.
        return str(plain.get("PATH_INFO", "")).encode("latin-1").decode("utf-8", "replace")
    path, root = str(plain["path"]), str(plain.get("root_path", "")).rstrip("/")
    mounted = root and f"{path}/".startswith(f"{root}/")
    return path[len(root) :] or "/" if mounted else path


def peer_of(source: Source) -> str:
    """Return the address of whoever connected, `unix` where it has none."""
    plain = _plain(source)
    if _is_wsgi(plain):
        return plain.get("REMOTE_ADDR") or LOCAL
    client = plain.get("client")
    return client[0] if client and client[0] else LOCAL


def networks(trusted: Sequence[str]) -> tuple[Network, ...]:
    """Return addresses and networks as such.

    Raises:
        InvalidRequest: one is neither.
    """
    try:
        return tuple(ip_network(each) for each in trusted if each != LOCAL)
    except ValueError as error:
        allowed = f"addresses, networks such as 10.0.0.0/8, or {LOCAL}; {error}"
        raise InvalidRequest("trusted_proxies", trusted, allowed) from None


def address_of(text: str) -> Address | None:
    """Return an address, with or without a port; None if it is none."""
    host = text.strip()
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    elif host.count(":") == 1:
        host = host.partition(":")[0]
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _plain(source: Source) -> Mapping[str, Any]:
    for name in ("scope", "META", "environ"):
        inner = getattr(source, name, None)
        if isinstance(inner, Mapping):
            return inner
    plain: Mapping[str, Any] = source
    return plain


def _is_wsgi(plain: Mapping[str, Any]) -> bool:
    return "REQUEST_METHOD" in plain
