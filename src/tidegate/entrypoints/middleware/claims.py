"""Ready-made claim functions, for ASGI scopes and WSGI environs alike.

Each makes tenants of what a request says. None of them checks who says it: put them behind
whatever does, or divide what is scarce by what nobody can choose, such as the address.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_network

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.entrypoints.middleware.request import (
    LOCAL,
    Address,
    Network,
    Source,
    address_of,
    header,
    method_of,
    networks,
    path_of,
    peer_of,
)
from tidegate.errors import InvalidRequest

ClaimFunction = Callable[[Source], Claim | None]


class OfRequest:
    """A claim function that looks at the request alone, wherever among other things that is."""

    def __init__(self, make: ClaimFunction) -> None:
        self._make = make

    def __call__(self, source: Source) -> Claim | None:
        """Make the claim of a scope, an environ, or a request object around one."""
        return self._make(source)


VALUE_LENGTH_MAX = 200
"""Longest header value that can be a tenant: each is kept as long as its limits remember it."""


def by_header(
    name: str,
    *,
    take: Mapping[str, int] | None = None,
    hold: Mapping[str, int] | None = None,
    absent: str = "anonymous",
) -> ClaimFunction:
    """Return a claim function whose tenant is a header field.

    Args:
        name: The field, such as `X-Tenant-ID`. Whoever can choose it can choose the tenant: let the
            proxy or the middleware that checks the caller set it, and overwrite what comes in.
        take: What each request spends.
        hold: What each request holds.
        absent: The tenant of all requests that have no such field.
    """
    taken, held = dict(take or {}), dict(hold or {})

    @OfRequest
    def claim(source: Source) -> Claim:
        tenant = header(source, name) or absent
        if len(tenant) > VALUE_LENGTH_MAX:
            allowed = f"at most {VALUE_LENGTH_MAX} characters"
            raise InvalidRequest(name, f"{tenant[:20]}...", allowed)
        return Claim(tenant=tenant, take=taken, hold=held)

    return claim


def by_client_address(
    *,
    take: Mapping[str, int] | None = None,
    hold: Mapping[str, int] | None = None,
    trusted_proxies: Sequence[str] = (),
    ipv6_prefix: int = 64,
) -> ClaimFunction:
    """Return a claim function whose tenant is the client's address.

    `X-Forwarded-For` is believed as far as trusted proxies wrote it: from the right, up to the
    first address that is not one of theirs. Anybody can put more on its left.

    Args:
        take: What each request spends.
        hold: What each request holds.
        trusted_proxies: Addresses and networks of your proxies; `unix` for one on a Unix socket.
            Empty where the server has put the client's address in place already, as uvicorn does
            for proxies on the same machine.
        ipv6_prefix: Bits of an IPv6 address that make one client, which often has all the others.

    Raises:
        InvalidRequest: a proxy is neither address nor network, or the prefix is not 1..128.
    """
    if not 1 <= ipv6_prefix <= 128:
        raise InvalidRequest("ipv6_prefix", ipv6_prefix, "1..128")
    taken, held = dict(take or {}), dict(hold or {})
    trusted, local = networks(trusted_proxies), LOCAL in trusted_proxies

    @OfRequest
    def claim(source: Source) -> Claim:
        peer = peer_of(source)
        forwarded = header(source, "X-Forwarded-For") if trusted or local else ""
        client = _client(peer, forwarded, trusted, local=local)
        tenant = peer if client is None else _grouped(client, ipv6_prefix)
        return Claim(tenant=tenant, take=taken, hold=held)

    return claim


def per_route(
    routes: Mapping[str, ClaimFunction | None], *, otherwise: ClaimFunction | None
) -> ClaimFunction:
    """Return a claim function that leaves each route to its own.

    The claim's `route` is the key that matched, so that limits may be `per=("tenant", "route")`.

    Args:
        routes: Claim functions by `"/path"` or `"METHOD /path"`; the first that matches counts. A
            path matches itself and what lies below it; `{}` in it stands for one segment.
            None lets requests pass.
        otherwise: For all other requests.

    Raises:
        InvalidRequest: a route is neither `/path` nor `METHOD /path`.
    """
    rules = [(_method(route), _segments(route), route, own) for route, own in routes.items()]

    @OfRequest
    def claim(source: Source) -> Claim | None:
        method, path = method_of(source), path_of(source).split("/")
        parts = [part for part in path if part]
        for wanted, segments, route, own in rules:
            if wanted in ("", method) and _matches(segments, parts):
                made = own(source) if own is not None else None
                return made if made is None or made.route else replace(made, route=route)
        return otherwise(source) if otherwise is not None else None

    return claim


def _client(
    peer: str, forwarded: str, trusted: tuple[Network, ...], *, local: bool
) -> Address | None:
    """Return the nearest address that is no trusted proxy's; None if the peer has none."""
    client = address_of(peer)
    if client is None and not (local and peer == LOCAL):
        return None
    hops = forwarded.split(",") if forwarded else []
    while hops and (client is None or any(client in network for network in trusted)):
        further = address_of(hops.pop())
        if further is None:
            break
        client = further
    return client


def _grouped(client: Address, ipv6_prefix: int) -> str:
    if client.version == 4:
        return str(client)
    return str(ip_network(f"{client}/{ipv6_prefix}", strict=False))


def _method(route: str) -> str:
    method, _, path = route.rpartition(" ")
    if not path.startswith("/") or " " in method:
        raise InvalidRequest("routes", route, '"/path" or "METHOD /path"')
    return "GET" if method == "HEAD" else method.upper()


def _segments(route: str) -> list[str]:
    return [part for part in route.rpartition(" ")[2].split("/") if part]


def _matches(segments: list[str], parts: list[str]) -> bool:
    return len(segments) <= len(parts) and all(
        wanted in ("{}", part) for wanted, part in zip(segments, parts, strict=False)
    )
