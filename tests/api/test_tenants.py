"""Tenants from their first day to their last, as the operator keeps them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, fields, good
from tests.api.routes import LIMITS
from tidegate.domain.plan import DEFAULT_PLANS

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": LIMITS,
    "plans": {"basic": {"quotas": {"sessions": 7}}},
}
TENANTS = "/admin/tenants"


def of(tenant: Caller, more: str = "") -> str:
    return f"{TENANTS}/{tenant.id}{more}"


async def test_what_is_created_is_listed_and_shown(api: Api) -> None:
    owner = {"id": "o-1", "name": "Wile E.", "email": "wile@acme.example"}
    body = {"name": "Acme 'GmbH' \N{SNOWMAN}", "plan": "basic", "owner": owner, "id": "acme-1"}
    created = good(await api.admin.post(TENANTS, body), 201)
    key = created.pop("api_key")
    assert {name: created[name] for name in body} == body
    assert (created["status"], created["generation"]) == ("active", 1)
    assert created["isolation_level"] == "strong"
    assert created["created_at"].endswith("Z")
    assert good(await api.admin.get(f"{TENANTS}/acme-1")) == created
    everyone = good(await api.admin.get(TENANTS))["tenants"]
    assert created in everyone
    assert [each["id"] for each in everyone] == sorted(each["id"] for each in everyone)
    assert key not in (await api.admin.get(TENANTS)).text
    good(await api.http.get("/v1/usage", headers={"Authorization": f"Bearer {key}"}))
    assert good(await api.admin.get(f"{TENANTS}/acme-1/usage"))["operation_count"] == 0


@pytest.mark.parametrize(
    ("name", "tenant_id"),
    [
        ("Caf\xe9 & Bar", "caf-bar"),
        ("../../etc/passwd", "etc-passwd"),
        ("x" * 200, "x" * 63),
        ("UPPER", "upper"),
        ("1st", "1st"),
    ],
)
async def test_an_id_is_made_from_the_name(api: Api, name: str, tenant_id: str) -> None:
    first = good(await api.admin.post(TENANTS, {"name": name}), 201)
    second = good(await api.admin.post(TENANTS, {"name": name}), 201)
    assert first["id"] == tenant_id
    assert second["id"].startswith(f"{tenant_id[:50]}-")
    assert len(second["id"]) <= 63


async def test_a_name_without_letters_gets_some_id(api: Api) -> None:
    created = good(await api.admin.post(TENANTS, {"name": "\N{SNOWMAN}"}), 201)
    assert created["id"].startswith("t")


@pytest.mark.parametrize(
    ("plan", "quotas", "shown"),
    [
        ("free", {}, {"sessions": 100, "operations_per_month": 10_000}),
        ("basic", {}, {"sessions": 7, "operations_per_month": 0}),
        ("pro", {}, {"requests_per_second": 200}),
        ("professional", {"sessions": 1}, {"requests_per_second": 200, "sessions": 1}),
        ("enterprise", {"operations_per_minute": 3}, {"operations_per_minute": 3}),
    ],
)
async def test_quotas_are_those_of_the_plan_and_ones_own(
    api: Api, plan: str, quotas: dict[str, int], shown: dict[str, int]
) -> None:
    tenant = await api.tenant(plan=plan, quotas=quotas)
    kept = good(await api.admin.get(of(tenant)))
    name = "professional" if plan == "pro" else plan
    defaults = DEFAULT_PLANS[name].quotas
    assert kept["plan"] == name
    assert set(kept["quotas"]) == set(defaults.__dataclass_fields__)
    assert {field: kept["quotas"][field] for field in shown} == shown


async def test_a_change_keeps_what_it_does_not_name(api: Api, tenant: Caller) -> None:
    before = good(await api.admin.get(of(tenant)))
    changed = good(await api.admin.put(of(tenant), {"name": "New"}))
    assert changed["generation"] == 2
    assert changed["updated_at"] > before["updated_at"]
    same = {"name": "New", "generation": 2, "updated_at": changed["updated_at"]}
    assert changed == {**before, **same}
    nothing = good(await api.admin.put(of(tenant), {}))
    assert nothing["generation"] == 3
    good(await tenant.get("/v1/usage"))


async def test_ones_own_quotas_are_replaced_as_a_whole(api: Api) -> None:
    tenant = await api.tenant(plan="free", quotas={"sessions": 5, "operations_per_minute": 6})
    changed = good(await api.admin.put(of(tenant), {"quotas": {"sessions": 9}}))
    assert changed["quotas"]["sessions"] == 9
    assert changed["quotas"]["operations_per_minute"] == 1000
    moved = good(await api.admin.put(of(tenant), {"plan": "pro"}))
    assert (moved["quotas"]["sessions"], moved["quotas"]["requests_burst"]) == (9, 400)
    cleared = good(await api.admin.put(of(tenant), {"quotas": {}}))
    assert cleared["quotas"]["sessions"] == 5000


async def test_of_two_who_read_the_same_tenant_one_is_told(api: Api, tenant: Caller) -> None:
    answers = await asyncio.gather(
        *(api.admin.put(of(tenant), {"name": name, "generation": 1}) for name in "ab")
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    lost = next(answer for answer in answers if answer.status_code == 409)
    bad(lost, 409, "generation_conflict")
    bad(await api.admin.put(of(tenant), {"generation": 7}), 409, "generation_conflict")
    good(await api.admin.put(of(tenant), {"name": "c", "generation": 2}))


async def test_an_id_is_given_out_once(api: Api) -> None:
    body = {"name": "Once", "id": "once"}
    answers = await asyncio.gather(*(api.admin.post(TENANTS, body) for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]
    for answer in answers:
        if answer.status_code == 409:
            bad(answer, 409, "tenant_exists")
    assert (await api.admin.delete(f"{TENANTS}/once")).status_code == 204
    bad(await api.admin.post(TENANTS, body), 409, "tenant_exists")
    bad(await api.admin.delete(f"{TENANTS}/once"), 404, "tenant_unknown")
    heir = good(await api.admin.post(TENANTS, {"name": "Once"}), 201)
    assert heir["id"].startswith("once-")


async def test_suspending_tells_why_and_resuming_forgets_it(api: Api, tenant: Caller) -> None:
    suspended = good(await api.admin.post(of(tenant, "/suspend"), {"reason": "unpaid"}))
    assert (suspended["status"], suspended["suspended_reason"]) == ("suspended", "unpaid")
    again = good(await api.admin.post(of(tenant, "/suspend")))
    assert (again["status"], again["suspended_reason"]) == ("suspended", "")
    bad(await tenant.get("/v1/limits"), 403, "suspended")
    resumed = good(await api.admin.post(of(tenant, "/resume")))
    assert (resumed["status"], resumed["suspended_reason"]) == ("active", "")
    good(await tenant.get("/v1/limits"))


@pytest.mark.parametrize("tenant_id", ["nobody", "..", "a%2Fb", "UPPER", "x" * 5_000, "%00"])
async def test_who_does_not_exist_is_not_found(api: Api, tenant_id: str) -> None:
    for method, more, body in (
        ("GET", "", None),
        ("PUT", "", {"name": "x"}),
        ("DELETE", "", None),
        ("GET", "/usage", None),
        ("POST", "/suspend", {"reason": ""}),
        ("POST", "/resume", None),
        ("GET", "/keys", None),
        ("POST", "/keys", None),
        ("DELETE", "/keys/x", None),
    ):
        request = {} if body is None else {"json": body}
        answer = await api.admin.call(method, f"{TENANTS}/{tenant_id}{more}", **request)
        assert answer.status_code == 404 or tenant_id == "..", answer.text
        bad(answer, answer.status_code, answer.json()["code"])


async def test_who_did_what_is_told_without_secrets(api: Api) -> None:
    tenant = await api.tenant(plan="free")
    good(await api.admin.put(of(tenant), {"plan": "pro", "quotas": {"sessions": 3}}))
    good(await api.admin.post(of(tenant, "/suspend"), {"reason": "unpaid"}))
    good(await api.admin.post(of(tenant, "/resume")))
    issued = good(await api.admin.post(of(tenant, "/keys")), 201)
    await api.admin.delete(of(tenant, f"/keys/{issued['id']}"))
    await api.admin.delete(of(tenant))
    answer = await api.admin.get(f"/admin/audit?tenant={tenant.id}")
    entries = good(answer)["entries"]
    assert [entry["action"] for entry in reversed(entries)] == [
        "tenant.create",
        "key.issue",
        "tenant.update",
        "tenant.suspend",
        "tenant.resume",
        "key.issue",
        "key.revoke",
        "tenant.delete",
    ]
    assert {entry["actor"] for entry in entries} == {"admin"}
    assert tenant.key not in answer.text
    assert issued["api_key"] not in answer.text
    newest = good(await api.admin.get("/admin/audit?limit=1"))["entries"]
    assert newest == entries[:1]
    assert good(await api.admin.get("/admin/audit?tenant=nobody"))["entries"] == []


async def test_a_change_that_the_plan_cannot_bear_is_refused(api: Api) -> None:
    burst = 10**12
    tenant = await api.tenant(plan="enterprise", quotas={"requests_burst": burst})
    problem = bad(await api.admin.put(of(tenant), {"plan": "free"}), 422, "invalid_limit")
    assert fields(problem) == {"quotas.requests_burst"}
    assert good(await api.admin.get(of(tenant)))["plan"] == "enterprise"
    assert (await tenant.remaining())["requests"] == burst - 1
