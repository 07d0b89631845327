"""Every backend, opened the same way: the one place where the suites' adapters are named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.adapters.memory.lease_log import MemoryLeaseLog
from tidegate.adapters.memory.tenant_store import MemoryTenantStore
from tidegate.adapters.memory.usage_ledger import MemoryUsageLedger
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.lease_log import SqlLeaseLog
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.ports.lease_log import LeaseLog
from tidegate.ports.tenant_store import TenantStore
from tidegate.ports.usage_ledger import UsageLedger


@dataclass(frozen=True, kw_only=True)
class Stores:
    """One backend, as the ports see it."""

    tenants: TenantStore
    usage: UsageLedger
    leases: LeaseLog


@asynccontextmanager
async def _memory(folder: Path) -> AsyncIterator[Stores]:
    yield Stores(tenants=MemoryTenantStore(), usage=MemoryUsageLedger(), leases=MemoryLeaseLog())


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[Stores]:
    async with Database(folder / "tidegate.db") as database:
        yield Stores(
            tenants=SqlTenantStore(database),
            usage=SqlUsageLedger(database),
            leases=SqlLeaseLog(database),
        )


Open = Callable[[Path], AbstractAsyncContextManager[Stores]]
BACKENDS: dict[str, Open] = {"memory": _memory, "sqlite": _sqlite}
