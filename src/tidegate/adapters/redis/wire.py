"""One thin pipelined connection to a Redis or Valkey, for an event loop.

Any number of tasks call at once; the calls of one turn leave together and are answered in order.
Nothing is sent twice: what a lost connection took with it may or may not have happened, and only
the caller knows what may be repeated.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any, Self

from tidegate.adapters.redis.bounds import Bounds
from tidegate.adapters.redis.endpoint import Endpoint
from tidegate.adapters.redis.failures import sentence, unavailable
from tidegate.adapters.redis.link import Link
from tidegate.adapters.redis.reply import Arg, BrokenReply, greeting, introduction

_CLOSED_HERE = "closed by this side"


class AsyncWire:
    """A connection that is made, lost, and made again. It belongs to the loop that connected it.

    Commands without exactly one reply (SUBSCRIBE, MONITOR) have no place on it.

    Args:
        endpoint: The server.
        bounds: When to give up.

    Raises:
        InvalidSetting: a file that TLS needs cannot be read.
    """

    def __init__(self, endpoint: Endpoint, bounds: Bounds | None = None) -> None:
        self.endpoint = endpoint
        self.server: dict[str, str] = {}
        """What the server said of itself when it was connected: server, version, mode, role."""
        self._bounds = bounds or Bounds()
        self._tls = endpoint.tls.context() if endpoint.tls else None
        self._link: Link | None = None
        self._opening: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """Whether calls can be made now."""
        return self._link is not None and self._link.alive

    @property
    def calls_pending(self) -> int:
        """Calls without a reply."""
        return self._link.calls_pending if self._link else 0

    async def connect(self) -> None:
        """Make the connection, unless it is there. Everyone who asks meanwhile shares one attempt.

        Raises:
            StoreUnavailable: it cannot be made. A retry may help.
            ServerError: the server refused the password, the user or the database.
        """
        if self.connected:
            return
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._open())
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        try:
            # The attempt outlives whoever asked first and was cancelled.
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if opening.cancelled() and not (task and task.cancelling()):
                raise unavailable(self.endpoint, _CLOSED_HERE) from None
            raise

    async def call(self, *args: Arg) -> Any:
        """Return the reply to a command.

        Raises:
            ServerError: the server refused it; nothing was done.
            StoreUnavailable: no connection, or no reply within the deadline: outcome unknown.
        """
        return await self.send(args)

    def send(self, args: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """Make a call without waiting; the future is its reply, or its error as in `call`.

        Raises:
            StoreUnavailable: it was not sent: there is no connection, or too many calls wait.
        """
        if self._link is None:
            raise unavailable(self.endpoint, "not connected")
        return self._link.send(args)

    async def close(self) -> None:
        """Fail what is not answered and let go of the socket. Idempotent."""
        opening, link = self._opening, self._link
        # Both are told before either is waited for: this may be cancelled, too.
        if opening is not None:
            opening.cancel()
        if link is not None:
            link.lose(_CLOSED_HERE)
            await link.end(_CLOSED_HERE)
        if opening is not None:
            await asyncio.wait([opening])

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _open(self) -> None:
        link = Link(self.endpoint, self._bounds, asyncio.get_running_loop())
        try:
            async with asyncio.timeout(self._bounds.connect_timeout_us / 1e6):
                await self._dial(link)
                calls = greeting(self.endpoint)
                replies = await asyncio.gather(*map(link.send, calls))
            self.server = introduction(replies)
            link.check()
        except BaseException as error:
            await link.end("not connected")
            if isinstance(error, OSError | UnicodeError | BrokenReply):
                raise unavailable(self.endpoint, sentence(error)) from error
            raise
        self._link = link

    async def _dial(self, link: Link) -> None:
        # The loops set TCP_NODELAY themselves.
        node, loop = self.endpoint.node, asyncio.get_running_loop()
        if node.path:
            await loop.create_unix_connection(lambda: link, node.path)
        else:
            await loop.create_connection(lambda: link, node.host, node.port, ssl=self._tls)

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening = None
        if not task.cancelled():
            # Asking marks it as seen: everyone who waited may have been cancelled.
            task.exception()
