"""The tables of the file, its settings, and how one sees that it is ours.

`synchronous = NORMAL`: a commit is in the write-ahead log, but not yet forced onto the disk. What a
process was told outlives every process; a power cut may take the last moments with it. Those who
held something end with the machine; a rate may then be spent once more, and a claim id of these
moments be granted again.

Source: https://www.sqlite.org/pragma.html#pragma_synchronous
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tidegate.adapters.sql.connection import WAL_KEPT_BYTES, open_file
from tidegate.adapters.sql.failures import translate
from tidegate.errors import InvalidSetting

APPLICATION_ID = 0x54494441
"""The letters TIDA."""
VERSION = 1

_SETTINGS = ("PRAGMA synchronous = NORMAL", f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
_TABLES = (
    """CREATE TABLE store (
        one INTEGER PRIMARY KEY CHECK (one = 1), now_us INTEGER NOT NULL,
        token INTEGER NOT NULL)""",
    "INSERT INTO store VALUES (1, 0, 0)",
    """CREATE TABLE cells (
        key BLOB PRIMARY KEY, amount INTEGER NOT NULL, at_us INTEGER NOT NULL,
        unit INTEGER NOT NULL, past BLOB NOT NULL, queue BLOB NOT NULL,
        gone_us INTEGER NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE members (
        name BLOB PRIMARY KEY, expires_us INTEGER NOT NULL, seq INTEGER NOT NULL,
        reply BLOB NOT NULL, woken INTEGER NOT NULL DEFAULT 0)""",
    """CREATE TABLE stakes (
        member BLOB NOT NULL, cell BLOB NOT NULL, units INTEGER NOT NULL, waits INTEGER NOT NULL,
        PRIMARY KEY (member, cell)) WITHOUT ROWID""",
    """CREATE TABLE ids (
        key BLOB PRIMARY KEY, digest TEXT NOT NULL, token INTEGER NOT NULL, member BLOB NOT NULL,
        expires_us INTEGER NOT NULL, held BLOB NOT NULL, flags INTEGER NOT NULL) WITHOUT ROWID""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


def connect(path: Path, busy_timeout_us: int) -> sqlite3.Connection:
    """Create the file and its tables where needed; return a connection.

    Raises:
        StoreUnavailable: the file cannot be opened or is damaged.
        InvalidSetting: it can never be used: no folder, another program's file, a newer one.
    """
    if not path.parent.is_dir():
        raise InvalidSetting("store_url", str(path), "a file in a folder that exists")
    connection = open_file(path, busy_timeout_us, lambda found: _is_current(found, path))
    try:
        for setting in _SETTINGS:
            connection.execute(setting)
        _create(connection, path)
    except Exception as error:
        connection.close()
        raise translate(error, str(path)) from error
    return connection


def _create(connection: sqlite3.Connection, path: Path) -> None:
    if _is_current(connection, path):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Asked again under the lock: another process may have made them meanwhile.
        if not _is_current(connection, path):
            for statement in _TABLES:
                connection.execute(statement)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _is_current(connection: sqlite3.Connection, path: Path) -> bool:
    """Return whether the tables are there; False: the file is empty."""
    # In this order: another process may make the tables, and say whose they are, in between.
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not tables:
        return False
    if _pragma(connection, "application_id") != APPLICATION_ID:
        raise InvalidSetting("store_url", str(path), "a file that no other program uses")
    version = _pragma(connection, "user_version")
    if version != VERSION:
        allowed = f"a file of version {VERSION}; this one, of version {version}, is for another"
        raise InvalidSetting("store_url", str(path), f"{allowed} tidegate")
    return True


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])
