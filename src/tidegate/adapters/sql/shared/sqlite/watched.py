"""The file for the tasks of an event loop, which hear of other processes while they wait.

A file sends no messages, but it knows cheaply whether another connection changed it. So while the
member has tickets that is asked every few milliseconds, and otherwise never.

Source: https://www.sqlite.org/pragma.html#pragma_data_version
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tidegate.adapters.sql.connection import connect_reader
from tidegate.adapters.sql.shared.in_thread import ThreadedStore
from tidegate.adapters.sql.shared.names import key
from tidegate.adapters.sql.shared.sqlite.store import TIMEOUT_S, SqliteBlockingStore
from tidegate.domain.batch import Batch, Reply

LOOK_EVERY_S = 0.025


class SqliteSharedStore(ThreadedStore):
    """`SharedStore` in a file; see `SqliteBlockingStore`."""

    def __init__(self, path: Path | str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._blocking = SqliteBlockingStore(path, timeout_s=timeout_s)
        super().__init__(self._blocking, Path(path).name, timeout_s)
        self._path = Path(path)
        self._woken: Callable[[], None] | None = None
        self._member = ""
        self._reader: sqlite3.Connection | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._version = self._count = -1

    def listen(self, member: str, woken: Callable[[], None]) -> None:
        """See `SharedStore`. A member that goes on under another name is followed."""
        self._member, self._woken = member, woken

    async def connect(self) -> None:
        """See `SharedStore`."""
        self._stop()
        await super().connect()
        if self._woken is not None:
            self._reader = await self._run(lambda: connect_reader(self._path, 0))

    async def apply(self, batch: Batch) -> Reply:
        """See `SharedStore`."""
        reply = await super().apply(batch)
        self._member = batch.member
        if self._timer is None:
            self._look_again()
        return reply

    async def close(self) -> None:
        """See `SharedStore`."""
        self._stop()
        await super().close()

    def _look_again(self) -> None:
        if self._blocking.waits and self._reader is not None:
            self._timer = asyncio.get_running_loop().call_later(LOOK_EVERY_S, self._look)

    def _look(self) -> None:
        """Look whether the member was woken since the last look."""
        self._timer = None
        self._look_again()
        # A file that cannot be read just now is looked at again.
        with suppress(sqlite3.Error):
            if self._reader is not None and self._was_woken(self._reader) and self._woken:
                self._woken()

    def _was_woken(self, reader: sqlite3.Connection) -> bool:
        (version,) = reader.execute("PRAGMA data_version").fetchone()
        if version == self._version:
            return False
        query = "SELECT woken FROM members WHERE name = ?"
        row = reader.execute(query, (key(self._member),)).fetchone()
        count = row[0] if row else 0
        self._version, before, self._count = version, self._count, count
        return bool(count != before)

    def _stop(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()
