"""What every tenant store promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from tests.conformance.stores import Stores
from tidegate.domain.tenant import ApiKey, AuditEntry, Owner, Tenant
from tidegate.errors import (
    Conflict,
    GenerationConflict,
    InvalidRequest,
    NotFound,
    TenantExists,
    TenantUnknown,
    TidegateError,
)
from tidegate.ports.tenant_store import TenantStore

pytestmark = pytest.mark.anyio

NOW_US = 1_795_000_000_000_000
ACME = Tenant(
    id="acme",
    name="Acme \x00 'GmbH' \N{SNOWMAN}",
    plan="basic",
    owner=Owner(id="o-1", name="Wile E.", email="wile@example.com"),
    quotas={"sessions": 7, "storage_bytes": 2**53},
    isolation_level="logical",
    created_us=NOW_US,
    updated_us=NOW_US + 1,
)
KEY = ApiKey(id="k-1", tenant="acme", hash=b"\x00\xff hash", created_us=NOW_US)


def note(action: str, tenant: str = "acme", at_us: int = NOW_US) -> AuditEntry:
    return AuditEntry(
        at_us=at_us, actor="admin", tenant=tenant, action=action, detail='{"a": "\\u0000"}'
    )


@pytest.fixture
def store(stores: Stores) -> TenantStore:
    return stores.tenants


async def create(store: TenantStore, tenant: Tenant = ACME) -> Tenant:
    return await store.put(tenant, expected_generation=0, audit=note("create", tenant.id))


async def test_what_is_put_is_loaded_one_generation_on(store: TenantStore) -> None:
    assert (await store.load()).tenants == {}
    first = await create(store)
    assert first == replace(ACME, generation=1)
    suspended = replace(first, status="suspended", suspended_reason="unpaid")
    second = await store.put(suspended, expected_generation=1, audit=note("suspend"))
    assert second == replace(suspended, generation=2)
    directory = await store.load()
    assert directory.tenants == {"acme": second}
    assert directory.version == store.version()


async def test_a_change_of_the_tenant_keeps_its_keys(store: TenantStore) -> None:
    first = await create(store)
    await store.add_key(KEY, audit=note("add_key"))
    await store.put(replace(first, name="New"), expected_generation=1, audit=note("rename"))
    assert (await store.load()).keys == {KEY.hash: KEY}


async def test_of_two_writers_one_wins(store: TenantStore) -> None:
    tenant = await create(store)
    outcomes = await asyncio.gather(
        *(
            store.put(replace(tenant, name=name), expected_generation=1, audit=note(name))
            for name in ("left", "right", "middle")
        ),
        return_exceptions=True,
    )
    won = [outcome for outcome in outcomes if isinstance(outcome, Tenant)]
    lost = [outcome for outcome in outcomes if isinstance(outcome, GenerationConflict)]
    assert (len(won), len(lost)) == (1, 2)
    assert {(error.expected, error.found) for error in lost} == {(1, 2)}
    assert (await store.load()).tenants["acme"] == won[0]
    assert len(await store.audit(tenant_id="acme", limit=10)) == 2


@pytest.mark.parametrize(
    ("expected_generation", "tenant_id", "error"),
    [
        pytest.param(0, "acme", TenantExists, id="the id is taken"),
        pytest.param(1, "other", TenantUnknown, id="no such tenant"),
        pytest.param(2, "acme", GenerationConflict, id="a generation still to come"),
    ],
)
async def test_a_refused_put_changes_nothing(
    store: TenantStore, expected_generation: int, tenant_id: str, error: type[TidegateError]
) -> None:
    created = await create(store)
    version = store.version()
    with pytest.raises(error):
        await store.put(
            replace(ACME, id=tenant_id, name="changed"),
            expected_generation=expected_generation,
            audit=note("put"),
        )
    assert (await store.load()).tenants == {"acme": created}
    assert store.version() == version
    assert [entry.action for entry in await store.audit(tenant_id=None, limit=9)] == ["create"]


async def test_a_deleted_tenant_takes_its_keys_along_and_its_id_is_not_given_out_again(
    store: TenantStore,
) -> None:
    await create(store)
    await create(store, replace(ACME, id="other"))
    await store.add_key(KEY, audit=note("add_key"))
    other = ApiKey(id="k-1", tenant="other", hash=b"2", created_us=NOW_US)
    await store.add_key(other, audit=note("add_key", "other"))
    await store.delete("acme", audit=note("delete"))
    directory = await store.load()
    assert (set(directory.tenants), directory.keys) == ({"other"}, {b"2": other})
    with pytest.raises(TenantUnknown):
        await store.put(ACME, expected_generation=1, audit=note("put"))
    with pytest.raises(TenantUnknown):
        await store.delete("acme", audit=note("delete"))
    version = store.version()
    with pytest.raises(TenantExists):
        await create(store)
    assert store.version() == version
    assert set((await store.load()).tenants) == {"other"}


async def test_keys_come_and_go(store: TenantStore) -> None:
    with pytest.raises(TenantUnknown):
        await store.add_key(KEY, audit=note("add_key"))
    await create(store)
    await create(store, replace(ACME, id="other"))
    await store.add_key(KEY, audit=note("add_key"))
    for twin in (replace(KEY, hash=b"2"), replace(KEY, id="k-2"), replace(KEY, tenant="other")):
        with pytest.raises(Conflict):
            await store.add_key(twin, audit=note("add_key"))
    assert (await store.load()).keys == {KEY.hash: KEY}
    for tenant_id, key_id in (("other", "k-1"), ("acme", "k-2")):
        with pytest.raises(NotFound):
            await store.revoke_key(tenant_id, key_id, audit=note("revoke_key", tenant_id))
    await store.revoke_key("acme", "k-1", audit=note("revoke_key"))
    assert (await store.load()).keys == {}
    actions = [entry.action for entry in await store.audit(tenant_id="acme", limit=9)]
    assert actions == ["revoke_key", "add_key", "create"]


async def test_every_change_of_the_directory_moves_the_version_and_nothing_else_does(
    store: TenantStore,
) -> None:
    seen = [store.version()]
    tenant = await create(store)
    seen.append(store.version())
    await store.put(tenant, expected_generation=1, audit=note("put"))
    seen.append(store.version())
    await store.add_key(KEY, audit=note("add_key"))
    seen.append(store.version())
    await store.revoke_key("acme", "k-1", audit=note("revoke_key"))
    seen.append(store.version())
    await store.delete("acme", audit=note("delete"))
    seen.append(store.version())
    assert len(set(seen)) == len(seen)
    await store.load()
    await store.audit(tenant_id=None, limit=1)
    assert store.version() == seen[-1]


async def test_the_audit_tells_the_newest_first_also_when_the_clock_steps_back(
    store: TenantStore,
) -> None:
    notes = [note(f"step-{number}", at_us=NOW_US - number) for number in range(3)]
    tenant = await create(store, replace(ACME, id="other"))
    for generation, entry in enumerate(notes, start=1):
        tenant = await store.put(tenant, expected_generation=generation, audit=entry)
    assert await store.audit(tenant_id="acme", limit=2) == [notes[2], notes[1]]
    assert len(await store.audit(tenant_id=None, limit=9)) == 4
    assert await store.audit(tenant_id="nobody' OR 1=1 --", limit=9) == []
    for limit in (0, -1, 10_001):
        with pytest.raises(InvalidRequest):
            await store.audit(tenant_id=None, limit=limit)
