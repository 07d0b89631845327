"""Opening the SQLite file: private to its owner, a write-ahead log, every commit on the disk.

Source: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from tidegate.adapters.sql.failures import code_of, translate
from tidegate.adapters.sql.schema import migrate
from tidegate.errors import StoreUnavailable

WAL_KEPT_BYTES = 64 * 2**20
"""Large answers make the log grow; after a checkpoint it is cut back to this."""

_RETRY_S = 0.01

_WRITER_PRAGMAS = (
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",  # macOS: a plain fsync leaves the data in the drive's cache.
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = FAST",  # Overwrites only where that costs no further I/O.
    f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}",
)


def connect_writer(path: Path, busy_timeout_us: int) -> sqlite3.Connection:
    """Create the file where needed, bring its schema up to date, return the writing connection.

    Raises:
        StoreUnavailable: the file cannot be opened, is damaged, or is too new for this program.
    """
    connection = open_file(path, busy_timeout_us)
    try:
        for pragma in _WRITER_PRAGMAS:
            connection.execute(pragma)
        migrate(connection, str(path))
    except (sqlite3.Error, StoreUnavailable) as error:
        connection.close()
        raise translate(error, str(path)) from error
    return connection


def open_file(
    path: Path, busy_timeout_us: int, check: Callable[[sqlite3.Connection], object] | None = None
) -> sqlite3.Connection:
    """Create the file where needed, private to its owner; return a connection with a log.

    Args:
        path: The file.
        busy_timeout_us: How long to wait for other processes.
        check: Raises if the file is not ours; nothing in it was changed until then.

    Raises:
        StoreUnavailable: the file cannot be opened or is damaged.
    """
    try:
        _make_private(path)
        connection = _connect(path, busy_timeout_us)
    except (sqlite3.Error, OSError) as error:
        raise translate(error, str(path)) from error
    try:
        if check is not None:
            check(connection)
        _use_write_ahead_log(connection, path, busy_timeout_us)
    except Exception as error:
        connection.close()
        raise translate(error, str(path)) from error
    return connection


def connect_reader(path: Path, busy_timeout_us: int) -> sqlite3.Connection:
    """Return a connection that cannot write. The writer must have been connected before."""
    try:
        connection = _connect(path, busy_timeout_us)
        connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        raise translate(error, str(path)) from error
    return connection


def _connect(path: Path, busy_timeout_us: int) -> sqlite3.Connection:
    return sqlite3.connect(
        path, timeout=busy_timeout_us / 1e6, isolation_level=None, check_same_thread=False
    )


def _make_private(path: Path) -> None:
    # An existing file is never opened here: closing it again would drop the locks that other
    # connections of this process hold on it. SQLite gives its log the mode of the file.
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    if path.stat().st_mode & 0o077:
        path.chmod(0o600)


def _use_write_ahead_log(connection: sqlite3.Connection, path: Path, patience_us: int) -> None:
    # The switch answers "busy" without waiting when two processes create the file together.
    deadline_s = time.monotonic() + patience_us / 1e6
    while True:
        try:
            mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            break
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(_RETRY_S)
    if mode != "wal":
        raise StoreUnavailable(f"{path} cannot have a write-ahead log: is it on a network disk?")
