"""A connection that only listens to one channel, and makes itself anew when it is lost.

A message says no more than that there may be news, and so does every new connection: what was
published while there was none is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.reply import (
    MORE,
    BrokenReply,
    ServerError,
    greeting,
    introduction,
    pack,
    reader,
)
from tidegate.errors import TidegateError

_RECEIVE_BYTES = 65_536
_PAUSE_MIN_S = 0.05
_PAUSE_MAX_S = 2.0
_QUIET_S = 15.0
"""After so long without a word the server is asked for one, and once more before it is given up."""


class Subscription:
    """Listens, from `follow` until `close`, on the loop that runs.

    Args:
        find: Finds the server; asked before every connection.
        bounds: When a connection that is being made is given up.
    """

    def __init__(self, find: Callable[[], Awaitable[Endpoint]], bounds: Bounds) -> None:
        self._find, self._bounds = find, bounds
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    def follow(self, channel: str, heard: Callable[[], None]) -> None:
        """Listen to this channel, and to no other any more."""
        self._stop()
        self._task = asyncio.get_running_loop().create_task(self._run(channel, heard))

    async def close(self) -> None:
        """Stop, and return when the connection is gone."""
        self._stop()
        if self._ending:
            await asyncio.wait(self._ending)

    def _stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def _run(self, channel: str, heard: Callable[[], None]) -> None:
        soon, pause_s = asyncio.get_running_loop().call_soon, _PAUSE_MIN_S
        while True:
            try:
                ear = await self._open(channel)
                try:
                    pause_s = _PAUSE_MIN_S
                    while True:
                        soon(heard)
                        await ear.message()
                finally:
                    await ear.close()
            except (TidegateError, ServerError, BrokenReply, OSError, EOFError, TimeoutError):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    async def _open(self, channel: str) -> _Ear:
        endpoint = await self._find()
        async with asyncio.timeout(self._bounds.connect_timeout_us / 1e6):
            ear = await _dial(endpoint)
            try:
                await ear.subscribe(endpoint, channel)
            except BaseException:
                await ear.close()
                raise
        return ear


async def _dial(endpoint: Endpoint) -> _Ear:
    node = endpoint.node
    if node.path:
        return _Ear(*await asyncio.open_unix_connection(node.path))
    tls = endpoint.tls.context() if endpoint.tls else None
    return _Ear(*await asyncio.open_connection(node.host, node.port, ssl=tls))


class _Ear:
    """One connection."""

    def __init__(self, incoming: asyncio.StreamReader, outgoing: asyncio.StreamWriter) -> None:
        self._incoming, self._outgoing, self._reader = incoming, outgoing, reader()

    async def subscribe(self, endpoint: Endpoint, channel: str) -> None:
        """Introduce ourselves, and return when messages will come."""
        commands = greeting(endpoint)
        self._outgoing.write(b"".join(map(pack, [*commands, ("SUBSCRIBE", channel)])))
        introduction([await self._next() for _ in commands])
        confirmed = await self._next()
        if isinstance(confirmed, ServerError):
            raise confirmed

    async def message(self) -> None:
        """Return when a message has come. Raises when the connection is lost."""
        asked = False
        while True:
            try:
                async with asyncio.timeout(_QUIET_S):
                    words = await self._next()
            except TimeoutError:
                if asked:
                    raise
                asked = True
                self._outgoing.write(pack(("PING",)))
                continue
            if isinstance(words, list) and words[0] == b"message":
                return
            asked = False

    async def close(self) -> None:
        """Let go of the socket."""
        self._outgoing.transport.abort()
        with contextlib.suppress(OSError):
            await self._outgoing.wait_closed()

    async def _next(self) -> object:
        while (words := self._reader.gets()) is MORE:
            received = await self._incoming.read(_RECEIVE_BYTES)
            if not received:
                raise EOFError
            self._reader.feed(received)
        return words
