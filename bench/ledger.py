"""Durable usage rows per second: our group commit against a transaction per row.

The peer is plain sqlite3 in the same process: one connection in one thread, write-ahead log,
synchronous = FULL, the same row, and a commit for each. It keeps no hourly sums and no
savepoints, so it does less for every row; the rows of both are as durable. The disk decides the
ratio, so its own speed is printed first.

Run: python bench/ledger.py [folder on the disk to measure]
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.usage import UsageEntry

CALLERS = (64, 512)
ROUNDS = 5
ROUND_S = 1.0
"""How long each round records, so that slow disks take no longer than fast ones."""

INSERT = "INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
SCHEMA = """
    CREATE TABLE usage (tenant TEXT, source TEXT, id TEXT, at_us INTEGER, failed INTEGER,
        operations INTEGER, data_bytes INTEGER, compute_us INTEGER, taken TEXT,
        PRIMARY KEY (tenant, source, id)) WITHOUT ROWID"""

Record = Callable[[UsageEntry], Awaitable[bool]]
Measured = tuple[float, float]
"""Rows per second, and the median wait of one caller in milliseconds."""


class RowByRow:
    """A transaction for each row, in a thread of its own so that the event loop stays free."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", SCHEMA):
            self._connection.execute(statement)
        self._thread = ThreadPoolExecutor(1)

    async def record(self, entry: UsageEntry) -> bool:
        amounts = (entry.operations, entry.data_bytes, entry.compute_us)
        row = (entry.tenant, entry.source, entry.id, entry.at_us, 0, *amounts, "{}")
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._write, row)

    def _write(self, row: tuple[object, ...]) -> bool:
        return self._connection.execute(INSERT, row).rowcount == 1

    def close(self) -> None:
        self._thread.shutdown()
        self._connection.close()


def usage(caller: int, identifier: str) -> UsageEntry:
    return UsageEntry(
        tenant=f"tenant-{caller % 50}",
        source="http",
        id=identifier,
        at_us=time.time_ns() // 1000,
        outcome="success",
        operations=1,
        data_bytes=2048,
        compute_us=1500,
        taken={"operations": 1},
    )


async def measure(record: Record, callers: int, name: str) -> Measured:
    waits_s: list[float] = []
    started_s = time.perf_counter()

    async def call(caller: int) -> None:
        number = 0
        while (before_s := time.perf_counter()) < started_s + ROUND_S:
            number += 1
            assert await record(usage(caller, f"{name}-{caller}-{number}"))
            waits_s.append(time.perf_counter() - before_s)

    await asyncio.gather(*(call(caller) for caller in range(callers)))
    return len(waits_s) / (time.perf_counter() - started_s), statistics.median(waits_s) * 1000


async def main(folder: Path) -> None:
    print(f"the disk alone: {flushes_per_second(folder / 'flush'):,.0f} flushes of 200 B a second")
    peer = RowByRow(folder / "rows.db")
    async with Database(folder / "groups.db") as database:
        ledger = SqlUsageLedger(database)
        for callers in CALLERS:
            ours: list[Measured] = []
            theirs: list[Measured] = []
            commits = database.commits
            # Turn by turn, so that a disk that changes its speed changes it for both.
            for number in range(ROUNDS):
                ours.append(await measure(ledger.record, callers, f"{callers}-{number}"))
                theirs.append(await measure(peer.record, callers, f"{callers}-{number}"))
            report(callers, ours, theirs, database.commits - commits)
    peer.close()


def flushes_per_second(path: Path) -> float:
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    started_s = time.perf_counter()
    for _ in range(200):
        os.write(descriptor, bytes(200))
        os.fsync(descriptor)
    os.close(descriptor)
    return 200 / (time.perf_counter() - started_s)


def report(callers: int, ours: list[Measured], theirs: list[Measured], commits: int) -> None:
    print(f"{callers} callers, medians of {ROUNDS} rounds of {ROUND_S:g} s:")
    for label, side in (("group commit", ours), ("row by row", theirs)):
        rates = [rate for rate, _ in side]
        wait_ms = statistics.median(wait for _, wait in side)
        print(
            f"  {label:12} {statistics.median(rates):9,.0f} rows/s"
            f" ({min(rates):,.0f}..{max(rates):,.0f}), one caller waits {wait_ms:.1f} ms"
        )
    group, single = (statistics.median(rate for rate, _ in side) for side in (ours, theirs))
    rows_per_commit = sum(rate for rate, _ in ours) * ROUND_S / commits
    print(f"  ratio {group / single:.1f}, about {rows_per_commit:.0f} rows in a commit")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as temporary:
        asyncio.run(main(Path(temporary)))
