"""One governed exchange over ASGI: what the client sends, what it is sent, and when that is over.

Source: the ASGI specification, HTTP and WebSocket messages, version 2.5, and its extensions.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from typing import Any

from tidegate.domain.lease import Lease
from tidegate.entrypoints.middleware.answer import Answer
from tidegate.entrypoints.middleware.inbox import Inbox, Message, Receive

Scope = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Any, Any, Any], Awaitable[None]]

GRACE_S = 1.0
"""How long an application may take to end by itself whose client has gone while it was sending."""

TRY_AGAIN_LATER = 1013
POLICY_VIOLATION = 1008


class Exchange:
    """An HTTP request or a WebSocket session, and its answer.

    It is `complete` once the answer has been sent to its end, and `abandoned` once the client has
    gone while it was being sent.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self.inbox = Inbox(receive)
        self.complete = self.abandoned = False
        self.status = 0
        self._news = asyncio.Event()
        self._send = send
        self._running: asyncio.Future[None] | None = None
        self._lease: Lease | None = None
        self._fields: list[tuple[bytes, bytes]] = []
        self._watched = self._streaming = self._trailers = False
        self.inbox.gone.add_done_callback(self._look)

    def grant(
        self, lease: Lease, fields: list[tuple[bytes, bytes]], *, watched: bool = False
    ) -> None:
        """Note what the exchange holds, and the header fields that its answer gets.

        If `watched`, the client's going is noticed from the first part of a longer answer on.
        """
        self._lease, self._fields, self._watched = lease, fields, watched

    def holds(self, lease_id: str) -> bool:
        """Say whether this is the lease that was granted to the exchange."""
        return self._lease is not None and self._lease.id == lease_id

    def ended(self) -> None:
        """Give back what is held: the application has ended, its answer complete or not."""
        if self._lease is None:
            return
        if self.abandoned:
            self._lease.release("cancelled")
        else:
            good = self.scope["type"] == "websocket" or self.complete
            self._lease.release("success" if good and self.status < 500 else "failed")

    async def send(self, message: Message) -> None:
        """Send what the application sends; give back what is held once that was the last of it."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._trailers = message.get("trailers", False)
            message = {**message, "headers": [*message.get("headers", ()), *self._fields]}
        elif message["type"] == "http.response.body" and message.get("more_body"):
            self._streaming = True
            if self._watched:
                self.inbox.listen()
            self._look()
        await self._send(message)
        if self._is_last(message) and not self.complete:
            self.complete = True
            self._news.set()
            self.ended()

    async def run(self, work: Awaitable[None]) -> None:
        """Run the application until its answer is complete, or it has ended before that.

        It runs in a task of its own, for it may go on after its answer.
        """
        self._running = running = asyncio.ensure_future(work)
        running.add_done_callback(lambda _: self._news.set())
        await self._news.wait()
        if not (self.complete or running.done()):
            # Without its client an application has a moment to notice, and is then ended.
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE_S):
                    await self._news.wait()
        if self.complete:
            return
        if self.abandoned:
            await _stop(running)
        else:
            running.result()
        self.ended()

    async def finish(self) -> None:
        """Wait for what the application does after its answer."""
        if self._running is not None and not (self.abandoned and self._running.cancelled()):
            await self._running

    async def stop(self) -> None:
        """End the application if it runs."""
        if self._running is not None:
            await _stop(self._running)

    async def close(self) -> None:
        """End whatever still runs for this exchange."""
        await self.stop()
        await self.inbox.close()

    async def answer(self, answer: Answer) -> None:
        """Answer instead of the application."""
        if self.scope["type"] == "websocket":
            await self._close(answer)
            return
        body = b"" if self.scope["method"] == "HEAD" else answer.body
        start = {"type": "http.response.start", "status": answer.status}
        await self._send({**start, "headers": answer.raw_headers})
        await self._send({"type": "http.response.body", "body": body})

    async def _close(self, answer: Answer) -> None:
        if "websocket.http.response" in (self.scope.get("extensions") or {}):
            start = {"type": "websocket.http.response.start", "status": answer.status}
            await self._send({**start, "headers": answer.raw_headers})
            await self._send({"type": "websocket.http.response.body", "body": answer.body})
            return
        await self.inbox.receive()
        code = TRY_AGAIN_LATER if answer.status in (429, 503) else POLICY_VIOLATION
        close = {"type": "websocket.close", "code": code, "reason": answer.problem["code"]}
        await self._send(close)

    def _is_last(self, message: Message) -> bool:
        kind = message["type"]
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        body = kind == "http.response.body" and not message.get("more_body")
        return (body or kind == "http.response.pathsend") and not self._trailers

    def _look(self, _: object = None) -> None:
        if self._streaming and self.inbox.gone.done() and not self.abandoned:
            self.abandoned = True
            self._news.set()


async def _stop(running: asyncio.Future[None]) -> None:
    if running.done():
        return
    running.cancel()
    await asyncio.wait({running})
    if not running.cancelled():
        # Whoever waits for it hears of its error; if nobody does, that is no news.
        running.exception()
