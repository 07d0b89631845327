"""Who may call what: every route of the document, every wrong key."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest

from tests.api.harness import ADMIN_KEY, Api, Caller, bad, good
from tests.api.routes import BODIES, LIMITS, NEVER_REFUSED, OPEN, OTHERS, documented, filled

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS}
OWN = {*BODIES, *OTHERS}


async def ask(caller: Caller, route: tuple[str, str], **headers: str) -> httpx.Response:
    method, path = route
    body = {"json": BODIES[route]} if route in BODIES else {}
    return await caller.call(
        method, filled(path, tenant=caller.id or "nobody"), headers=headers, **body
    )


async def test_the_document_lists_every_route(api: Api) -> None:
    assert await documented(api) == {*OWN, *OPEN}


@pytest.mark.parametrize(
    "credentials",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer tg_wrong",
        "Bearer tga_wrong",
        "Bearer null",
        "Bearer " + "x" * 10_000,
        "Bearer caf\xe9 \xff\xfe",
        "Bearer tg_\x7f\x01",
        "Basic dGc6dGc=",
        "Digest username=x",
        "Token {key}",
        "{key}",
        "bearer{key}",
        "Bearer {key}x",
        "Bearer x{key}",
        "Bearer {key} {key}",
        "Bearer {key},",
        'Bearer "{key}"',
    ],
)
async def test_no_route_opens_to_another_key(
    api: Api, tenant: Caller, credentials: str | None
) -> None:
    for key in (tenant.key, ADMIN_KEY):
        headers = [] if credentials is None else [("Authorization", credentials.format(key=key))]
        raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
        for method, path in OWN:
            answer = await api.http.request(method, filled(path), headers=raw, content=b"{")
            bad(answer, 401, "unauthenticated")
    assert (await tenant.usage())["failed_count"] == 0


async def test_a_key_may_come_with_any_case_and_spacing(api: Api, tenant: Caller) -> None:
    for text in ("bearer {}", "BEARER   {}", "Bearer {}  "):
        headers = {"Authorization": text.format(tenant.key)}
        good(await api.http.get("/v1/usage", headers=headers))


async def test_a_tenant_is_no_admin(api: Api, tenant: Caller) -> None:
    for route in OWN:
        if route[1].startswith("/admin"):
            bad(await ask(tenant, route), 403, "forbidden")


async def test_a_tenant_speaks_for_nobody_else(api: Api, tenant: Caller) -> None:
    other = await api.tenant()
    for route in OWN:
        if route[1].startswith("/v1"):
            for name in (other.id, "nobody", "", tenant.id.upper(), f"{tenant.id} "):
                if name.strip() != tenant.id:
                    answer = await ask(tenant, route, **{"X-Tenant-ID": name})
                    bad(answer, 403, "forbidden")
    good(await tenant.get("/v1/usage", headers={"X-Tenant-ID": tenant.id}))


async def test_an_admin_says_for_whom(api: Api, tenant: Caller) -> None:
    for route in OWN:
        if route[1].startswith("/v1"):
            problem = bad(await ask(api.admin, route), 400, "tenant_required")
            assert problem["errors"][0]["field"] == "X-Tenant-ID"
            bad(await ask(api.admin, route, **{"X-Tenant-ID": "nobody"}), 404, "tenant_unknown")
            answer = await ask(api.admin, route, **{"X-Tenant-ID": tenant.id})
            assert answer.status_code in (200, 201, 404, 502), answer.text
    # What was done for the tenant is counted for the tenant.
    assert (await tenant.usage())["operation_count"] == 1
    await give_back(tenant)


async def test_a_suspended_tenant_gets_nothing_and_may_give_back(api: Api, tenant: Caller) -> None:
    retry = {"Idempotency-Key": "before"}
    good(await tenant.post("/v1/extract", {"html": "<p>"}, headers=retry))
    held = good(await tenant.post("/v1/claims", {"hold": {"seats": 1}, "id": "1"}), 201)
    good(await api.admin.post(f"/admin/tenants/{tenant.id}/suspend", {"reason": "unpaid"}))
    acting = replace(api.admin, extra={"X-Tenant-ID": tenant.id}, id=tenant.id)
    for caller in (tenant, acting):
        for route in OWN:
            if route[1].startswith("/v1") and route not in NEVER_REFUSED:
                bad(await ask(caller, route), 403, "suspended")
        bad(await caller.post("/v1/extract", {"html": "<p>"}, headers=retry), 403, "suspended")
        again = await caller.post("/v1/claims", {"hold": {"seats": 1}, "id": "1"})
        bad(again, 403, "suspended")
    assert (await tenant.delete(f"/v1/leases/{held['lease_id']}")).status_code == 204
    good(await api.admin.post(f"/admin/tenants/{tenant.id}/resume"))
    assert await give_back(tenant) == []


async def give_back(tenant: Caller) -> list[dict[str, Any]]:
    leases: list[dict[str, Any]] = good(await tenant.get("/v1/leases"))["leases"]
    for lease in leases:
        assert (await tenant.delete(f"/v1/leases/{lease['lease_id']}")).status_code == 204
    return leases


async def test_a_revoked_key_is_nobodys(api: Api, tenant: Caller) -> None:
    path = f"/admin/tenants/{tenant.id}/keys"
    issued = good(await api.admin.post(path), 201)
    second = replace(tenant, key=issued["api_key"])
    good(await second.get("/v1/usage"))
    keys = good(await api.admin.get(path))["keys"]
    assert [key["id"] for key in keys][1] == issued["id"]
    assert "api_key" not in keys[0]
    assert (await api.admin.delete(f"{path}/{keys[0]['id']}")).status_code == 204
    bad(await tenant.get("/v1/usage"), 401, "unauthenticated")
    good(await second.get("/v1/usage"))
    bad(await api.admin.delete(f"{path}/{keys[0]['id']}"), 404, "not_found")


async def test_many_changes_at_once_leave_no_revoked_key_behind(api: Api) -> None:
    tenants = [await api.tenant() for _ in range(8)]

    async def revoke(tenant: Caller) -> int:
        path = f"/admin/tenants/{tenant.id}/keys"
        key = good(await api.admin.get(path))["keys"][0]["id"]
        await api.admin.delete(f"{path}/{key}")
        return (await tenant.get("/v1/usage")).status_code

    assert set(await asyncio.gather(*map(revoke, tenants))) == {401}


async def test_leases_are_hidden_from_others(api: Api, tenant: Caller) -> None:
    other = await api.tenant()
    lease = good(await tenant.post("/v1/claims", {"hold": {"seats": 1}}), 201)["lease_id"]
    for caller in (other, replace(api.admin, extra={"X-Tenant-ID": other.id})):
        assert good(await caller.get("/v1/leases"))["leases"] == []
        renewal = await caller.post(f"/v1/leases/{lease}/renew", {"lease_s": 60})
        bad(renewal, 404, "lease_unknown")
        bad(await caller.delete(f"/v1/leases/{lease}"), 404, "lease_unknown")
    assert len(await give_back(tenant)) == 1
    bad(await other.delete(f"/v1/leases/{lease}"), 404, "lease_unknown")


async def test_a_deleted_tenant_is_gone_with_all_it_held(api: Api, tenant: Caller) -> None:
    other = await api.tenant()
    claim = {"hold": {"seats": 4}}
    good(await tenant.post("/v1/claims", claim), 201)
    bad(await other.post("/v1/claims", claim), 503, "exhausted")
    assert (await api.admin.delete(f"/admin/tenants/{tenant.id}")).status_code == 204
    bad(await tenant.get("/v1/usage"), 401, "unauthenticated")
    for method, path in OWN:
        if "{tenant_id}" in path:
            request = {"json": BODIES[method, path]} if (method, path) in BODIES else {}
            answer = await api.admin.call(method, filled(path, tenant=tenant.id), **request)
            assert answer.status_code == 404, (path, answer.text)
    good(await other.post("/v1/claims", claim), 201)
    await give_back(other)
