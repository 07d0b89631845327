"""Rates and quotas over HTTP: who is refused, what the refusal tells, and that it costs nothing."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.harness import GIB, Api, Caller, bad, good, opened, settings_of, within_one_minute
from tests.api.site import Site, answer
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "hosts": {"units": 3, "period_s": 600.0, "burst": 3},
    "limits": [
        {"kind": "rate", "resource": "mails", "units": 1, "period_s": 600.0, "burst": 5,
         "per": ["tenant"], "claimable": True},
        {"kind": "quota", "resource": "tokens", "units": 100, "period": "day",
         "per": ["tenant"], "claimable": True},
        {"kind": "rate", "resource": "clicks", "units": 1, "period_s": 600.0, "burst": 2,
         "per": ["tenant", "user"], "claimable": True},
    ],
}  # fmt: skip

TEXT = {"html": "<p>text"}
STATE = re.compile(r'"(?P<name>[a-z_]+)";r=(?P<left>\d+)(;t=(?P<wait>\d+))?')
POLICY = re.compile(r'"(?P<name>[a-z_]+)";q=(?P<units>\d+)(;w=(?P<window>\d+))?')


def refused(response: httpx.Response, code: str, limit: str) -> dict[str, Any]:
    """Check a 429 and its fields, and return its body."""
    problem = bad(response, 429, code)
    assert problem["limit"] == limit
    state = STATE.fullmatch(response.headers["ratelimit"])
    policy = POLICY.fullmatch(response.headers["ratelimit-policy"])
    assert state
    assert policy
    assert state["name"] == policy["name"] == limit
    assert int(state["left"]) == problem["remaining"] < int(policy["units"])
    wait_s = problem["retry_after_s"]
    assert wait_s > 0
    assert wait_s <= int(state["wait"]) <= wait_s + 1
    retry_s = int(response.headers["retry-after"])
    assert max(1, int(wait_s)) <= retry_s <= wait_s * 1.1 + 1
    return problem


async def test_requests_beyond_the_burst_are_told_when_to_return(api: Api) -> None:
    tenant = await api.tenant(quotas={"requests_per_second": 1, "requests_burst": 3})
    for _ in range(3):
        good(await tenant.get("/v1/usage"))
    # Every route counts, and each of them refuses in the same way.
    for work in (
        tenant.get("/v1/usage"),
        tenant.get("/v1/leases"),
        tenant.post("/v1/extract", TEXT),
        tenant.post("/v1/claims", {"take": {"mails": 1}}),
        tenant.post("/v1/claims/explain", {"take": {"mails": 1}}),
        tenant.get("/v1/resources"),
    ):
        problem = refused(await work, "rate_limited", "requests")
        assert problem["scope"] == [tenant.id]
        assert problem["retry_after_s"] <= 1
    # Giving back is never refused.
    bad(await tenant.delete("/v1/leases/none"), 404, "lease_unknown")
    other = await api.tenant()
    good(await other.get("/v1/usage"))


async def test_the_wait_that_is_told_is_enough(api: Api) -> None:
    tenant = await api.tenant(quotas={"requests_per_second": 20, "requests_burst": 1})
    good(await tenant.get("/v1/usage"))
    wait_s = refused(await tenant.get("/v1/usage"), "rate_limited", "requests")["retry_after_s"]
    await asyncio.sleep(wait_s)
    good(await tenant.get("/v1/usage"))


async def test_requests_at_once_are_not_counted_twice_nor_forgotten(api: Api) -> None:
    tenant = await api.tenant(quotas={"requests_per_second": 1, "requests_burst": 10})
    answers = await asyncio.gather(*(tenant.get("/v1/leases") for _ in range(40)))
    assert [each.status_code for each in answers].count(200) == 10


@pytest.mark.parametrize("path", ["/v1/render", "/v1/extract", "/v1/pdf"])
async def test_one_host_is_visited_so_often_by_one_tenant(
    api: Api, tenant: Caller, path: str
) -> None:
    site, other = api.site, await api.tenant()
    url = site.put("/page", answer("<p>text"))
    before = site.asked["/page"]
    for spelling in (url, url + "?x", url.replace("127.0.0.2", "127.0.2")):
        assert (await tenant.post(path, {"url": spelling})).status_code in (200, 502)
    problem = refused(await tenant.post(path, {"url": url}), "rate_limited", "host_requests")
    assert problem["scope"] == [tenant.id, "127.0.0.2"]
    assert site.asked["/page"] == before + 3
    # Another host and another tenant have limits of their own.
    bad(await tenant.post(path, {"url": "http://127.0.0.3:9/"}), 502, "upstream_failed")
    assert (await other.post(path, {"url": url})).status_code in (200, 502)


async def test_a_refusal_is_charged_nothing_at_any_limit(api: Api) -> None:
    await within_one_minute()
    quotas = {"operations_per_minute": 10, "operations_per_month": 20, "requests_burst": 1000}
    tenant = await api.tenant(quotas=quotas)
    url = api.site.put("/page", answer("<p>text"))
    for _ in range(3):
        good(await tenant.post("/v1/extract", {"url": url}))
    for _ in range(5):
        refused(await tenant.post("/v1/extract", {"url": url}), "rate_limited", "host_requests")
    left = await tenant.remaining()
    assert (left["operations"], left["operations_month"]) == (7, 17)
    assert left["browsers"] == 3
    assert (await tenant.usage())["operation_count"] == 3


async def test_operations_are_counted_by_the_minute_and_month(api: Api) -> None:
    await within_one_minute()
    quotas = {"operations_per_minute": 3, "operations_per_month": 5}
    tenant = await api.tenant(quotas=quotas)
    answers = await asyncio.gather(*(tenant.post("/v1/extract", TEXT) for _ in range(6)))
    assert sorted(each.status_code for each in answers) == [200] * 3 + [429] * 3
    for each in answers:
        if each.status_code == 429:
            problem = refused(each, "quota_exceeded", "operations")
            assert problem["retry_after_s"] <= 60
    quotas["operations_per_minute"] = 100
    good(await api.admin.put(f"/admin/tenants/{tenant.id}", {"quotas": quotas}))
    good(await tenant.post("/v1/extract", TEXT))
    good(await tenant.post("/v1/extract", TEXT))
    problem = refused(await tenant.post("/v1/extract", TEXT), "quota_exceeded", "operations_month")
    assert 0 < problem["retry_after_s"] <= 31 * 86_400


async def test_claims_take_rates_and_quotas(api: Api, tenant: Caller) -> None:
    claim = good(await tenant.post("/v1/claims", {"take": {"mails": 3, "tokens": 60}}), 201)
    left = {state["name"]: state["remaining"] for state in claim["limits"]}
    assert left == {"mails": 2, "tokens": 40}
    too_many = {"take": {"mails": 1, "tokens": 41}}
    problem = refused(await tenant.post("/v1/claims", too_many), "quota_exceeded", "tokens")
    assert problem["remaining"] == 40
    left = await tenant.remaining()
    assert (left["mails"], left["tokens"]) == (2, 40)
    # There is nothing to give back, and nobody has to know that.
    assert (await tenant.delete(f"/v1/leases/{claim['lease_id']}")).status_code == 204
    assert (await tenant.remaining())["mails"] == 2


async def test_a_limit_per_user_wants_to_know_the_user(api: Api, tenant: Caller) -> None:
    click = {"take": {"clicks": 2}}
    problem = bad(await tenant.post("/v1/claims", click), 422, "invalid_claim")
    assert problem["errors"][0]["field"] == "user"
    good(await tenant.post("/v1/claims", {**click, "user": "ann"}), 201)
    refused(await tenant.post("/v1/claims", {**click, "user": "ann"}), "rate_limited", "clicks")
    good(await tenant.post("/v1/claims", {**click, "user": "bob"}), 201)
    assert "clicks" not in await tenant.remaining()


async def test_explaining_charges_nothing_for_the_claim(api: Api, tenant: Caller) -> None:
    claim = {"take": {"mails": 4, "tokens": 90}}
    for _ in range(5):
        told = good(await tenant.post("/v1/claims/explain", claim))
        assert (told["granted"], told["reason"], told["limit"]) == (True, None, None)
        assert {state["name"]: state["remaining"] for state in told["limits"]} == {
            "mails": 5,
            "tokens": 100,
        }
    good(await tenant.post("/v1/claims", claim), 201)
    told = good(await tenant.post("/v1/claims/explain", {"take": {"mails": 2}}))
    assert (told["granted"], told["reason"], told["limit"]) == (False, "rate_limited", "mails")
    assert told["scope"] == [tenant.id]
    assert 0 < told["retry_after_s"] <= 600
    told = good(await tenant.post("/v1/claims/explain", {"take": {"tokens": 11}}))
    assert (told["granted"], told["reason"]) == (False, "quota_exceeded")


async def test_memory_that_is_promised_counts_once_whatever_limits_it(
    tmp_path: Path, site: Site
) -> None:
    own = [
        {"kind": "capacity", "resource": "memory", "units": 50 * GIB, "name": "memory_of_host",
         "per": ["host"]},
        {"kind": "capacity", "resource": "memory", "units": 60 * GIB, "name": "memory_of_all"},
    ]  # fmt: skip
    async with opened(settings_of({"limits": own}), tmp_path, site) as api:
        tenant = await api.tenant()
        claim = Claim(tenant=tenant.id, host="a.example", hold={"memory": 40 * GIB})
        granted = api.service.gate.try_admit(claim)
        assert isinstance(granted, Granted)
        used = api.service.status.resources()
        assert (used.memory_used_bytes, used.memory_pressure) == (40 * GIB, False)
        granted.lease.release()
        assert api.service.status.resources().memory_used_bytes < 40 * GIB


async def test_the_smallest_plan_may_be_without_a_monthly_ceiling(
    tmp_path: Path, site: Site
) -> None:
    plans = {"free": {"quotas": {"operations_per_month": 0}}}
    async with opened(settings_of({"plans": plans}), tmp_path, site) as api:
        free = await api.tenant(plan="free")
        capped = await api.tenant(plan="free", quotas={"operations_per_month": 1})
        for _ in range(2):
            good(await free.post("/v1/extract", TEXT))
        assert "operations_month" not in await free.remaining()
        good(await capped.post("/v1/extract", TEXT))
        refused(await capped.post("/v1/extract", TEXT), "quota_exceeded", "operations_month")
