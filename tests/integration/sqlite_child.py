"""What the SQLite tests run in a process of its own: `python -m tests.integration.sqlite_child`.

record PATH   records usage from 64 tasks and prints each acknowledged id, until it is killed
create PATH N creates N tenants and ends, as a command of the shell would
lock PATH S   holds the write lock for S seconds, or until its input closes where S is 0
limit PATH    lets no file grow, records until refused, lifts the limit, records again
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sqlite3
import sys
import time
from pathlib import Path

from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.tenant import AuditEntry, Tenant
from tidegate.domain.usage import UsageEntry
from tidegate.errors import StoreUnavailable


def entry(identifier: str, at_us: int = 1_795_000_000_000_000) -> UsageEntry:
    return UsageEntry(
        tenant="acme",
        source="http",
        id=identifier,
        at_us=at_us,
        outcome="success",
        operations=1,
        taken={"operations": 1},
    )


async def record(path: Path) -> None:
    async with Database(path) as database:
        ledger = SqlUsageLedger(database)

        async def work(task: int) -> None:
            for number in itertools.count():
                assert await ledger.record(entry(f"{task}-{number}"))
                print(f"{task}-{number}", flush=True)

        await asyncio.gather(*(work(task) for task in range(64)))


async def create(path: Path, prefix: str, count: int) -> None:
    async with Database(path) as database:
        store = SqlTenantStore(database)
        for number in range(count):
            name = f"{prefix}-{number}"
            audit = AuditEntry(at_us=0, actor="shell", tenant=name, action="create")
            tenant = Tenant(id=name, name=name, plan="free", quotas={})
            await store.put(tenant, expected_generation=0, audit=audit)


def lock(path: Path, seconds: float) -> None:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    if seconds:
        time.sleep(seconds)
    else:
        sys.stdin.read()
    connection.execute("ROLLBACK")
    connection.close()


async def limit(path: Path) -> None:
    async with Database(path) as database:
        ledger = SqlUsageLedger(database)
        await ledger.record(entry("first"))
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, old[1]))
        acknowledged = 0
        try:
            for number in range(100_000):
                acknowledged += await ledger.record(entry(f"{number}" * 200))
        except StoreUnavailable as error:
            print(error)
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        await ledger.record(entry("last"))
        totals = await ledger.totals("acme", since_us=0, until_us=2**62)
        print(totals.operation_count - acknowledged)


def main() -> None:
    verb, path, *rest = sys.argv[1:]
    if verb == "record":
        asyncio.run(record(Path(path)))
    elif verb == "create":
        asyncio.run(create(Path(path), rest[0], int(rest[1])))
    elif verb == "lock":
        lock(Path(path), float(rest[0]))
    else:
        asyncio.run(limit(Path(path)))


if __name__ == "__main__":
    main()
