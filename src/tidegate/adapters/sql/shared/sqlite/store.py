"""A shared store in one SQLite file: one writer at a time, whichever process it is in."""

from __future__ import annotations

import os
import sqlite3
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from tidegate.adapters.sql.failures import translate
from tidegate.adapters.sql.shared.loaded import Loaded
from tidegate.adapters.sql.shared.names import key, shortened
from tidegate.adapters.sql.shared.reach import Reach
from tidegate.adapters.sql.shared.sqlite import tables
from tidegate.adapters.sql.shared.sqlite.schema import connect
from tidegate.adapters.sql.shared.sweeping import Sweep
from tidegate.adapters.sql.shared.turns import Turns
from tidegate.domain.batch import Batch, Reply
from tidegate.domain.shared import handle, kept
from tidegate.errors import StoreUnavailable

TIMEOUT_S = 2.0

_reply = msgspec.msgpack.Decoder(Reply)
_LEFT_BEHIND: list[sqlite3.Connection] = []
"""Connections of a parent process: closing one here would drop the locks of the parent's file."""


def _clock_us() -> int:
    """Read the clock that all processes with this file share, whatever else one of them goes by."""
    if sys.platform == "win32":
        return time.time_ns() // 1000
    return time.clock_gettime_ns(time.CLOCK_REALTIME) // 1000


class SqliteBlockingStore:
    """`BlockingStore` in a file, for processes of one machine.

    Time never steps back: the store goes on from the latest instant that it saw, until the clock
    has caught up. So a clock that is set back reopens no limit.

    Args:
        path: The file; made with mode 0600 where it is missing, in a folder that exists. A network
            disk does not do.
        timeout_s: How long to wait for other processes and threads.
        clock_us: Microseconds since the epoch; the machine's clock, as a server has its own.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        timeout_s: float = TIMEOUT_S,
        clock_us: Callable[[], int] = _clock_us,
    ) -> None:
        self._path, self._timeout_s, self._clock_us = Path(path), timeout_s, clock_us
        self._turns = Turns(self._path.name, timeout_s)
        self._connection: sqlite3.Connection | None = None
        self._identity = (0, 0)
        self._sweep = Sweep()
        self.waits: set[str] = set()
        """The cells at which the member of the last batch waits."""

    def connect(self) -> None:
        """See `BlockingStore`."""
        if self._turns.forked and self._connection is not None:
            _LEFT_BEHIND.append(self._connection)
            self._connection = None
        self._turns.begin()
        with self._turns.turn():
            self._drop()
            connection = connect(self._path, round(self._timeout_s * 1e6))
            try:
                self._identity = _identity(self._path)
            except OSError as error:
                connection.close()
                raise translate(error, self._path.name) from error
            self._connection = connection

    def apply(self, batch: Batch) -> Reply:
        """See `BlockingStore`."""
        with self._turns.turn():
            connection = self._connection
            if connection is None:
                raise StoreUnavailable(f"{self._path.name}: not connected")
            try:
                self._check_file()
                return self._apply(connection, shortened(batch))
            except (sqlite3.Error, OSError, StoreUnavailable) as error:
                self._drop()
                raise translate(error, self._path.name) from error

    def close(self) -> None:
        """See `BlockingStore`."""
        if self._turns.forked:
            return
        with suppress(StoreUnavailable), self._turns.turn():
            self._drop()

    def _apply(self, connection: sqlite3.Connection, batch: Batch) -> Reply:
        connection.execute("BEGIN IMMEDIATE")
        try:
            reply = self._settle(connection, batch)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        return reply

    def _settle(self, connection: sqlite3.Connection, batch: Batch) -> Reply:
        latest_us, token = tables.stored(connection)
        if not batch.now_us:
            latest_us = max(self._clock_us(), latest_us)
        now_us = batch.now_us or latest_us
        reach = Reach(batch)
        found = tables.fetch(connection, reach, now_us, token)
        while reach.grow(found):
            found = tables.fetch(connection, reach, now_us, token)
        loaded = Loaded(batch, reach, found)
        known = kept(loaded.world, batch, now_us)
        if known is not None:
            return _reply.decode(known)
        reply = _reply.decode(handle(loaded.world, batch, now_us))
        tables.save(connection, loaded.changes(), latest_us)
        woken = [key(name) for name in reply.woken if name != batch.member]
        if woken:
            tables.wake(connection, woken)
        self._note_waits(batch, loaded)
        rows = self._sweep.rows(len(reach.cells) - len(found.cells) + len(reach.ids))
        if rows:
            tables.sweep(connection, self._sweep, now_us, rows)
        return reply

    def _note_waits(self, batch: Batch, loaded: Loaded) -> None:
        self.waits = (self.waits - set(batch.cells)) | loaded.waits()

    def _check_file(self) -> None:
        """Refuse to write into a file that was deleted or replaced: it would vanish with us."""
        try:
            found = _identity(self._path)
        except FileNotFoundError:
            found = (0, 0)
        if found != self._identity:
            raise StoreUnavailable(f"{self._path.name} was deleted or replaced")

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            # A full disk may fail it; nothing is lost by that.
            with suppress(sqlite3.Error):
                connection.close()


def _identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from another of its name."""
    status = os.stat(path)  # noqa: PTH116 - Path.stat costs three times as much.
    return status.st_dev, status.st_ino
