"""Peers of the listeners for gateways: they speak the wire byte by byte, well or badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.integration.serving import free_port
from tidegate.entrypoints.gateway_listener import Connect, GatewayListener

PATIENCE_S = 30.0


class Peer:
    """One connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def take(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE_S):
            return await self.reader.readexactly(size)

    async def rest(self) -> bytes:
        """Everything until the other side closes."""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE_S):
                return await self.reader.read()
        return b""

    async def close(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


class Listening:
    """A listener, and what is left of its connections."""

    def __init__(self, listener: GatewayListener, port: int) -> None:
        self.listener, self.port = listener, port

    @property
    def connections(self) -> int:
        return len(self.listener._connections)

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        peer = Peer(*await asyncio.open_connection("127.0.0.1", self.port))
        try:
            yield peer
        finally:
            await peer.close()

    async def deserted(self) -> None:
        """Wait until no connection is left."""
        async with asyncio.timeout(PATIENCE_S):
            while self.connections:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(connect: Connect) -> AsyncIterator[Listening]:
    """Listen while the body runs; no task of a connection may be left."""
    port = free_port()
    listener = GatewayListener("test.listen", f"127.0.0.1:{port}", connect)
    await listener.start()
    try:
        yield Listening(listener, port)
    finally:
        await listener.stop()
    left = {task for task in asyncio.all_tasks() if "entrypoints" in str(task.get_coro())}
    if left:
        _, pending = await asyncio.wait(left, timeout=PATIENCE_S)
        assert not pending, pending
