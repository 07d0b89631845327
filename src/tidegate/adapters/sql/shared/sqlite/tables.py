"""Reading what a batch touches, and writing what it changed, within one transaction.

The transaction has the file for itself from its beginning, so it may read in any order and as
often as it needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from tidegate.adapters.sql.shared.loaded import Changes
from tidegate.adapters.sql.shared.reach import STAKES_MAX, Found, Reach
from tidegate.adapters.sql.shared.rows import MARGIN_US, IdRow, MemberRow, StakeRow
from tidegate.adapters.sql.shared.sweeping import Sweep
from tidegate.domain.world import RECLAIMED_MAX

_IN_MAX = 512
"""Keys in one statement. Their number is rounded up to a power of two, so that few texts do."""

_CELLS = "SELECT key, amount, at_us, unit, past, queue, gone_us FROM cells WHERE key IN ({})"
_MEMBERS = "SELECT name, expires_us, seq, reply, 0 FROM members WHERE name IN ({})"
_IDS = "SELECT key, digest, token, member, expires_us, held, flags FROM ids WHERE key IN ({})"
_STAKES = "SELECT member, cell, units, waits FROM stakes WHERE member = ? AND cell IN ({})"
_WHOLE = "SELECT member, cell, units, waits FROM stakes WHERE member = ? LIMIT ?"
_DEAD = "SELECT name FROM members WHERE expires_us <= ? ORDER BY expires_us, name LIMIT ?"

_PUT_CELL = """INSERT INTO cells VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key) DO UPDATE SET amount = excluded.amount, at_us = excluded.at_us,
    unit = excluded.unit, past = excluded.past, queue = excluded.queue,
    gone_us = excluded.gone_us"""
_PUT_LEVEL = "UPDATE cells SET amount = ?, gone_us = ?, at_us = ? WHERE key = ?"
_PUT_MEMBER = """INSERT INTO members (name, expires_us, seq, reply) VALUES (?, ?, ?, ?)
    ON CONFLICT (name) DO UPDATE SET expires_us = excluded.expires_us, seq = excluded.seq,
    reply = excluded.reply"""
_PUT_ID = "INSERT OR REPLACE INTO ids VALUES (?, ?, ?, ?, ?, ?, ?)"
_PUT_STAKE = "INSERT OR REPLACE INTO stakes VALUES (?, ?, ?, ?)"
_SWEPT = {
    "cells": "SELECT key, gone_us <= ? FROM cells WHERE key > ? ORDER BY key LIMIT ?",
    "ids": "SELECT key, expires_us <= ? FROM ids WHERE key > ? ORDER BY key LIMIT ?",
}
_DELETE = {"cells": "DELETE FROM cells WHERE key = ?", "ids": "DELETE FROM ids WHERE key = ?"}
_DELETE_STAKE = "DELETE FROM stakes WHERE member = ? AND cell = ?"


def stored(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the latest instant that the store saw, and the highest token."""
    now_us, token = connection.execute("SELECT now_us, token FROM store").fetchone()
    return now_us, token


def fetch(connection: sqlite3.Connection, reach: Reach, now_us: int, token: int) -> Found:
    """Read what is within reach."""
    found = Found(now_us=now_us, token=token)
    found.dead = [name for (name,) in connection.execute(_DEAD, (now_us, RECLAIMED_MAX))]
    found.cells = list(_select(connection, _CELLS, reach.cells))
    found.members = [MemberRow(*row) for row in _select(connection, _MEMBERS, reach.members)]
    found.ids = [IdRow(*row) for row in _select(connection, _IDS, reach.ids)]
    for member in sorted(reach.members - reach.whole):
        some = _select(connection, _STAKES, reach.held, member)
        found.stakes += [StakeRow(*row) for row in some]
    for member in sorted(reach.whole):
        room = STAKES_MAX - len(found.stakes) if member != reach.own else 2**31
        rows = list(connection.execute(_WHOLE, (member, max(0, room) + 1)))
        if len(rows) > room:
            rows.pop()
            found.cut.add(member)
        found.stakes += [StakeRow(*row) for row in rows]
    return found


def save(connection: sqlite3.Connection, changes: Changes, now_us: int) -> None:
    """Write what changed. `now_us` is the latest instant that the store saw."""
    connection.execute("UPDATE store SET now_us = ?, token = ?", (now_us, changes.token))
    levels = [(amount, gone_us, changes.now_us, key) for amount, gone_us, key in changes.levels]
    connection.executemany(_PUT_LEVEL, levels)
    connection.executemany(_PUT_CELL, changes.cells + changes.cells_new)
    if changes.member is not None:
        connection.execute(_PUT_MEMBER, changes.member[:4])
    put_ids = changes.ids + changes.ids_new
    if put_ids:
        connection.executemany(_PUT_ID, put_ids)
    _delete(connection, _DELETE["ids"], [(key,) for key in changes.ids_gone])
    _delete(connection, _DELETE_STAKE, changes.stakes_gone)
    idle = [(stake.member, stake.cell) for stake in changes.stakes if _is_idle(stake)]
    _delete(connection, _DELETE_STAKE, idle)
    kept = [stake for stake in changes.stakes if not _is_idle(stake)]
    if kept:
        connection.executemany(_PUT_STAKE, kept)
    gone = [(name,) for name in changes.members_gone]
    _delete(connection, "DELETE FROM members WHERE name = ?", gone)


def wake(connection: sqlite3.Connection, members: Collection[bytes]) -> None:
    """Note that members were woken."""
    names = [(name,) for name in members]
    connection.executemany("UPDATE members SET woken = woken + 1 WHERE name = ?", names)


def sweep(connection: sqlite3.Connection, sweep: Sweep, now_us: int, rows: int) -> None:
    """Look at some rows in the order of their keys; delete those that mean nothing any more."""
    for table, before_us in (("cells", now_us), ("ids", now_us - MARGIN_US)):
        after = sweep.after(table)
        seen = connection.execute(_SWEPT[table], (before_us, after, rows)).fetchall()
        _delete(connection, _DELETE[table], [(key,) for key, is_gone in seen if is_gone])
        sweep.went(table, seen[-1][0] if len(seen) == rows else b"")


def _is_idle(stake: StakeRow) -> bool:
    return not stake.units and not stake.waits


def _delete(connection: sqlite3.Connection, statement: str, keys: Sequence[Any]) -> None:
    if keys:
        connection.executemany(statement, keys)


def _select(
    connection: sqlite3.Connection, query: str, keys: Iterable[bytes], *first: bytes
) -> Iterator[Any]:
    """Yield the rows with these keys."""
    rest = sorted(keys)
    for start in range(0, len(rest), _IN_MAX):
        part: list[bytes | None] = [*rest[start : start + _IN_MAX]]
        size = 1 << (len(part) - 1).bit_length()
        part += [None] * (size - len(part))
        text = query.format(",".join("?" * size))
        yield from connection.execute(text, (*first, *part))
