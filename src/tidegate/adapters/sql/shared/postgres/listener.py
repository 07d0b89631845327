"""Hearing that a member was woken: a connection that only listens, watched by the event loop.

Best effort: what is not heard is found by those who wait, who ask again anyway. Behind a pooler
that lends sessions by the transaction nothing would ever be heard, so there nobody listens.

Source: PostgreSQL documentation, LISTEN and NOTIFY.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tidegate.adapters.sql.shared.postgres.link import Link, Statement

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn


class Listener:
    """One listening connection; belongs to the loop that started it.

    Args:
        heard: Called when something was heard, whatever it was.
    """

    def __init__(self, heard: Callable[[], None]) -> None:
        self._heard = heard
        self._link: Link | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._socket = -1

    @property
    def hears(self) -> bool:
        """Whether it listens."""
        return self._link is not None

    def start(self, link: Link) -> None:
        """Listen on a connection on which `listen_to` was called; from the loop."""
        self.stop()
        self._link, self._loop = link, asyncio.get_running_loop()
        self._socket = link.connection.socket
        self._loop.add_reader(self._socket, self._read)

    def stop(self) -> None:
        """Let go of the connection. Idempotent."""
        link, self._link = self._link, None
        if link is not None:
            assert self._loop is not None
            self._loop.remove_reader(self._socket)
            link.close()

    def _read(self) -> None:
        assert self._link is not None
        connection = self._link.connection
        try:
            connection.consume_input()
            heard = _drain(connection)
        except Exception:
            # The connection is lost; the next call of the store notices whether the server is.
            self.stop()
            return
        if heard:
            self._heard()


def listen_to(link: Link, channel: str, timeout_s: float) -> None:
    """Listen to one channel, and to no other.

    Raises:
        ServerError, LinkLost: it was refused, or there is no connection any more.
    """
    end_s = time.monotonic() + timeout_s
    listen = Statement(b"", b'LISTEN "%s"' % channel.encode())
    link.run([(Statement(b"", b"UNLISTEN *"), ()), (listen, ())], end_s)


def _drain(connection: PGconn) -> bool:
    """Return whether there were notifications, and take them all."""
    heard = False
    while connection.notifies() is not None:
        heard = True
    return heard
