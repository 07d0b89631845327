"""Many writers, one transaction: what waits together is committed together.

A commit costs one flush of the disk, whatever it holds; callers that share it share the price.
Each job has a savepoint, so that one that fails is undone alone.

Source: Gray and Reuter, "Transaction Processing", 1993, section 9.4.7 (group commit).
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from tidegate.adapters.sql.failures import code_of, translate
from tidegate.adapters.sql.job_queue import Job
from tidegate.errors import StoreUnavailable


class GroupCommit:
    """Commits batches on the writing connection. `commits` counts the transactions."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, int] | None = None
        self.commits = 0

    def commit(self, connection: sqlite3.Connection, jobs: list[Job]) -> None:
        """Run the jobs in one transaction and note on each what came of it."""
        try:
            self._check_file()
            connection.execute("BEGIN IMMEDIATE")
            for job in jobs:
                self._run(connection, job)
            connection.execute("COMMIT")
        except BaseException as error:
            _roll_back(connection)
            self._fail(connection, jobs, error)
        else:
            self.commits += 1

    def _run(self, connection: sqlite3.Connection, job: Job) -> None:
        connection.execute("SAVEPOINT job")
        try:
            job.value, job.error = job.work(connection), None
        except Exception as error:
            # A full disk makes SQLite undo the whole transaction: then there is no savepoint.
            if not connection.in_transaction:
                raise
            connection.execute("ROLLBACK TO job")
            job.error = translate(error, self._path.name)
        connection.execute("RELEASE job")

    def _fail(self, connection: sqlite3.Connection, jobs: list[Job], error: BaseException) -> None:
        # On a disk that is nearly full, one large job must not take the small ones with it.
        if code_of(error) == sqlite3.SQLITE_FULL and len(jobs) > 1:
            for job in jobs:
                self.commit(connection, [job])
            return
        sentence = str(translate(error, self._path.name))
        for job in jobs:
            job.error = StoreUnavailable(sentence)

    def _check_file(self) -> None:
        """Refuse to write into a file that was deleted or replaced: it would vanish with us."""
        try:
            status = os.stat(self._path)  # noqa: PTH116 - Path.stat costs three times as much.
        except FileNotFoundError:
            identity = (0, 0)
        else:
            identity = (status.st_dev, status.st_ino)
        self._identity = self._identity or identity
        if identity != self._identity:
            raise StoreUnavailable(
                f"{self._path.name} was deleted or replaced while open: restart the service"
            )


def read(connection: sqlite3.Connection, jobs: list[Job], name: str) -> None:
    """Run each job on a snapshot of its own, and note on it what came of it."""
    for job in jobs:
        try:
            connection.execute("BEGIN")
            job.value = job.work(connection)
        except BaseException as error:
            job.error = translate(error, name)
        _roll_back(connection)


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
