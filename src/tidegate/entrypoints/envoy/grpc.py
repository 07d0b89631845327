"""Unary gRPC calls: which method, by when, and how it ended.

Source: "gRPC over HTTP2", the protocol description of the gRPC project.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import quote

from tidegate.entrypoints.envoy.http2 import Headers, Reply

OK, INVALID_ARGUMENT, DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED = 0, 3, 4, 8
UNIMPLEMENTED, INTERNAL, UNAVAILABLE = 12, 13, 14

Method = Callable[[bytes, Headers], Awaitable[bytes]]
"""Takes a message and the call's headers, returns a message."""

PREFIX_BYTES = 5
MESSAGE_MAX_BYTES = 32 * 1024
DEADLINE_MAX_S = 60.0
DEADLINE_SHARE = 0.9
"""How much of a caller's deadline is used: an answer has to be there before it."""

_TIMEOUT = re.compile(rb"([0-9]{1,8})([HMSmun])")
_UNITS_S = {b"H": 3600.0, b"M": 60.0, b"S": 1.0, b"m": 1e-3, b"u": 1e-6, b"n": 1e-9}

_log = logging.getLogger(__name__)


class CallFailed(Exception):
    """A call that has no answer but a status, which Envoy takes for a fault of the service."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class GrpcMethods:
    """Answers calls of these methods, by their full path."""

    def __init__(self, methods: Mapping[bytes, Method]) -> None:
        self._methods = dict(methods)

    async def respond(self, headers: Headers, body: bytes) -> Reply:
        """Answer a call. Raises nothing but a cancellation."""
        try:
            method = self._method(headers)
            message = _message(body)
            async with asyncio.timeout(_deadline_s(headers)):
                answer = await method(message, headers)
        except CallFailed as failed:
            return _failed(failed.status, failed.message)
        except TimeoutError:
            return _failed(DEADLINE_EXCEEDED, "not decided in time")
        except Exception:
            _log.exception("a bug: this call was not answered as it should be")
            return _failed(INTERNAL, "a fault of ours")
        return Reply(_HEAD, b"\x00" + len(answer).to_bytes(4, "big") + answer, _GOOD)

    def _method(self, headers: Headers) -> Method:
        method = self._methods.get(headers.get(b":path", b""))
        if method is None or headers.get(b":method") != b"POST":
            raise CallFailed(UNIMPLEMENTED, "there is no such method")
        if not headers.get(b"content-type", b"").startswith(b"application/grpc"):
            raise CallFailed(UNIMPLEMENTED, "send application/grpc")
        return method


def _message(body: bytes) -> bytes:
    """Return the one message of a call."""
    size = int.from_bytes(body[1:PREFIX_BYTES], "big")
    if size > MESSAGE_MAX_BYTES:
        allowed = f"a message has at most {MESSAGE_MAX_BYTES} bytes"
        raise CallFailed(RESOURCE_EXHAUSTED, allowed)
    if len(body) != PREFIX_BYTES + size:
        raise CallFailed(INVALID_ARGUMENT, "send one whole message")
    if body[0]:
        raise CallFailed(UNIMPLEMENTED, "messages must not be compressed")
    return body[PREFIX_BYTES:]


def _deadline_s(headers: Headers) -> float:
    stated = headers.get(b"grpc-timeout")
    if stated is None:
        return DEADLINE_MAX_S
    found = _TIMEOUT.fullmatch(stated)
    if found is None:
        raise CallFailed(INVALID_ARGUMENT, "grpc-timeout is none")
    return min(DEADLINE_MAX_S, int(found[1]) * _UNITS_S[found[2]]) * DEADLINE_SHARE


def _failed(status: int, message: str) -> Reply:
    named = quote(message, safe=" ,.:;/").encode()[:126]
    fields = [(b"grpc-status", b"%d" % status), (b"grpc-message", named)]
    return Reply(_HEAD, b"", _block(fields))


def _block(headers: list[tuple[bytes, bytes]]) -> bytes:
    """Return headers, each part shorter than 127 bytes, in a form without compression state."""
    return b"".join(
        b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value
        for name, value in headers
    )


# `:status: 200` stands in the static table (RFC 7541, appendix A) under 8.
_HEAD = b"\x88" + _block([(b"content-type", b"application/grpc")])
_GOOD = _block([(b"grpc-status", b"0")])
