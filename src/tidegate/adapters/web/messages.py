"""What a proxy changes and checks in HTTP messages. Parsing itself is h11's.

Source: RFC 9110, sections 7.6.1 (hop-by-hop fields) and 9.3.6 (CONNECT); RFC 7617 (Basic).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

import h11

from tidegate.domain.target import Target, parse_url
from tidegate.errors import InvalidUrl
from tidegate.ports.egress_guard import MARKER

_MARKER = MARKER.encode()

REASON_BYTES = 200
"""Longest reason phrase; some reasons quote what the other side sent."""

Headers = list[tuple[bytes, bytes]]

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        _MARKER,
    )
)
_UNPRINTABLE = re.compile(rb"[^ -~]")


class Rejection(Exception):
    """An answer that the guard gives in place of the remote server."""

    def __init__(self, status: int, reason: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers

    @classmethod
    def refused(cls, reason: str) -> Rejection:
        """The policy or a budget says no."""
        return cls(403, reason, (_MARKER, b"refused"))

    @classmethod
    def failed(cls, reason: str) -> Rejection:
        """The remote server could not be had."""
        return cls(502, reason, (_MARKER, b"failed"))

    @classmethod
    def unknown(cls) -> Rejection:
        """The credentials are of no open passage."""
        challenge = (b"Proxy-Authenticate", b'Basic realm="tidegate"')
        return cls(407, "no open passage", challenge, (_MARKER, b"unknown"))

    def write(self, connection: h11.Connection) -> bytes:
        """Turn it into bytes; the reason is both the phrase and the body."""
        reason = _UNPRINTABLE.sub(b"?", self.reason.encode())[:REASON_BYTES]
        body = reason + b"\n"
        headers = [
            *self.headers,
            (b"Content-Type", b"text/plain; charset=utf-8"),
            (b"Content-Length", str(len(body)).encode()),
            (b"Connection", b"close"),
        ]
        head = connection.send(
            h11.Response(status_code=self.status, headers=headers, reason=reason)
        )
        try:
            return head + connection.send(h11.Data(data=body))
        except h11.LocalProtocolError:
            # The request was a HEAD.
            return head


def credentials(request: h11.Request) -> tuple[str, str] | None:
    """Return user and password for the proxy, or None where they are missing or unclear."""
    found = [value for name, value in request.headers if name == b"proxy-authorization"]
    if len(found) != 1:
        return None
    scheme, _, token = found[0].partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(token, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return (user, password) if colon else None


def target_of(request: h11.Request, *, length_max: int) -> Target:
    """Read where a request goes.

    Raises:
        Rejection: neither `CONNECT host:port` nor an absolute http URL, or its framing is unclear.
    """
    framings = {name for name, _ in request.headers} & {b"content-length", b"transfer-encoding"}
    if len(framings) > (0 if request.method == b"CONNECT" else 1):
        raise Rejection(400, "more Content-Length or Transfer-Encoding than can be understood")
    text = request.target.decode("ascii")
    try:
        if request.method != b"CONNECT":
            target = parse_url(text, length_max=length_max)
            if target.scheme == "http":
                return target
        elif re.fullmatch(r"[^/?#]+:[0-9]+", text):
            return parse_url(f"https://{text}", length_max=length_max)
    except InvalidUrl as error:
        raise Rejection(400, f"not {error.allowed}") from error
    raise Rejection(400, "this proxy takes absolute http URLs and CONNECT host:port")


def request_for(request: h11.Request, target: Target) -> h11.Request:
    """Return the request as the remote server shall see it."""
    headers = _end_to_end(request.headers.raw_items(), dropped={b"host"})
    if any(name == b"transfer-encoding" for name, _ in request.headers):
        headers.append((b"Transfer-Encoding", b"chunked"))
    headers = [(b"Host", target.authority.encode()), *headers, (b"Connection", b"close")]
    return h11.Request(method=request.method, target=target.path.encode(), headers=headers)


def response_for(response: h11.Response) -> h11.Response:
    """Return the response as the client shall see it; h11 chooses the framing anew."""
    chunked = any(name == b"transfer-encoding" for name, _ in response.headers)
    dropped = {b"content-length"} if chunked else set()
    headers = _end_to_end(response.headers.raw_items(), dropped=dropped)
    headers.append((b"Connection", b"close"))
    return h11.Response(status_code=response.status_code, headers=headers, reason=response.reason)


def _end_to_end(headers: Iterable[tuple[bytes, bytes]], *, dropped: set[bytes]) -> Headers:
    headers = list(headers)
    named = {
        token.strip().lower()
        for name, value in headers
        if name.lower() == b"connection"
        for token in value.split(b",")
    }
    gone = _HOP_BY_HOP | named | dropped
    # A Connection field must not take the framing away with it.
    gone -= {b"content-length"} - dropped
    return [(name, value) for name, value in headers if name.lower() not in gone]
