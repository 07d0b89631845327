"""A socket that gateways connect to, beside the one for HTTP, and what its connections share."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from tidegate.errors import Unavailable

CONNECTIONS_MAX = 512
"""More are closed at once: gateways keep a few for each of their threads."""
BACKLOG = 1024

HELLO_S, LAST_WORD_S, END_S = 10.0, 1.0, 2.0
"""How long a peer may take to greet, to read the last that we say, and to be done at the end."""

_log = logging.getLogger(__name__)


class GatewayConnection(asyncio.Protocol):
    """One connection: written to once a turn of the loop, and not read from while it does not read.

    Args:
        closed: Called once when the connection is gone.
    """

    def __init__(self, closed: Callable[[GatewayConnection], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.ending = self.stuck = False
        self._closed = closed
        self._out: list[bytes] = []
        self._flushing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the greeting."""
        # uvloop's is one in all but its class.
        self.transport = cast("asyncio.Transport", transport)
        self._deadline = self.loop.call_later(HELLO_S, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Give up whatever runs."""
        self._deadline.cancel()
        self.ending = True
        self.give_up()
        self._closed(self)

    def pause_writing(self) -> None:
        """Read nothing more from a peer that does not read."""
        self.stuck = True
        self.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self.stuck = False
        self.transport.resume_reading()

    def greeted(self) -> None:
        """Take note that the peer speaks our protocol."""
        self._deadline.cancel()

    def write(self, data: bytes) -> None:
        """Send, together with all else that this turn of the loop sends."""
        self._out.append(data)
        if not self._flushing:
            self._flushing = True
            self.loop.call_soon(self._flush)

    def close(self) -> None:
        """Close once what was written has been read, or is not read for too long."""
        self.ending = True
        self._flush()
        self.transport.close()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(LAST_WORD_S, self.transport.abort)

    @abstractmethod
    def end(self) -> None:
        """Take nothing new, and close once what runs is answered."""

    @abstractmethod
    def give_up(self) -> None:
        """Cancel whatever runs: nobody is there to be answered."""

    def _flush(self) -> None:
        self._flushing = False
        if self._out and not self.transport.is_closing():
            self.transport.write(b"".join(self._out))
        self._out.clear()


Connect = Callable[[Callable[[GatewayConnection], None]], GatewayConnection]


class GatewayListener:
    """Listens from `start` to `stop`.

    Args:
        setting: What the address is called in the settings, for errors.
        address: `host:port`.
        connect: Makes a connection of what it has to call when it is gone.
    """

    def __init__(self, setting: str, address: str, connect: Connect) -> None:
        self._setting, self._address, self._connect = setting, address, connect
        self._server: asyncio.Server | None = None
        self._connections: set[GatewayConnection] = set()
        self._empty = asyncio.Event()
        self._full = False

    async def start(self) -> None:
        """Listen.

        Raises:
            Unavailable: the address is in use, or none of ours.
        """
        host, _, port = self._address.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(
                self._accept, host.strip("[]"), int(port), backlog=BACKLOG
            )
        except (OSError, OverflowError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            what = f"{self._setting} {self._address} cannot be had: {reason}"
            raise Unavailable(what) from None
        _log.info("%s: listening at %s", self._setting, self._address)

    async def stop(self) -> None:
        """Let what runs be answered, for a moment, and close every connection. Idempotent."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            connection.end()
        await self._gone()
        for connection in list(self._connections):
            connection.transport.abort()
        await self._gone()
        self._server = None

    async def _gone(self) -> None:
        if self._connections:
            self._empty.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await self._empty.wait()

    def _accept(self) -> asyncio.BaseProtocol:
        if len(self._connections) >= CONNECTIONS_MAX:
            if not self._full:
                _log.warning("%s: more than %d connections", self._setting, CONNECTIONS_MAX)
            self._full = True
            return _NoRoom()
        self._full = False
        connection = self._connect(self._forget)
        self._connections.add(connection)
        return connection

    def _forget(self, connection: GatewayConnection) -> None:
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()


class _NoRoom(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Close it."""
        transport.close()
