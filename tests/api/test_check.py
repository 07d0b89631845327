"""`/v1/check` and `/v1/release`: what gateways ask and are told."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.harness import Api, Caller, bad, new_tenant, within_one_minute
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "check": {
        "headers": {"id": "X-Check-Id", "user": "X-User"},
        "attributes": {"region": "X-Region"},
        "rules": [
            {"path": "/free", "take": {}},
            {"path": "/scarce", "take": {"scarce": 1}},
            {"path": "/jobs", "hold": {"jobs": 1}, "lease_s": 20},
            {"path": "/shared", "hold": {"shared": 1}},
            {"path": "/counted", "take": {"operations": 1}},
            {"path": "/post", "methods": ["post"], "take": {"scarce": 3}},
            {"path": "/by-user", "take": {"by_user": 1}},
            {"path": "/by-region", "take": {"by_region": 1}},
            {"host": "costly.example", "take": {"scarce": 2}},
            {"path": "/impossible", "take": {"scarce": 4}},
        ],
    },
    "limits": [
        {
            "kind": "rate",
            "resource": "scarce",
            "units": 3,
            "period_s": 3600,
            "per": ["tenant"],
        },
        {"kind": "rate", "resource": "by_user", "units": 1, "period_s": 3600, "per": ["user"]},
        {"kind": "rate", "resource": "by_region", "units": 1, "period_s": 99, "per": ["region"]},
        {"kind": "capacity", "resource": "jobs", "units": 2, "per": ["tenant"]},
        {"kind": "capacity", "resource": "shared", "units": 1},
    ],
}


async def check(caller: Caller, path: str = "", **request: Any) -> httpx.Response:
    return await caller.call(request.pop("method", "GET"), f"/v1/check{path}", **request)


def admitted(answer: httpx.Response) -> httpx.Headers:
    assert answer.status_code == 200, answer.text
    assert answer.content == b""
    assert answer.headers["content-length"] == "0"
    return answer.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("path", ["", "/", "/a/b", "/a/../b?x=y", "/docs", "/%C3%A9"])
async def test_whatever_method_and_path_an_admitted_check_is_empty(
    tenant: Caller, method: str, path: str
) -> None:
    headers = admitted(await check(tenant, path, method=method))
    assert headers["x-tidegate-tenant"] == tenant.id
    assert headers["ratelimit"].startswith('"requests";r=')
    assert headers["ratelimit-policy"] == '"requests";q=2000;w=2'
    assert headers["x-request-id"]
    assert "x-tidegate-lease" not in headers


async def test_a_body_is_not_read(tenant: Caller) -> None:
    admitted(await check(tenant, method="POST", content=b"{not json"))


async def test_a_refusal_has_its_status_and_says_when_to_return(tenant: Caller) -> None:
    for left in (2, 1, 0):
        headers = admitted(await check(tenant, "/scarce/thing"))
        assert headers["ratelimit"].startswith(f'"scarce";r={left};t=')
    refused = await check(tenant, "/scarce")
    problem = bad(refused, 429, "rate_limited")
    assert problem["limit"] == "scarce"
    assert refused.headers["x-tidegate-status"] == "429"
    assert refused.headers["x-tidegate-tenant"] == tenant.id
    assert refused.headers["ratelimit"].startswith('"scarce";r=0;t=1')
    admitted(await check(tenant, "/free"))


@pytest.mark.parametrize(
    ("header", "query", "status"),
    [
        (None, "", 429),
        (None, "?carry=403", 403),
        (None, "?a=b&carry=403", 403),
        (None, "?carry=429", 429),
        (None, "?carry=200", 429),
        (None, "?carry=", 429),
        ("403", "", 403),
        ("429", "?carry=403", 429),
        ("500", "?carry=403", 429),
    ],
)
async def test_a_refusal_is_carried_as_the_gateway_says(
    tenant: Caller, header: str | None, query: str, status: int
) -> None:
    headers = {"X-Tidegate-Carry": header} if header else {}
    for _ in range(3):
        admitted(await check(tenant, f"/scarce{query}", headers=headers))
    refused = await check(tenant, f"/scarce{query}", headers=headers)
    assert refused.status_code == status
    assert refused.headers["x-tidegate-status"] == "429"
    assert refused.json()["status"] == 429
    assert int(refused.headers["retry-after"]) >= 1


async def test_all_kinds_of_refusal_are_carried(api: Api, tenant: Caller) -> None:
    """A shared capacity refuses with 503, a suspension with 403, a wrong claim with 422."""
    first = admitted(await check(tenant, "/shared"))["x-tidegate-lease"]
    other = await api.tenant()
    carried = {"": 503, "?carry=403": 403, "?carry=429": 429}
    for query, status in carried.items():
        refused = await check(other, f"/shared{query}")
        assert (refused.status_code, refused.headers["x-tidegate-status"]) == (status, "503")
    assert (await tenant.delete(f"/v1/leases/{first}")).status_code == 204
    bad(await check(other, "/impossible"), 422, "invalid_claim")
    for query, status in {"?carry=403": 403, "?carry=429": 422}.items():
        refused = await check(other, f"/impossible{query}")
        assert refused.status_code == status
    assert refused.json()["code"] == "invalid_claim"
    await api.admin.post(f"/admin/tenants/{other.id}/suspend")
    for query in carried:
        refused = await check(other, query)
        assert (refused.status_code, refused.json()["code"]) == (403, "suspended")


async def test_who_asks_is_found_out_as_everywhere(api: Api, tenant: Caller) -> None:
    named = {"X-Tenant-ID": tenant.id}
    headers = admitted(await check(api.admin, headers=named))
    assert headers["x-tidegate-tenant"] == tenant.id
    bad(await check(api.admin), 400, "tenant_required")
    carried = await check(api.admin, "?carry=403")
    assert (carried.status_code, carried.headers["x-tidegate-status"]) == (403, "400")
    bad(await check(tenant, headers={"X-Tenant-ID": "another"}), 403, "forbidden")
    carried = await check(api.admin, "?carry=403", headers={"X-Tenant-ID": "nobody"})
    assert (carried.status_code, carried.headers["x-tidegate-status"]) == (403, "404")
    for query in ("", "?carry=403", "?carry=429"):
        nobody = Caller(http=api.http, key="tg_nobody")
        bad(await check(nobody, query), 401, "unauthenticated")


async def test_the_gateway_says_what_it_was_asked(tenant: Caller) -> None:
    told = {"X-Forwarded-Method": "POST", "X-Forwarded-Uri": "/post/thing?x=/free"}
    headers = admitted(await check(tenant, "/free", headers=told))
    assert headers["ratelimit"].startswith('"scarce";r=0;')
    costly = {"X-Forwarded-Host": "Costly.example:443", "X-Forwarded-Uri": "/"}
    bad(await check(tenant, "/free", headers=costly), 429, "rate_limited")


async def test_limits_are_divided_by_what_headers_say(tenant: Caller) -> None:
    for path, name in (("/by-user", "X-User"), ("/by-region", "X-Region")):
        for value in ("one", "two"):
            admitted(await check(tenant, path, headers={name: f"{value}{path}"}))
            bad(await check(tenant, path, headers={name: f"{value}{path}"}), 429, "rate_limited")
        admitted(await check(tenant, path))
        bad(await check(tenant, path, headers={name: ""}), 429, "rate_limited")


async def test_a_check_that_is_asked_again_is_charged_once(api: Api, tenant: Caller) -> None:
    again = {"X-Check-Id": "check-1"}
    for _ in range(5):
        headers = admitted(await check(tenant, "/scarce", headers=again))
        assert headers["ratelimit"].startswith('"scarce";r=2;')
    admitted(await check(tenant, "/scarce", headers={"X-Check-Id": "check-2"}))
    other = await api.tenant()
    headers = admitted(await check(other, "/scarce", headers=again))
    assert headers["ratelimit"].startswith('"scarce";r=2;')
    bad(await check(tenant, "/post", method="POST", headers=again), 422, "claim_id_reused")
    bad(await check(tenant, "/free", headers={"X-Check-Id": "x" * 129}), 422, "invalid_request")
    assert api.service.gate.leases_active == 0


async def test_the_same_lease_comes_again_with_the_same_check(tenant: Caller) -> None:
    again = {"X-Check-Id": "job-1"}
    leases = {
        admitted(await check(tenant, "/jobs", headers=again))["x-tidegate-lease"] for _ in range(3)
    }
    assert len(leases) == 1
    assert (await tenant.delete(f"/v1/leases/{leases.pop()}")).status_code == 204


async def test_what_is_held_is_given_back(api: Api, tenant: Caller) -> None:
    leases = [admitted(await check(tenant, "/jobs"))["x-tidegate-lease"] for _ in range(2)]
    refused = bad(await check(tenant, "/jobs"), 429, "quota_exceeded")
    assert refused["limit"] == "jobs"
    assert refused["retry_after_s"] <= 20
    stranger = await api.tenant()
    bad(await stranger.delete(f"/v1/leases/{leases[0]}"), 404, "lease_unknown")
    foreign = {"X-Tidegate-Lease": leases[0]}
    assert (await stranger.post("/v1/release", headers=foreign)).status_code == 204
    bad(await check(tenant, "/jobs"), 429, "quota_exceeded")
    for _ in range(2):
        assert (await tenant.delete(f"/v1/leases/{leases[0]}")).status_code == 204
    told = {"X-Tidegate-Lease": leases[1], "X-Tidegate-Outcome": "502"}
    before = api.service.gate.releases["failed"]
    for _ in range(2):
        released = await tenant.call("PUT", "/v1/release", headers=told)
        assert (released.status_code, released.content) == (204, b"")
    assert api.service.gate.releases["failed"] == before + 1
    again = admitted(await check(tenant, "/jobs"))["x-tidegate-lease"]
    assert (await tenant.get("/v1/release", headers={"X-Tidegate-Lease": again})).is_success


@pytest.mark.parametrize("outcome", ["success", "failed", "timeout", "cancelled", "204", "009"])
async def test_a_release_says_how_it_ended(tenant: Caller, outcome: str) -> None:
    lease = admitted(await check(tenant, "/jobs"))["x-tidegate-lease"]
    headers = {"X-Tidegate-Lease": lease, "X-Tidegate-Outcome": outcome}
    assert (await tenant.post("/v1/release", headers=headers)).status_code == 204


async def test_a_release_of_what_is_gone_is_good_and_one_of_nonsense_is_not(
    tenant: Caller,
) -> None:
    gone = {"X-Tidegate-Lease": "gone"}
    assert (await tenant.post("/v1/release", headers=gone)).status_code == 204
    for wrong in ({}, {"X-Tidegate-Lease": ""}, {**gone, "X-Tidegate-Outcome": "well"}):
        bad(await tenant.post("/v1/release", headers=wrong), 422, "invalid_request")
    bad(await tenant.get("/v1/release/x"), 404, "not_found")
    bad(await tenant.get("/v1/checks"), 404, "not_found")


async def test_no_path_of_a_client_is_a_release(tenant: Caller) -> None:
    """A gateway appends the path that it was asked for, and that may be any."""
    for path in ("/release", "/v1/release", "/%2e%2e/release"):
        headers = admitted(await check(tenant, path))
        assert headers["ratelimit"].startswith('"requests"')


async def test_quotas_that_checks_take_are_in_the_ledger(api: Api, tenant: Caller) -> None:
    await within_one_minute()
    before = (await tenant.remaining())["operations"]
    again = {"X-Check-Id": "counted-1"}
    for _ in range(3):
        admitted(await check(tenant, "/counted", headers=again))
    await asyncio.gather(*(check(tenant, "/counted") for _ in range(20)))
    assert (await tenant.remaining())["operations"] == before - 21
    taken = await api.service._ledger.taken(since_us=0)
    assert taken[tenant.id, "operations"] == 21
    assert (await tenant.usage())["operation_count"] == 0


async def test_without_the_ledger_nothing_is_admitted(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant = await new_tenant(api.admin)

    async def full(*_: object) -> bool:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(api.service.checks._ledger, "record", full)
    for query in ("", "?carry=403", "?carry=429"):
        # No decision but a fault: the gateway's own choice says what becomes of the request.
        refused = await check(tenant, f"/counted{query}")
        assert bad(refused, 503, "store_unavailable")
        assert "x-tidegate-status" not in refused.headers


async def test_a_head_is_no_cheaper(tenant: Caller) -> None:
    told = {"X-Forwarded-Uri": "/post", "X-Forwarded-Method": "HEAD"}
    headers = admitted(await check(tenant, headers=told))
    assert headers["ratelimit"].startswith('"requests"')


async def test_checks_are_counted_by_one_route(api: Api, tenant: Caller) -> None:
    admitted(await check(tenant, "/one/of/many/paths"))
    text = (await api.http.get("/metrics")).text
    assert 'route="/v1/check",method="GET",status="200"' in text
    assert "/one/of/many" not in text
