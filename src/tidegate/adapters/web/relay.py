"""Carries bytes between a client and a remote server, in both directions at once.

Back-pressure is the streams' own: nothing is read before what was read last has been taken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass

from tidegate.adapters.web.passage import GuardedPassage

READ_BYTES = 64 * 1024

LINGER_S = 2.0
"""How long a client may take to read the rest of an answer and close."""

LINGER_BYTES = 2**20
"""How much a client may still send meanwhile; it is thrown away."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Both ends of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def abort(self) -> None:
        """Drop the connection at once, with whatever it still held."""
        self.writer.transport.abort()

    async def send(self, data: bytes) -> None:
        """Write, and wait until the other side keeps up."""
        self.writer.write(data)
        await self.writer.drain()

    async def linger(self) -> None:
        """Say that no more comes, and let the other side close.

        Closing while bytes from the other side are unread would reset the connection, and the
        answer would be lost on its way.
        """
        if self.writer.can_write_eof():
            try:
                self.writer.write_eof()
            except (OSError, RuntimeError):
                # The other side was quicker; uvloop raises RuntimeError on a closed transport.
                return
        left_bytes = LINGER_BYTES
        async with asyncio.timeout(LINGER_S):
            while left_bytes > 0 and (data := await self.reader.read(READ_BYTES)):
                left_bytes -= len(data)


class Relay:
    """One client and one server, one idle deadline, the budgets of one passage."""

    def __init__(
        self, client: Stream, server: Stream, passage: GuardedPassage, *, idle_us: int
    ) -> None:
        self._client = client
        self._server = server
        self._passage = passage
        self._idle_s = idle_us / 1e6
        self._deadline = asyncio.timeout(self._idle_s)

    async def run(
        self, upload: Coroutine[None, None, None], download: Coroutine[None, None, None]
    ) -> bool:
        """Run both ways until one ends, and end the other. Return whether the download did.

        Raises:
            TimeoutError: no byte moved for `idle_us`.
            Refused: a budget is spent.
        """
        async with self._deadline:
            up, down = asyncio.ensure_future(upload), asyncio.ensure_future(download)
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
                down_done = down.done()
                await (down if down_done else up)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
        return down_done

    async def from_client(self) -> bytes:
        """Read what the client sent; empty at its end."""
        data = await self._client.reader.read(READ_BYTES)
        self._touch()
        return data

    async def from_server(self) -> bytes:
        """Read what the server sent; empty at its end."""
        data = await self._server.reader.read(READ_BYTES)
        self._touch()
        self._passage.receive(len(data))
        return data

    async def to_client(self, data: bytes) -> None:
        """Pass an answer on."""
        await self._client.send(data)
        self._touch()

    async def to_server(self, data: bytes) -> None:
        """Pass a request on."""
        self._passage.send(len(data))
        await self._server.send(data)
        self._touch()

    def _touch(self) -> None:
        if not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time() + self._idle_s)


async def tunnel(relay: Relay, first: bytes) -> None:
    """Carry bytes unread, as after CONNECT, until one side ends. `first` the client sent early.

    TLS and WebSocket never go on in one direction alone, so the end of one is the end.
    """

    async def upload() -> None:
        data = first or await relay.from_client()
        while data:
            await relay.to_server(data)
            data = await relay.from_client()

    async def download() -> None:
        while data := await relay.from_server():
            await relay.to_client(data)

    await relay.run(upload(), download())
