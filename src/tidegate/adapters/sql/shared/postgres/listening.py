"""The server for the tasks of an event loop, which hear of other processes while they wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from tidegate.adapters.sql.shared.in_thread import ThreadedStore
from tidegate.adapters.sql.shared.postgres.link import Link, LinkLost, ServerError
from tidegate.adapters.sql.shared.postgres.listener import Listener, listen_to
from tidegate.adapters.sql.shared.postgres.store import TIMEOUT_S, PostgresBlockingStore, channel
from tidegate.domain.batch import Batch, Reply
from tidegate.errors import TidegateError

RETRY_S = 1.0
"""How long a listening connection stays lost at least, so that a server in trouble has peace."""

_log = logging.getLogger(__name__)


class PostgresSharedStore(ThreadedStore):
    """`SharedStore` in PostgreSQL; see `PostgresBlockingStore`.

    One connection for batches, and one that listens. Behind a pooler that lends sessions by the
    transaction there is no listening: those who wait then ask again from time to time.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._blocking = PostgresBlockingStore(url, timeout_s=timeout_s)
        self._timeout_s = timeout_s
        super().__init__(self._blocking, f"the store at {self._blocking.address}", timeout_s)
        self._member = ""
        self._woken: Callable[[], None] | None = None
        self._listener = Listener(self._heard)
        self._opening: asyncio.Task[None] | None = None
        self._listening_to = ""
        self._retry_s = 0.0

    @property
    def hears(self) -> bool:
        """Whether it hears of other processes' batches."""
        return self._listener.hears

    def listen(self, member: str, woken: Callable[[], None]) -> None:
        """See `SharedStore`. A member that goes on under another name is followed."""
        self._member, self._woken = member, woken

    async def connect(self) -> None:
        """See `SharedStore`."""
        await super().connect()
        server = self._blocking.server
        if self._woken is not None and server is not None and server.pooled:
            _log.warning(
                "the store at %s is behind a pooler: processes do not hear of each other at once",
                self._blocking.address,
            )
        self._retry_s = 0.0
        await self._listen()

    async def apply(self, batch: Batch) -> Reply:
        """See `SharedStore`."""
        reply = await super().apply(batch)
        self._member = batch.member
        if self._woken is not None and not self._is_listening() and self._opening is None:
            self._opening = asyncio.get_running_loop().create_task(self._listen())
            self._opening.add_done_callback(self._opened)
        return reply

    async def close(self) -> None:
        """See `SharedStore`."""
        opening = self._opening
        if opening is not None:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)
        self._listener.stop()
        await super().close()

    def _is_listening(self) -> bool:
        """Whether there is nothing to do about listening, at least now."""
        server = self._blocking.server
        if server is None or server.pooled:
            return True
        if self._listening_to != self._member:
            return False
        return self.hears or asyncio.get_running_loop().time() < self._retry_s

    async def _listen(self) -> None:
        """Listen for the member, as far as that is possible now."""
        if self._woken is None or self._is_listening():
            return
        self._listener.stop()
        self._listening_to = member = self._member
        self._retry_s = asyncio.get_running_loop().time() + RETRY_S
        try:
            link = await self._run(lambda: self._open(channel(member)))
        except TidegateError as error:
            _log.info("nobody listens for %s: %s", member, error)
            return
        self._listener.start(link)
        # What happened before it listened is not heard.
        self._heard()

    def _open(self, channel_name: str) -> Link:
        link = self._blocking.address.open(self._timeout_s)
        try:
            listen_to(link, channel_name, self._timeout_s)
        except BaseException as error:
            link.close()
            if isinstance(error, ServerError | LinkLost):
                raise self._blocking.address.failure(error) from error
            raise
        return link

    def _heard(self) -> None:
        if self._woken is not None:
            self._woken()

    def _opened(self, _: asyncio.Task[None]) -> None:
        self._opening = None
