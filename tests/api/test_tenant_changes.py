"""Changes are in force at once: made over HTTP, and made by another process on the same folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.api.harness import PATIENCE_S, Api, Caller, bad, good, within_one_minute
from tests.api.routes import LIMITS
from tidegate import bootstrap
from tidegate.facades.tenants import TenantChanges, Tenants

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS}
NOTICED_S = 1.0


async def changed_elsewhere(api: Api, change: Callable[[Tenants], Awaitable[Any]]) -> float:
    """Change tenants as the shell does, and return when that was done."""
    folder = bootstrap.data_folder(api.settings, {})
    async with bootstrap.open_tenants(api.settings, folder) as tenants:
        await change(tenants)
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], Awaitable[bool]], since_s: float) -> None:
    """Wait until a condition holds, and check that it was about as quick as promised."""
    loop = asyncio.get_running_loop()
    while not await condition():
        assert loop.time() - since_s < PATIENCE_S
        await asyncio.sleep(0.02)
    # The promise is for an idle machine.
    assert loop.time() - since_s < 10 * NOTICED_S


async def test_a_tenant_made_elsewhere_is_let_in_at_once(api: Api) -> None:
    made: list[str] = []

    async def change(tenants: Tenants) -> None:
        _, key = await tenants.create(name="Elsewhere", tenant_id="elsewhere", actor="shell")
        made.append(key)

    await changed_elsewhere(api, change)
    good(await api.http.get("/v1/usage", headers={"Authorization": f"Bearer {made[0]}"}))
    audit = good(await api.admin.get("/admin/audit?tenant=elsewhere"))["entries"]
    assert {entry["actor"] for entry in audit} == {"shell"}


async def test_a_tenant_suspended_elsewhere_is_refused_soon(api: Api, tenant: Caller) -> None:
    good(await tenant.get("/v1/limits"))
    since_s = await changed_elsewhere(api, lambda tenants: tenants.suspend(tenant.id, "why"))

    async def refused() -> bool:
        return (await tenant.get("/v1/limits")).status_code == 403

    await until(refused, since_s)


async def test_a_tenant_deleted_elsewhere_is_gone_soon_with_its_leases(
    api: Api, tenant: Caller
) -> None:
    other = await api.tenant()
    good(await tenant.post("/v1/claims", {"hold": {"seats": 4}}), 201)
    since_s = await changed_elsewhere(api, lambda tenants: tenants.delete(tenant.id))

    async def gone() -> bool:
        return (await tenant.get("/v1/limits")).status_code == 401

    await until(gone, since_s)
    claim = {"hold": {"seats": 4}, "timeout_s": 10}
    lease = good(await other.post("/v1/claims", claim), 201)["lease_id"]
    assert (await other.delete(f"/v1/leases/{lease}")).status_code == 204


async def test_limits_changed_elsewhere_are_in_force_soon(api: Api, tenant: Caller) -> None:
    changes = TenantChanges(quotas={"operations_per_minute": 2})
    since_s = await changed_elsewhere(api, lambda tenants: tenants.update(tenant.id, changes))

    async def in_force() -> bool:
        return (await tenant.remaining())["operations"] == 2

    await until(in_force, since_s)


async def test_new_limits_are_in_force_with_the_answer(api: Api) -> None:
    await within_one_minute()
    tenant = await api.tenant(quotas={"operations_per_month": 100})
    path = f"/admin/tenants/{tenant.id}"
    work = ("/v1/extract", {"html": "<p>text"})
    good(await tenant.post(*work))
    good(await api.admin.put(path, {"quotas": {"operations_per_minute": 1}}))
    problem = bad(await tenant.post(*work), 429, "quota_exceeded")
    assert (problem["limit"], problem["remaining"]) == ("operations", 0)
    both = {"operations_per_minute": 2, "operations_per_month": 3}
    good(await api.admin.put(path, {"quotas": both}))
    good(await tenant.post(*work))
    good(await api.admin.put(path, {"quotas": {"operations_per_month": 2}}))
    assert bad(await tenant.post(*work), 429, "quota_exceeded")["limit"] == "operations_month"
    good(await api.admin.put(path, {"quotas": {}}))
    good(await tenant.post(*work))
    good(await api.admin.put(path, {"quotas": {"requests_burst": 1, "requests_per_second": 1}}))
    codes = [(await tenant.get("/v1/limits")).status_code for _ in range(3)]
    assert codes[-1] == 429
