"""Locking and reading what a batch touches.

Locks are taken by the names of rows before any row is read: of those in `locks`. So what is read
afterwards is read as it is now, whoever had to be waited for, and rows that are not there yet are
locked, too. Locking rows instead would have the server read each row again that changed while it
waited, at ten times the price, and could not keep two claims from both missing the same row.

The time is read last: whoever had the locks before is in the past, and so are the tokens it got.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING

from tidegate.adapters.sql.shared.postgres.arrays import (
    bytes_array,
    int8,
    number,
    read_bytes_array,
    read_int8s,
)
from tidegate.adapters.sql.shared.postgres.link import Call, Statement
from tidegate.adapters.sql.shared.postgres.locks import locks
from tidegate.adapters.sql.shared.reach import STAKES_MAX, Found, Reach
from tidegate.adapters.sql.shared.rows import CellRow, IdRow, MemberRow, StakeRow
from tidegate.domain.batch import Batch
from tidegate.domain.world import RECLAIMED_MAX

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

_CLOCK = b"(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

BEGIN = Statement(b"tg_begin", b"BEGIN ISOLATION LEVEL READ COMMITTED")
ROLLBACK = Statement(b"tg_rollback", b"ROLLBACK")
_IDS = Statement(
    b"tg_ids",
    b"""SELECT array_agg(key), array_agg(digest), array_agg(token), array_agg(member),
        array_agg(expires_us), array_agg(held), array_agg(flags)
    FROM tidegate_ids WHERE key = ANY($1::bytea[])""",
)
_MEMBERS = Statement(
    b"tg_members",
    b"""SELECT array_agg(name), array_agg(expires_us), array_agg(seq), array_agg(token),
        array_agg(CASE WHEN name = $2::bytea AND seq = $3::bigint THEN reply ELSE ''::bytea END)
    FROM tidegate_members WHERE name = ANY($1::bytea[])""",
)
_STAKES = Statement(
    b"tg_stakes",
    b"""SELECT array_agg(member), array_agg(cell), array_agg(units), array_agg(waits::int::bigint)
    FROM tidegate_stakes WHERE member = ANY($1::bytea[]) AND cell = ANY($2::bytea[])""",
)
_WHOLE = Statement(
    b"tg_whole",
    b"""SELECT array_agg(member), array_agg(cell), array_agg(units), array_agg(waits::int::bigint)
    FROM (SELECT * FROM tidegate_stakes WHERE member = ANY($1::bytea[])
        ORDER BY member, cell LIMIT $2::bigint) AS t""",
)
_CELLS = Statement(
    b"tg_cells",
    b"""SELECT array_agg(key), array_agg(amount), array_agg(at_us), array_agg(unit),
        array_agg(past), array_agg(queue)
    FROM tidegate_cells WHERE key = ANY($1::bytea[])""",
)
_NOW = Statement(
    b"tg_now",
    b"""SELECT now_us,
        greatest((SELECT max(token) FROM tidegate_members), (SELECT token FROM tidegate_store)),
        ARRAY(SELECT name FROM tidegate_members WHERE expires_us <= now_us
            ORDER BY expires_us, name LIMIT $2::bigint)
    FROM (SELECT CASE $1::bigint WHEN 0 THEN """
    + _CLOCK
    + b""" ELSE $1::bigint END AS now_us OFFSET 0) AS t""",
)
STATEMENTS = (BEGIN, ROLLBACK, _IDS, _MEMBERS, _STAKES, _WHOLE, _CELLS, _NOW)


class Loading:
    """One attempt: the calls to make, and what their results say."""

    def __init__(self, batch: Batch, reach: Reach) -> None:
        self._reach, self._partly = reach, reach.members - reach.whole
        self.calls: list[Call] = locks(reach)
        self._at: dict[Statement, int] = {}
        if reach.ids:
            self._call(_IDS, bytes_array(list(reach.ids)))
        members = bytes_array(list(reach.members))
        self._call(_MEMBERS, members, reach.own, int8(batch.seq))
        if reach.held:
            held = bytes_array(list(reach.held))
            self._call(_STAKES, bytes_array(list(self._partly)), held)
        if reach.whole:
            self._call(_WHOLE, bytes_array(list(reach.whole)), int8(STAKES_MAX + 1))
        if reach.cells:
            self._call(_CELLS, bytes_array(list(reach.cells)))
        self._call(_NOW, int8(batch.now_us), int8(RECLAIMED_MAX))

    def found(self, results: Sequence[PGresult]) -> Found:
        """Read the results of the calls."""
        now = results[self._at[_NOW]]
        found = Found(now_us=number(now.get_value(0, 0)), token=number(now.get_value(0, 1)))
        found.dead = read_bytes_array(now.get_value(0, 2))
        for statement, index in self._at.items():
            self._read(statement, results[index], found)
        return found

    def _call(self, statement: Statement, *parameters: bytes) -> None:
        self._at[statement] = len(self.calls)
        self.calls.append((statement, parameters))

    def _read(self, statement: Statement, result: PGresult, found: Found) -> None:
        if statement is _NOW or result.get_value(0, 0) is None:
            return
        columns = [result.get_value(0, column) for column in range(result.nfields)]
        if statement is _CELLS:
            found.cells = _cells(columns)
        elif statement is _MEMBERS:
            found.members = _members(columns)
        elif statement is _IDS:
            found.ids = _ids(columns)
        else:
            stakes = _stakes(columns)
            if statement is _WHOLE and len(stakes) > STAKES_MAX:
                last = stakes.pop().member
                found.cut = {name for name in self._reach.whole if name >= last}
            found.stakes += stakes


def _cells(columns: list[bytes | None]) -> list[CellRow]:
    keys, amounts, instants, units, pasts, queues = columns
    return list(
        zip(
            read_bytes_array(keys),
            read_int8s(amounts),
            read_int8s(instants),
            read_int8s(units),
            read_bytes_array(pasts),
            read_bytes_array(queues),
            repeat(0),
            strict=False,
        )
    )


def _members(columns: list[bytes | None]) -> list[MemberRow]:
    names, expiries, seqs, tokens, replies = columns
    return [
        MemberRow(name, expires_us, seq, reply, token)
        for name, expires_us, seq, token, reply in zip(
            read_bytes_array(names),
            read_int8s(expiries),
            read_int8s(seqs),
            read_int8s(tokens),
            read_bytes_array(replies),
            strict=True,
        )
    ]


def _ids(columns: list[bytes | None]) -> list[IdRow]:
    keys, digests, tokens, members, expiries, helds, flags = columns
    return [
        IdRow(key, digest.decode(), token, member, expires_us, held, flag)
        for key, digest, token, member, expires_us, held, flag in zip(
            read_bytes_array(keys),
            read_bytes_array(digests),
            read_int8s(tokens),
            read_bytes_array(members),
            read_int8s(expiries),
            read_bytes_array(helds),
            read_int8s(flags),
            strict=True,
        )
    ]


def _stakes(columns: list[bytes | None]) -> list[StakeRow]:
    members, cells, units, waits = columns
    return [
        StakeRow(member, cell, held, bool(waiting))
        for member, cell, held, waiting in zip(
            read_bytes_array(members),
            read_bytes_array(cells),
            read_int8s(units),
            read_int8s(waits),
            strict=True,
        )
    ]
