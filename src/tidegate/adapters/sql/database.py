"""One SQLite file: a single writer with group commit, and readers that never wait for it.

SQLite lets one connection write at a time. Giving that connection one thread turns the limit
into an advantage: whatever was queued during one commit shares the next.
"""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar, cast

from tidegate.adapters.sql.connection import connect_reader, connect_writer
from tidegate.adapters.sql.failures import translate
from tidegate.adapters.sql.group_commit import GroupCommit, read
from tidegate.adapters.sql.job_queue import JobQueue
from tidegate.adapters.sql.worker import Worker
from tidegate.errors import StoreUnavailable

T = TypeVar("T")

READERS = 2
READS_MAX = 1024
BATCH_MAX = 1024
"""Jobs in one transaction: resolving so many futures holds the event loop for a millisecond."""


class Database:
    """A SQLite file shared by the threads of this process, and with other processes.

    Args:
        path: The file; created with mode 0600. Its folder must exist.
        writes_max: Writes that may wait; more are refused.
        write_bytes_max: What the waiting writes may hold together.
        busy_timeout_us: How long to wait for another process to finish its transaction.
    """

    def __init__(
        self,
        path: Path,
        *,
        writes_max: int = 4096,
        write_bytes_max: int = 256 * 2**20,
        busy_timeout_us: int = 5_000_000,
    ) -> None:
        self._path, self._busy_timeout_us = path, busy_timeout_us
        self._writes = JobQueue(path.name, jobs_max=writes_max, bytes_max=write_bytes_max)
        self._reads = JobQueue(path.name, jobs_max=READS_MAX, bytes_max=0)
        self._writer = Worker("tidegate-sql-writer", self._writes, batch_max=BATCH_MAX)
        self._readers = [
            Worker(f"tidegate-sql-reader-{number}", self._reads, batch_max=1)
            for number in range(READERS)
        ]
        self._group = GroupCommit(path)
        self._peeker: sqlite3.Connection | None = None

    @property
    def commits(self) -> int:
        """Transactions committed since `open`."""
        return self._group.commits

    async def open(self) -> None:
        """Create or upgrade the file and start the threads. A database is opened once.

        Raises:
            StoreUnavailable: the file cannot be used; nothing is left running.
        """
        wait_us = self._busy_timeout_us
        try:
            await self._writer.start(
                functools.partial(connect_writer, self._path, wait_us), self._group.commit
            )
            for reader in self._readers:
                await reader.start(
                    functools.partial(connect_reader, self._path, wait_us),
                    functools.partial(read, name=self._path.name),
                )
            # It is asked from the event loop, so it must answer at once or not at all.
            self._peeker = await self.read(lambda _: connect_reader(self._path, 0))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Commit what is queued, end the threads and release the file. Idempotent."""
        peeker, self._peeker = self._peeker, None
        if peeker is not None:
            peeker.close()
        # The writer goes last: only a connection that may write can fold the log into the file.
        self._reads.close()
        for reader in self._readers:
            await reader.join()
        self._writes.close()
        await self._writer.join()

    async def __aenter__(self) -> Database:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def write(self, work: Callable[[sqlite3.Connection], T], *, size_bytes: int = 0) -> T:
        """Run `work` in a transaction shared with other callers; return after its commit.

        Cancelling the wait does not take the write back.

        Args:
            work: Runs in the writer's thread, perhaps twice; what it raises undoes it alone.
            size_bytes: Memory that `work` holds while it waits, where that is much.

        Raises:
            StoreUnavailable: too many writes wait, or the disk is full, locked or broken.
        """
        return cast("T", await self._writes.submit(work, size_bytes))

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a snapshot that holds every write awaited before.

        Raises:
            StoreUnavailable: too many reads wait, or the file is broken.
        """
        return cast("T", await self._reads.submit(work, 0))

    def peek(self, query: str) -> Any:
        """Return the one value of a query that touches a page or two, without a thread.

        Raises:
            StoreUnavailable: the database is closed or broken.
        """
        if self._peeker is None:
            raise StoreUnavailable(f"{self._path.name} is closed")
        try:
            return self._peeker.execute(query).fetchone()[0]
        except sqlite3.Error as error:
            raise translate(error, self._path.name) from error
