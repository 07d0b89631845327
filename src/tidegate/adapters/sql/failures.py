"""What SQLite reports, as sentences that an operator can act on.

The result code decides, never the text of the message, which changes between releases.

Source: https://www.sqlite.org/rescode.html
"""

from __future__ import annotations

import sqlite3

from tidegate.errors import InvalidRequest, StoreUnavailable, TidegateError

_PRIMARY_CODE = 0xFF
"""Extended result codes keep the primary one in their lowest byte."""

_SENTENCES = {
    sqlite3.SQLITE_FULL: "the disk under {name} is full",
    sqlite3.SQLITE_BUSY: "{name} was locked by another process for too long",
    sqlite3.SQLITE_LOCKED: "{name} was locked by another process for too long",
    sqlite3.SQLITE_CORRUPT: "{name} is damaged: restore a backup or move the file away",
    sqlite3.SQLITE_NOTADB: "{name} is damaged or no SQLite database: move the file away",
    sqlite3.SQLITE_CANTOPEN: "{name} cannot be opened: check its folder and permissions",
    sqlite3.SQLITE_PERM: "{name} cannot be opened: check its folder and permissions",
    sqlite3.SQLITE_READONLY: "{name} cannot be written: check permissions and file system",
    sqlite3.SQLITE_IOERR: "the disk under {name} failed to read or write",
}


def code_of(error: BaseException) -> int:
    """Return the primary result code, or `SQLITE_ERROR` where there is none."""
    code = getattr(error, "sqlite_errorcode", None)
    return sqlite3.SQLITE_ERROR if code is None else code & _PRIMARY_CODE


def translate(error: BaseException, name: str) -> BaseException:
    """Return what the caller of a port should see.

    Args:
        error: What the work on the connection raised.
        name: The database, as the reader of the sentence knows it.
    """
    if isinstance(error, sqlite3.Error):
        sentence = _SENTENCES.get(code_of(error), "{name} refused: " + str(error))
        return StoreUnavailable(sentence.format(name=name))
    if isinstance(error, (OverflowError, UnicodeEncodeError)):
        return InvalidRequest("value", str(error), "64-bit integers and valid Unicode text")
    if isinstance(error, (TidegateError, AssertionError)):
        return error
    return StoreUnavailable(f"{name} failed: {type(error).__name__}: {error}")
