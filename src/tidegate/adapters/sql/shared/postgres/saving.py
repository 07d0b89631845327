"""Writing what a batch changed, in one go with the commit.

Rows that mean nothing any more are deleted in passing by whoever comes, without a lock and without
waiting for anybody. So it can happen that a row to update has just been deleted: then the
statement fails, and the batch is tried again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tidegate.adapters.sql.shared.loaded import Changes
from tidegate.adapters.sql.shared.postgres.arrays import TEXT, bools, bytes_array, int8, int8s
from tidegate.adapters.sql.shared.postgres.link import Call, Statement
from tidegate.adapters.sql.shared.rows import MARGIN_US, CellRow, IdRow, StakeRow
from tidegate.adapters.sql.shared.sweeping import Sweep

COMMIT = Statement(b"tg_commit", b"COMMIT")
_NEW = b"""unnest($1::bytea[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bytea[],
        $6::bytea[], $7::bigint[]) AS new (key, amount, at_us, unit, past, queue, gone_us)"""
_CELLS = Statement(
    b"tg_put_cells",
    b"""WITH put AS (
        UPDATE tidegate_cells AS old SET amount = new.amount, at_us = new.at_us,
            unit = new.unit, past = new.past, queue = new.queue, gone_us = new.gone_us
        FROM """
    + _NEW
    + b""" WHERE old.key = new.key RETURNING 1)
    SELECT 1 / (count(*) = $8::bigint)::int FROM put""",
)
_LEVELS = Statement(
    b"tg_put_levels",
    b"""WITH put AS (
        UPDATE tidegate_cells AS old SET amount = new.amount, at_us = $4::bigint,
            gone_us = new.gone_us
        FROM unnest($1::bigint[], $2::bigint[], $3::bytea[]) AS new (amount, gone_us, key)
        WHERE old.key = new.key RETURNING 1)
    SELECT 1 / (count(*) = $5::bigint)::int FROM put""",
)
_NEW_CELLS = Statement(
    b"tg_new_cells",
    b"""INSERT INTO tidegate_cells (key, amount, at_us, unit, past, queue, gone_us)
    SELECT * FROM """
    + _NEW,
)
_IDS = b"""unnest($1::bytea[], $2::text[], $3::bigint[], $4::bytea[], $5::bigint[], $6::bytea[],
        $7::bigint[]) AS new (key, digest, token, member, expires_us, held, flags)"""
_PUT_IDS = Statement(
    b"tg_put_ids",
    b"""WITH put AS (
        UPDATE tidegate_ids AS old SET digest = new.digest, token = new.token,
            member = new.member, expires_us = new.expires_us, held = new.held, flags = new.flags
        FROM """
    + _IDS
    + b""" WHERE old.key = new.key RETURNING 1)
    SELECT 1 / (count(*) = $8::bigint)::int FROM put""",
)
_NEW_IDS = Statement(
    b"tg_new_ids",
    b"""INSERT INTO tidegate_ids (key, digest, token, member, expires_us, held, flags)
    SELECT * FROM """
    + _IDS,
)
_DROP_IDS = Statement(b"tg_drop_ids", b"DELETE FROM tidegate_ids WHERE key = ANY($1::bytea[])")
_MEMBER = Statement(
    b"tg_put_member",
    b"""UPDATE tidegate_members SET expires_us = $2::bigint, seq = $3::bigint, reply = $4::bytea,
        token = $5::bigint WHERE name = $1::bytea""",
)
_SIGN = Statement(
    b"tg_sign",
    b"""UPDATE tidegate_members SET expires_us = $2::bigint, token = $3::bigint
    WHERE name = $1::bytea""",
)
_NEW_MEMBER = Statement(
    b"tg_new_member",
    b"""INSERT INTO tidegate_members (name, expires_us, seq, reply, token)
    VALUES ($1::bytea, $2::bigint, $3::bigint, $4::bytea, $5::bigint)""",
)
_DROP_MEMBERS = Statement(
    b"tg_drop_members", b"DELETE FROM tidegate_members WHERE name = ANY($1::bytea[])"
)
_TOKEN = Statement(
    b"tg_token", b"UPDATE tidegate_store SET token = $1::bigint WHERE token < $1::bigint"
)
_STAKES = Statement(
    b"tg_put_stakes",
    b"""INSERT INTO tidegate_stakes (member, cell, units, waits)
    SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bool[])
    ON CONFLICT (member, cell) DO UPDATE SET units = excluded.units, waits = excluded.waits""",
)
_DROP_STAKES = Statement(
    b"tg_drop_stakes",
    b"""DELETE FROM tidegate_stakes AS old
    USING unnest($1::bytea[], $2::bytea[]) AS gone (member, cell)
    WHERE old.member = gone.member AND old.cell = gone.cell""",
)
_NOTIFY = Statement(
    b"tg_notify", b"SELECT pg_notify(channel, '') FROM unnest($1::text[]) AS channel"
)
FLUSH = Statement(b"tg_flush", b"SELECT pg_logical_emit_message(true, 'tidegate', '')")
"""A transaction that changes nothing, but is written into the log, and so waits for it."""
_SWEEP = b"""WITH seen AS MATERIALIZED (
        SELECT key, %(until)s AS until_us FROM %(table)s WHERE key > $1::bytea
        ORDER BY key LIMIT $2::bigint),
    gone AS (DELETE FROM %(table)s WHERE key = ANY(ARRAY(
        SELECT key FROM %(table)s WHERE %(until)s <= $3::bigint
        AND key = ANY(ARRAY(SELECT key FROM seen WHERE until_us <= $3::bigint))
        FOR UPDATE SKIP LOCKED)))
    SELECT array_agg(key) FROM seen"""
_SWEEPS = {
    "cells": Statement(
        b"tg_sweep_cells", _SWEEP % {b"table": b"tidegate_cells", b"until": b"gone_us"}
    ),
    "ids": Statement(
        b"tg_sweep_ids", _SWEEP % {b"table": b"tidegate_ids", b"until": b"expires_us"}
    ),
    # Only those of the batch's own member, which nobody else changes meanwhile.
    "stakes": Statement(
        b"tg_sweep_stakes",
        b"""WITH seen AS MATERIALIZED (
        SELECT cell FROM tidegate_stakes WHERE member = $3::bytea AND cell > $1::bytea
        ORDER BY cell LIMIT $2::bigint),
    gone AS (DELETE FROM tidegate_stakes WHERE member = $3::bytea AND units = 0 AND NOT waits
        AND cell = ANY(ARRAY(SELECT cell FROM seen)))
    SELECT array_agg(cell) FROM seen""",
    ),
}
STATEMENTS = (
    COMMIT,
    _LEVELS,
    _CELLS,
    _NEW_CELLS,
    _PUT_IDS,
    _NEW_IDS,
    _DROP_IDS,
    _MEMBER,
    _SIGN,
    _NEW_MEMBER,
    _DROP_MEMBERS,
    _TOKEN,
    _STAKES,
    _DROP_STAKES,
    _NOTIFY,
    FLUSH,
    *_SWEEPS.values(),
)


def save(changes: Changes, channels: Sequence[str]) -> list[Call]:
    """Return the calls that write what changed, and wake whoever listens to these channels."""
    calls: list[Call] = []
    if changes.levels:
        amounts, gone, keys = zip(*changes.levels, strict=True)
        levels = [int8s(amounts), int8s(gone), bytes_array(keys)]
        calls.append((_LEVELS, [*levels, int8(changes.now_us), int8(len(keys))]))
    if changes.cells:
        calls.append((_CELLS, [*_cells(changes.cells), int8(len(changes.cells))]))
    if changes.cells_new:
        calls.append((_NEW_CELLS, _cells(changes.cells_new)))
    if changes.ids:
        calls.append((_PUT_IDS, [*_ids(changes.ids), int8(len(changes.ids))]))
    if changes.ids_new:
        calls.append((_NEW_IDS, _ids(changes.ids_new)))
    if changes.ids_gone:
        calls.append((_DROP_IDS, [bytes_array(changes.ids_gone)]))
    calls += _of_members(changes)
    if channels:
        calls.append((_NOTIFY, [bytes_array([name.encode() for name in channels], TEXT)]))
    return calls


def sweeps(sweep: Sweep, rows: int, own: bytes, now_us: int) -> dict[str, Call]:
    """Return the calls, by table, that look at some rows and delete those that mean nothing."""
    last: dict[str, bytes] = {"cells": int8(now_us), "ids": int8(now_us - MARGIN_US), "stakes": own}
    return {
        table: (statement, (sweep.after(table), int8(rows), last[table]))
        for table, statement in _SWEEPS.items()
    }


def _of_members(changes: Changes) -> Iterable[Call]:
    member = changes.member
    if member is not None:
        name, expires_us, token = member.name, int8(member.expires_us), int8(member.token)
        if changes.is_new or changes.is_kept:
            put = _NEW_MEMBER if changes.is_new else _MEMBER
            yield put, (name, expires_us, int8(member.seq), member.reply, token)
        else:
            yield _SIGN, (name, expires_us, token)
    if changes.members_gone:
        # The highest token must not go with the member that knew it.
        yield _TOKEN, [int8(changes.token)]
        yield _DROP_MEMBERS, [bytes_array(changes.members_gone)]
    if changes.stakes_gone:
        columns = zip(*changes.stakes_gone, strict=True)
        yield _DROP_STAKES, [bytes_array(column) for column in columns]
    if changes.stakes:
        yield _STAKES, _stakes(changes.stakes)


def _cells(rows: Iterable[CellRow]) -> list[bytes]:
    keys, amounts, instants, units, pasts, queues, gone = zip(*rows, strict=True)
    return [
        bytes_array(keys),
        int8s(amounts),
        int8s(instants),
        int8s(units),
        bytes_array(pasts),
        bytes_array(queues),
        int8s(gone),
    ]


def _ids(rows: Iterable[IdRow]) -> list[bytes]:
    keys, digests, tokens, members, expiries, held, flags = zip(*rows, strict=True)
    return [
        bytes_array(keys),
        bytes_array([digest.encode() for digest in digests], TEXT),
        int8s(tokens),
        bytes_array(members),
        int8s(expiries),
        bytes_array(held),
        int8s(flags),
    ]


def _stakes(rows: Iterable[StakeRow]) -> list[bytes]:
    members, cells, units, waits = zip(*rows, strict=True)
    return [bytes_array(members), bytes_array(cells), int8s(units), bools(waits)]
