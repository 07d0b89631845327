"""The stores in memory refuse to grow beyond what they were given."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from tidegate.adapters.memory.lease_log import MemoryLeaseLog
from tidegate.adapters.memory.tenant_store import MemoryTenantStore
from tidegate.adapters.memory.usage_ledger import MemoryUsageLedger
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.tenant import AuditEntry, Tenant
from tidegate.domain.usage import StoredAnswer, UsageEntry
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

ENTRY = UsageEntry(tenant="acme", source="http", id="1", at_us=5, outcome="success", operations=1)
ANSWER = StoredAnswer(
    tenant="acme", key="1", digest=b"", status=200, headers={}, body=bytes(60), expires_us=9
)


async def test_a_full_tenant_store_still_changes_what_it_has() -> None:
    store = MemoryTenantStore(tenants_max=1, audit_max=2)
    note = AuditEntry(at_us=0, actor="admin", tenant="a", action="put")
    tenant = Tenant(id="a", name="a", plan="free", quotas={})
    for generation in range(3):
        await store.put(tenant, expected_generation=generation, audit=note)
    with pytest.raises(StoreUnavailable):
        await store.put(replace(tenant, id="b"), expected_generation=0, audit=note)
    assert set((await store.load()).tenants) == {"a"}
    assert len(await store.audit(tenant_id=None, limit=9)) == 2
    await store.delete("a", audit=note)
    with pytest.raises(StoreUnavailable):
        await store.put(replace(tenant, id="b"), expected_generation=0, audit=note)


async def test_a_full_ledger_refuses_new_rows_and_knows_the_old() -> None:
    ledger = MemoryUsageLedger(entries_max=1)
    assert await ledger.record(ENTRY)
    assert not await ledger.record(ENTRY)
    with pytest.raises(StoreUnavailable, match="1 rows"):
        await ledger.record(replace(ENTRY, id="2"))


async def test_answers_share_a_budget_that_sweeping_frees() -> None:
    ledger = MemoryUsageLedger(answers_max_bytes=100)
    assert await ledger.record(ENTRY, ANSWER)
    second = replace(ENTRY, id="2")
    with pytest.raises(StoreUnavailable, match="100 bytes"):
        await ledger.record(second, replace(ANSWER, key="2"))
    assert (await ledger.totals("acme", since_us=0, until_us=9)).operation_count == 1
    assert await ledger.sweep(now_us=9) == 1
    assert await ledger.record(second, replace(ANSWER, key="2"))


async def test_a_full_lease_log_still_renews() -> None:
    log = MemoryLeaseLog(leases_max=1)
    record = LeaseRecord(id="1", claim=Claim(), fencing_token=1, expires_us=1)
    await log.put(record)
    await log.put(msgspec.structs.replace(record, expires_us=2))
    with pytest.raises(StoreUnavailable):
        await log.put(msgspec.structs.replace(record, id="2"))
    assert [kept.expires_us for kept in await log.load()] == [2]
