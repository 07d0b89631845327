"""What PostgreSQL does for a plain application: one transaction with row locks for each claim.

Four rows a claim, one of them common to all; sorted keys, so that no two wait for each other in a
circle; the rule of a leaky bucket in Python between the SELECT and the UPDATE. Tasks take turns at
four connections; of 1 to 16, two and four were the fastest: more only wait for the same row.
The rows are there before the clock starts; afterwards the common row has to hold exactly what was
committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from admitting.crowd import Act, Contestant
from admitting.own import AMPLE
from admitting.redis_peers import RUN
from admitting.redis_rates import HOSTS, TENANTS

NAME = "one transaction a claim"
CONNECTIONS = 4
HOT = "all"
TABLE = f"tidegate_bench_{RUN}"
READ = f"SELECT key, level, at_us FROM {TABLE} WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
WRITE = f"""
    UPDATE {TABLE} AS cell SET level = new.level, at_us = new.at_us
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new (key, level, at_us)
    WHERE cell.key = new.key"""


def row_locks(url: str) -> Contestant:
    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        import psycopg

        async with AsyncExitStack() as stack:
            connections = []
            for _ in range(CONNECTIONS):
                connecting = psycopg.AsyncConnection.connect(url, autocommit=True)
                connections.append(await stack.enter_async_context(await connecting))
            claims = [keys_of(task) for task in range(tasks)]
            ledger = Ledger(connections)
            await ledger.create({key for keys in claims for key in keys})
            try:
                yield [partial(ledger.take, keys) for keys in claims]
                await ledger.verify()
            finally:
                await ledger.drop()

    return Contestant(name=NAME, open=opened, right=bool)


def keys_of(task: int) -> list[str]:
    tenant, host = f"t{task % TENANTS}", f"h{task % HOSTS}"
    return sorted((f"{tenant}:rate", f"{tenant}:{host}:rate", f"{tenant}:quota", HOT))


class Ledger:
    """The rows, and the connections that the tasks share."""

    def __init__(self, connections: list[Any]) -> None:
        self._idle = connections
        # First come, first served, which asyncio's queues are not.
        self._turns = asyncio.Semaphore(len(connections))
        self._taken = 0

    async def create(self, keys: set[str]) -> None:
        create = f"CREATE TABLE {TABLE} (key text PRIMARY KEY, level bigint, at_us bigint)"
        await self._execute(create)
        fill = f"INSERT INTO {TABLE} SELECT key, 0, 0 FROM unnest(%s::text[]) AS key"
        await self._execute(fill, (sorted(keys),))

    async def take(self, keys: list[str]) -> bool:
        async with self._connection() as connection, connection.transaction():
            rows = await (await connection.execute(READ, (keys,))).fetchall()
            now_us = time.time_ns() // 1000
            levels = [aged(level, at_us, now_us, key) + 1 for key, level, at_us in rows]
            if max(levels) > AMPLE:
                return False
            changed = ([key for key, _, _ in rows], levels, [now_us] * len(rows))
            await connection.execute(WRITE, changed)
        self._taken += 1
        return True

    async def verify(self) -> None:
        """See that the common row, which never leaks, holds every claim and no more."""
        (level,) = await self._execute(f"SELECT level FROM {TABLE} WHERE key = %s", (HOT,))
        if level != self._taken:
            raise AssertionError(f"{self._taken} claims were committed, the row says {level}")

    async def drop(self) -> None:
        await self._execute(f"DROP TABLE {TABLE}")

    async def _execute(self, statement: str, values: tuple[object, ...] = ()) -> Any:
        async with self._connection() as connection:
            cursor = await connection.execute(statement, values)
            return await cursor.fetchone() if cursor.description else None

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Any]:
        async with self._turns:
            connection = self._idle.pop()
            try:
                yield connection
            finally:
                self._idle.append(connection)


def aged(level: int, at_us: int, now_us: int, key: str) -> int:
    """Return what is left of a level: rates leak a unit a microsecond, the others stay."""
    return max(0, level - max(0, now_us - at_us)) if key.endswith("rate") else level
