"""The usage ledger in SQLite: one row per effect, and the same amounts summed by the hour.

Both are written in one transaction, so a sum over any period is whole hours from the small
tables plus the rows of at most two broken hours: exact, and quick however long the ledger is.
"""

from __future__ import annotations

import functools
import sqlite3
from collections import Counter

import msgspec

from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.schema import ANSWER_ROW_BYTES
from tidegate.domain.usage import StoredAnswer, UsageEntry, UsageTotals
from tidegate.errors import InvalidRequest

HOUR_US = 3_600_000_000
BODY_MAX_BYTES = 32 * 2**20
ANSWERS_MAX_BYTES = 256 * 2**20
"""Most that is kept of one tenant's answers: a day of usual ones, eight of the largest. Beyond
it, one tenant with a fresh key for every call could fill the disk for all."""
SWEEP_BATCH = 64
"""Answers deleted in one step, so that a sweep never holds up the writers behind it."""

_ADD_ENTRY = "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
_ADD_HOUR = """
    INSERT INTO usage_hours VALUES (?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, hour_us) DO UPDATE SET
        operations = operations + excluded.operations, failed = failed + excluded.failed,
        data_bytes = data_bytes + excluded.data_bytes,
        compute_us = compute_us + excluded.compute_us"""
_ADD_TAKEN = """
    INSERT INTO taken_hours VALUES (?, ?, ?, ?)
    ON CONFLICT (hour_us, tenant, resource) DO UPDATE SET
        units = units + excluded.units"""
# An answer that still counts stays: the retries of its request must all get the same one.
_ADD_ANSWER = """
    INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant, key) DO UPDATE SET
        digest = excluded.digest, status = excluded.status, headers = excluded.headers,
        expires_us = excluded.expires_us, body = excluded.body
        WHERE answers.expires_us <= ?"""
_KEPT_BYTES = "SELECT ifnull(sum(bytes), 0) FROM answer_bytes WHERE tenant = ?"
_ANSWER = """
    SELECT digest, status, headers, body, expires_us FROM answers
    WHERE tenant = ? AND key = ? AND expires_us > ?"""
# Failed work counts only as failed: the rows keep its amounts, every sum leaves them out.
_SUM_ROWS = """
    SELECT ifnull(sum(operations * (1 - failed)), 0), ifnull(sum(failed), 0),
        ifnull(sum(data_bytes * (1 - failed)), 0), ifnull(sum(compute_us * (1 - failed)), 0)
    FROM usage WHERE tenant = ? AND at_us >= ? AND at_us < ?"""
_SUM_HOURS = """
    SELECT ifnull(sum(operations), 0), ifnull(sum(failed), 0),
        ifnull(sum(data_bytes), 0), ifnull(sum(compute_us), 0)
    FROM usage_hours WHERE tenant = ? AND hour_us >= ? AND hour_us < ?"""
# The tenants of the broken hour are few; for each, the index finds its rows in that hour.
_TAKEN_ROWS = """
    SELECT busy.tenant, part.key, sum(part.value)
    FROM (SELECT DISTINCT tenant FROM taken_hours WHERE hour_us = ?) AS busy
        CROSS JOIN usage ON usage.tenant = busy.tenant AND at_us >= ? AND at_us < ?
        CROSS JOIN json_each(usage.taken) AS part
    GROUP BY busy.tenant, part.key"""
_TAKEN_HOURS = """
    SELECT tenant, resource, sum(units) FROM taken_hours WHERE hour_us >= ?
    GROUP BY tenant, resource"""
_SWEEP = """
    DELETE FROM answers WHERE rowid IN (
        SELECT rowid FROM answers WHERE expires_us <= ? ORDER BY expires_us LIMIT ?)"""

# Large enough that a disk with no room left refuses it.
_PROVE = """
    INSERT OR REPLACE INTO answers (tenant, key, digest, status, headers, expires_us, body)
    VALUES ('', 'prove', x'', 0, x'', 0, zeroblob(16384))"""


class SqlUsageLedger:
    """`UsageLedger` in a SQLite file. `record` returns after the commit has reached the disk.

    Args:
        answers_max_bytes: What is kept of one tenant's answers, `ANSWER_ROW_BYTES` for each
            included.
    """

    def __init__(self, database: Database, *, answers_max_bytes: int = ANSWERS_MAX_BYTES) -> None:
        self._database, self._answers_max_bytes = database, answers_max_bytes

    async def record(self, entry: UsageEntry, answer: StoredAnswer | None = None) -> bool:
        """Write the row, and the answer with it, in one durable step.

        Raises:
            InvalidRequest: the answer's body is larger than `BODY_MAX_BYTES`.
        """
        size_bytes = len(answer.body) if answer else 0
        if size_bytes > BODY_MAX_BYTES:
            raise InvalidRequest("answer.body", f"{size_bytes} bytes", f"<= {BODY_MAX_BYTES} bytes")
        work = functools.partial(
            _record, entry=entry, answer=answer, answers_max_bytes=self._answers_max_bytes
        )
        return await self._database.write(work, size_bytes=size_bytes)

    async def answer(self, tenant: str, key: str, *, now_us: int) -> StoredAnswer | None:
        """Return the unexpired answer under this Idempotency-Key, if there is one."""
        return await self._database.read(
            functools.partial(_answer, tenant=tenant, key=key, now_us=now_us)
        )

    async def totals(self, tenant: str, *, since_us: int, until_us: int) -> UsageTotals:
        """Sum the entries with `since_us <= at_us < until_us`."""
        return await self._database.read(
            functools.partial(_totals, tenant=tenant, since_us=since_us, until_us=until_us)
        )

    async def taken(self, *, since_us: int) -> dict[tuple[str, str], int]:
        """Sum what was taken since, by (tenant, quota resource)."""
        return await self._database.read(functools.partial(_taken, since_us=since_us))

    async def prove(self) -> None:
        """Write the one answer of nobody, which the next sweep removes."""
        await self._database.write(lambda connection: connection.execute(_PROVE))

    async def sweep(self, *, now_us: int) -> int:
        """Delete expired answers in small steps; return how many."""
        swept = 0
        while True:
            step = await self._database.write(
                lambda connection: connection.execute(_SWEEP, (now_us, SWEEP_BATCH)).rowcount
            )
            swept += step
            if step < SWEEP_BATCH:
                return swept


def _hour(at_us: int) -> int:
    return at_us - at_us % HOUR_US


def _next_hour(at_us: int) -> int:
    return -_hour(-at_us)


def _record(
    connection: sqlite3.Connection,
    *,
    entry: UsageEntry,
    answer: StoredAnswer | None,
    answers_max_bytes: int,
) -> bool:
    failed = entry.outcome == "failed"
    amounts = (entry.operations, 0, entry.data_bytes, entry.compute_us)
    row = (
        *(entry.tenant, entry.source, entry.id, entry.at_us, int(failed)),
        *(entry.operations, entry.data_bytes, entry.compute_us),
        msgspec.json.encode(entry.taken).decode(),
    )
    if connection.execute(_ADD_ENTRY, row).rowcount == 0:
        return False
    hour_us = _hour(entry.at_us)
    connection.execute(_ADD_HOUR, (entry.tenant, hour_us, *((0, 1, 0, 0) if failed else amounts)))
    for resource, units in entry.taken.items():
        connection.execute(_ADD_TAKEN, (hour_us, entry.tenant, resource, units))
    if answer is not None:
        _add_answer(connection, answer, at_us=entry.at_us, answers_max_bytes=answers_max_bytes)
    return True


def _add_answer(
    connection: sqlite3.Connection, answer: StoredAnswer, *, at_us: int, answers_max_bytes: int
) -> None:
    headers = msgspec.json.encode(answer.headers)
    kept_bytes = connection.execute(_KEPT_BYTES, (answer.tenant,)).fetchone()[0]
    size_bytes = ANSWER_ROW_BYTES + len(headers) + len(answer.body)
    if kept_bytes + size_bytes > answers_max_bytes:
        return
    row = (answer.tenant, answer.key, answer.digest, answer.status, headers)
    connection.execute(_ADD_ANSWER, (*row, answer.expires_us, answer.body, at_us))


def _answer(
    connection: sqlite3.Connection, *, tenant: str, key: str, now_us: int
) -> StoredAnswer | None:
    row = connection.execute(_ANSWER, (tenant, key, now_us)).fetchone()
    if row is None:
        return None
    digest, status, headers, body, expires_us = row
    return StoredAnswer(
        tenant=tenant,
        key=key,
        digest=digest,
        status=status,
        headers=msgspec.json.decode(headers, type=dict[str, str]),
        body=body,
        expires_us=expires_us,
    )


def _totals(
    connection: sqlite3.Connection, *, tenant: str, since_us: int, until_us: int
) -> UsageTotals:
    first_us, last_us = _next_hour(since_us), _hour(until_us)
    parts = [(_SUM_ROWS, since_us, until_us)]
    if first_us < last_us:
        parts = [
            (_SUM_ROWS, since_us, first_us),
            (_SUM_HOURS, first_us, last_us),
            (_SUM_ROWS, last_us, until_us),
        ]
    sums = [
        connection.execute(query, (tenant, start_us, end_us)).fetchone()
        for query, start_us, end_us in parts
        if start_us < end_us
    ]
    operations, failed, data_bytes, compute_us = map(sum, zip((0, 0, 0, 0), *sums, strict=True))
    return UsageTotals(
        operation_count=operations,
        failed_count=failed,
        data_bytes=data_bytes,
        compute_us=compute_us,
    )


def _taken(connection: sqlite3.Connection, *, since_us: int) -> dict[tuple[str, str], int]:
    taken: Counter[tuple[str, str]] = Counter()
    first_us = _next_hour(since_us)
    broken = connection.execute(_TAKEN_ROWS, (_hour(since_us), since_us, first_us))
    whole = connection.execute(_TAKEN_HOURS, (first_us,))
    for rows in (broken, whole):
        for tenant, resource, units in rows:
            taken[tenant, resource] += units
    return dict(taken)
