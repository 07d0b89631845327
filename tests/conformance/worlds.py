"""A shared store in this process, by the pure rule alone: what all others have to equal.

It can misbehave on demand, as a network and a server do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from tidegate.domain.batch import Batch, Reply
from tidegate.domain.shared import handle
from tidegate.domain.world import World
from tidegate.errors import StoreUnavailable


@dataclass
class Server:
    """The world that several stores are connected to, on the machine's clock.

    `lost` is how many replies from now on are lost after the batch was applied; `down` refuses all.
    """

    world: World = field(default_factory=World)
    lost: int = 0
    down: bool = False
    applied: int = 0
    listeners: dict[str, Callable[[], None]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def apply(self, batch: Batch) -> Reply:
        with self.lock:
            if self.down:
                raise StoreUnavailable("the server is down")
            now_us = batch.now_us or time.time_ns() // 1000
            # Other stores load a new world for each batch, and so see only what this one frees.
            self.world.freed.clear()
            self.world.dirty.clear()
            reply = msgspec.msgpack.decode(handle(self.world, batch, now_us), type=Reply)
            self.applied += 1
            if self.lost:
                self.lost -= 1
                raise StoreUnavailable("the reply was lost")
        for member in reply.woken:
            if member != batch.member and member in self.listeners:
                self.listeners[member]()
        return reply

    def level(self, cell: str) -> int:
        """How much a cell holds."""
        level = self.world.levels.get(cell)
        return 0 if level is None else level.amount


class WorldStore:
    """`BlockingStore` of a server, or of one of its own."""

    def __init__(self, server: Server | None = None) -> None:
        self._server = server or Server()

    @property
    def world(self) -> World:
        """Everything there is."""
        return self._server.world

    def connect(self) -> None:
        """Nothing to connect to."""

    def apply(self, batch: Batch) -> Reply:
        return self._server.apply(batch)

    def close(self) -> None:
        """Nothing to let go of."""


class AsyncWorldStore:
    """`SharedStore` of a server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    async def connect(self) -> None:
        """Nothing to connect to."""

    async def apply(self, batch: Batch) -> Reply:
        await asyncio.sleep(0)
        return self._server.apply(batch)

    def listen(self, member: str, woken: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        self._server.listeners[member] = lambda: _soon(loop, woken)

    async def close(self) -> None:
        """Nothing to let go of."""


def _soon(loop: asyncio.AbstractEventLoop, woken: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(woken)
