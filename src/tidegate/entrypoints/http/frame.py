"""What surrounds every request: an id, a log line, counters, the size limit, the key.

Plain ASGI and not a stack of middleware classes: one pass over the request, and `receive` stays
the server's own, so that routes can see a client hang up.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.entrypoints.http.large_json import SMALL_BYTES
from tidegate.entrypoints.http.problems import problem, problem_of
from tidegate.errors import AdmissionDenied, TidegateError
from tidegate.facades.service import Service

MULTIPART_OVERHEAD_BYTES = 64 * 1024
BODY_S = 30.0
"""How long a request may take to arrive: 20 MiB need 6 Mbit/s."""
BODY_HELD_S = 300.0
"""After that the bytes of a body count no more, should its request ever be lost track of."""

LINGER_S = 5.0
LINGER_MAX_BYTES = 256 * 2**20
"""How long and how much is still taken in from a client that sends too much: it reads the answer
only after it has sent everything, and loses it if the connection is reset before."""

_log, _levels = structlog.get_logger("tidegate.http"), logging.getLogger("tidegate.http")

OPEN_PATHS = {
    "/healthz": "health",
    "/readyz": "health",
    "/metrics": "metrics",
    "/openapi.json": "docs",
    "/docs": "docs",
}
QUIET = {*OPEN_PATHS, "/v1/check", "/v1/release"}
"""Logged for debugging only: a line costs as much as a check, and gateways keep their own log."""


class Frame:
    """The outermost ASGI application.

    Args:
        closed: Names of the groups in `OPEN_PATHS` that need the admin key after all.
    """

    def __init__(
        self, app: ASGIApp, service: Service, *, body_max_bytes: int, closed: frozenset[str]
    ) -> None:
        self._app, self._service = app, service
        self._body_max_bytes = body_max_bytes
        self._closed = closed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; let other kinds of events through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _Exchange(scope, receive, send, body_max_bytes=self._body_max_bytes)
        structlog.contextvars.bind_contextvars(request_id=exchange.request_id)
        try:
            await self._serve(exchange)
        except TidegateError as error:
            await exchange.answer(self._problem(error))
        except ClientDisconnect:
            # Gone while its body was read; or we stopped reading a body that was too large.
            if exchange.too_large:
                await exchange.answer_too_large()
            elif exchange.too_slow:
                await exchange.answer_too_slow()
        except Exception:
            _log.exception("a bug: this request was not answered as it should be")
            detail = f"a fault of ours; look for {exchange.request_id} in the log"
            await exchange.answer(problem(500, "internal_error", detail))
        finally:
            self._note(exchange)
            structlog.contextvars.clear_contextvars()

    async def _serve(self, exchange: _Exchange) -> None:
        await self._identify(exchange)
        if exchange.too_large:
            await exchange.answer_too_large()
            return
        with self._room_for_body(exchange):
            await self._app(exchange.scope, exchange.receive, exchange.send)
        if exchange.too_slow:
            await exchange.answer_too_slow()

    @contextmanager
    def _room_for_body(self, exchange: _Exchange) -> Iterator[None]:
        """Hold the bytes of a large body while it is here, so that many cannot fill the memory.

        Raises:
            AdmissionDenied: this tenant, or all together, have too many on their way.
        """
        if exchange.body_bytes <= SMALL_BYTES or not exchange.tenant:
            yield
            return
        claim = Claim(tenant=exchange.tenant, hold={"body_bytes": exchange.body_bytes})
        decision = self._service.gate.try_admit(claim, lease_s=BODY_HELD_S, holder="body")
        if isinstance(decision, Denied):
            raise AdmissionDenied(decision)
        try:
            yield
        finally:
            decision.lease.release()

    async def _identify(self, exchange: _Exchange) -> None:
        """Check the key of what needs one, before anything of the body is read."""
        path, request = exchange.scope["path"], Request(exchange.scope)
        key = _bearer(request)
        access = self._service.access
        if path.startswith("/v1/"):
            tenant = await access.tenant(key, request.headers.get("x-tenant-id"))
            request.state.tenant = tenant
            exchange.tenant = tenant.id
            structlog.contextvars.bind_contextvars(tenant=tenant.id)
        elif path.startswith("/admin/") or _group(path) in self._closed:
            await access.admin(key)

    def _problem(self, error: TidegateError) -> Response:
        service = self._service
        return problem_of(error, service.gate.policy, service.now_us())

    def _note(self, exchange: _Exchange) -> None:
        elapsed_us = round((time.perf_counter() - exchange.started_s) * 1e6)
        route = exchange.scope.get("route")
        template = getattr(route, "path", "unmatched")
        method = exchange.method
        self._service.metrics.http(template, method, exchange.status, elapsed_us)
        level = logging.DEBUG if template in QUIET else logging.INFO
        if not _levels.isEnabledFor(level):
            return
        _log.log(
            level,
            "request",
            method=method,
            path=exchange.scope["path"],
            status=exchange.status,
            elapsed_s=round(elapsed_us / 1e6, 4),
        )


class _Exchange:
    """One request on its way through: counts what comes in, remembers what went out."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, body_max_bytes: int) -> None:
        self._receive, self._send = receive, send
        self.method = scope["method"]
        # Whatever can be got can be asked after: the same answer, without its body.
        self.scope = {**scope, "method": "GET"} if self.method == "HEAD" else scope
        self.started_s = time.perf_counter()
        self.request_id = secrets.token_hex(12)
        self.tenant = ""
        self.status = 499
        self.scope.setdefault("state", {})["request_id"] = self.request_id
        headers = dict(scope["headers"])
        self._expects = b"expect" in headers
        self._max_bytes = _body_max_bytes(scope["path"], headers, body_max_bytes)
        length = headers.get(b"content-length", b"0")
        stated = int(length) if length.isdigit() else 0
        self.body_bytes = self._max_bytes if b"transfer-encoding" in headers else stated
        self.too_large, self.too_slow = stated > self._max_bytes, False
        self._read_bytes = 0
        self._read_all = self._replaced = False

    async def receive(self) -> Message:
        """Hand on what the client sends, up to the limit."""
        if self._read_all:
            return await self._receive()
        left_s = self.started_s + BODY_S - time.perf_counter()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                message = await self._receive()
        except TimeoutError:
            self.too_slow = True
            return {"type": "http.disconnect"}
        self._read_bytes += len(message.get("body", b""))
        self._read_all = not message.get("more_body", False)
        if self._read_bytes > self._max_bytes:
            self.too_large = True
            return {"type": "http.disconnect"}
        return message

    async def send(self, message: Message) -> None:
        """Hand on the answer, with the request's id, unless the body turned out too large."""
        if self.too_large:
            if not self._replaced:
                await self.answer_too_large()
            return
        if self.too_slow and not self._replaced:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            request_id = (b"x-request-id", self.request_id.encode())
            message["headers"] = [*message.get("headers", []), request_id]
        elif self.method == "HEAD":
            message["body"] = b""
        await self._send(message)

    async def answer_too_large(self) -> None:
        """Answer 413, let the client come to the end of what it is sending, and close."""
        self.too_large, self._replaced = False, True
        detail = f"the body is larger than {self._max_bytes} bytes"
        response = problem(413, "too_large", detail, headers={"Connection": "close"})
        if self.status == 499:
            start, body = "http.response.start", "http.response.body"
            headers = response.raw_headers
            await self.send({"type": start, "status": 413, "headers": headers})
            await self.send({"type": body, "body": response.body, "more_body": True})
            await self._linger()
            await self.send({"type": body, "body": b""})
        self.too_large = True

    async def answer_too_slow(self) -> None:
        """Answer 408 and close: the body did not arrive in time."""
        self._replaced = True
        detail = f"the body did not arrive within {BODY_S:g} s"
        await self.answer(problem(408, "too_slow", detail, headers={"Connection": "close"}))

    async def _linger(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                # Who asks before it sends has its answer and sends nothing.
                while not (self._read_all or self._expects):
                    message = await self._receive()
                    self._read_bytes += len(message.get("body", b""))
                    if self._read_bytes > LINGER_MAX_BYTES:
                        return
                    self._read_all = not message.get("more_body", False)

    async def answer(self, response: Response) -> None:
        """Send an answer of the frame's own, unless one has begun already."""
        if self.status == 499:
            await response(self.scope, self.receive, self.send)


def _group(path: str) -> str | None:
    """Return the group of `OPEN_PATHS` that a path belongs to, with all that lies below it."""
    return next(
        (name for place, name in OPEN_PATHS.items() if f"{path}/".startswith(f"{place}/")), None
    )


def _body_max_bytes(path: str, headers: dict[bytes, bytes], most_bytes: int) -> int:
    """Return how large a body may be: files and pages are large, all else is a few fields."""
    if path == "/v1/extract":
        return most_bytes
    if path == "/v1/pdf" and headers.get(b"content-type", b"").startswith(b"multipart/"):
        return most_bytes + MULTIPART_OVERHEAD_BYTES
    return min(most_bytes, SMALL_BYTES)


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key.strip() else None
