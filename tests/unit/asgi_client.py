"""The server's side of ASGI, by hand: what arrives, what was sent, and applications that behave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tidegate import Capacity, Claim, Gate, RateLimit
from tidegate.entrypoints.middleware import AdmissionMiddleware

DEADLINE_S = 30.0
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HELD = Claim(tenant="acme", take={"requests": 1}, hold={"slots": 1})
SPENT = Claim(tenant="acme", take={"requests": 1})
GOOD = {"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]}
END = {"type": "http.response.body", "body": b"end"}
PART = {"type": "http.response.body", "body": b"part", "more_body": True}
GONE = {"type": "http.disconnect"}


def small_gate() -> Gate:
    """A gate with one slot."""
    return Gate(
        limits=[
            RateLimit("requests", units=100, period_s=3600, per=("tenant",)),
            Capacity("slots", units=1),
        ]
    )


def free(gate: Gate) -> int:
    (slots,) = [state for state in gate.limits(Claim()) if state.name == "slots"]
    return slots.remaining


def ends(gate: Gate) -> dict[str, int]:
    """How often something was given back, by how it ended. What was spent cannot be."""
    return {outcome: count for outcome, count in gate.releases.items() if count}


class Client:
    """The server's side of one connection: what arrives, and what was sent."""

    def __init__(self, *arriving: dict[str, Any]) -> None:
        self.arriving: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for message in arriving or ({"type": "http.request", "body": b""},):
            self.arriving.put_nowait(message)
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        message = await self.arriving.get()
        if message == GONE:
            self.arriving.put_nowait(message)
        return message

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def asks(self, app: Any, **scope: Any) -> None:
        http = {"type": "http", "method": "GET", "path": "/", "headers": []}
        async with asyncio.timeout(DEADLINE_S):
            await app({**http, **scope}, self.receive, self.send)

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.sent[0]["headers"]}

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def around(app: Any, gate: Gate, claim: Claim | None = HELD, **options: Any) -> AdmissionMiddleware:
    return AdmissionMiddleware(app, gate=gate, claim=lambda scope: claim, **options)


@asynccontextmanager
async def asking(client: Client, app: Any, **scope: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(client.asks(app, **scope))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not true():
            await asyncio.sleep(0)


async def plain(scope: Any, receive: Receive, send: Send) -> None:
    await send(GOOD)
    await send(END)


async def forever(scope: Any, receive: Receive, send: Send) -> None:
    """Stream, deaf to whatever the client does."""
    await send(GOOD)
    while True:
        await send(PART)
        await asyncio.sleep(0.001)
