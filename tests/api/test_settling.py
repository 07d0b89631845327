"""Estimates settled over HTTP: once, exactly, and so that the next process knows."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, fields, good, new_tenant
from tests.api.process import serving
from tidegate.domain.usage import UsageEntry
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": [
        {"kind": "capacity", "resource": "seats", "units": 3, "claimable": True},
        {"kind": "quota", "resource": "tokens", "units": 1000, "period": "month",
         "per": ["tenant"], "claimable": True},
        {"kind": "rate", "resource": "mails", "units": 1, "period_s": 600.0, "burst": 12,
         "per": ["tenant"], "claimable": True},
    ],
}  # fmt: skip
ESTIMATE = {"take": {"tokens": 400, "mails": 4}}


async def claim(tenant: Caller, **more: Any) -> str:
    granted = good(await tenant.post("/v1/claims", {**ESTIMATE, **more}), 201)
    return f"/v1/leases/{granted['lease_id']}"


async def left(tenant: Caller) -> tuple[int, int]:
    remaining = await tenant.remaining()
    return remaining["tokens"], remaining["mails"]


@pytest.mark.parametrize("more", [{}, {"id": "job"}, {"hold": {"seats": 1}}], ids=str)
async def test_what_was_not_used_comes_back_once(tenant: Caller, more: dict[str, Any]) -> None:
    lease = await claim(tenant, **more)
    assert await left(tenant) == (600, 8)
    settled = await tenant.post(f"{lease}/settle", {"actual": {"tokens": 130, "mails": 0}})
    assert good(settled) == {"settled": True}
    assert await left(tenant) == (870, 12)
    for actual in (0, 400):
        again = await tenant.post(f"{lease}/settle", {"actual": {"tokens": actual}})
        assert good(again) == {"settled": False}
    assert await left(tenant) == (870, 12)
    assert (await tenant.delete(lease)).status_code == 204
    bad(await tenant.post(f"{lease}/settle", {"actual": {"tokens": 1}}), 404, "lease_unknown")


async def test_what_was_more_is_charged_above_the_limit(tenant: Caller) -> None:
    lease = await claim(tenant)
    good(await tenant.post(f"{lease}/settle", {"actual": {"tokens": 5000}}))
    assert await left(tenant) == (0, 8)
    bad(await tenant.post("/v1/claims", {"take": {"tokens": 1}}), 429, "quota_exceeded")


@pytest.mark.parametrize(
    ("body", "named", "code"),
    [
        ({"actual": {"seats": 1}}, "actual.seats", "invalid_claim"),
        ({"actual": {"requests": 0}}, "actual.requests", "invalid_claim"),
        ({"actual": {"tokens": 1, "nothing": 1}}, "actual.nothing", "invalid_claim"),
        ({"actual": {"tokens": -1}}, "actual.tokens", "invalid_request"),
        ({"actual": {"tokens": 1.5}}, "actual.tokens", "invalid_request"),
        ({"actual": {}}, "actual", "invalid_request"),
        ({}, "actual", "invalid_request"),
    ],
)
async def test_what_cannot_be_settled_is_named(
    tenant: Caller, body: dict[str, Any], named: str, code: str
) -> None:
    lease = await claim(tenant, hold={"seats": 1})
    assert fields(bad(await tenant.post(f"{lease}/settle", body), 422, code)) == {named}
    assert await left(tenant) == (600, 8)
    await tenant.delete(lease)


async def test_nobody_settles_for_another_and_nothing_after_the_end(
    api: Api, tenant: Caller
) -> None:
    body = {"actual": {"tokens": 0}}
    for more in ({}, {"hold": {"seats": 1}, "lease_s": 0.2}):
        lease = await claim(tenant, **{"lease_s": 0.2, **more})
        other = await api.tenant()
        bad(await other.post(f"{lease}/settle", body), 404, "lease_unknown")
        bad(await tenant.post("/v1/leases/none/settle", body), 404, "lease_unknown")
        while (await tenant.post(f"{lease}/settle", {"actual": {"none": 1}})).status_code == 422:
            pass
        bad(await tenant.post(f"{lease}/settle", body), 404, "lease_unknown")
    assert (await tenant.remaining())["tokens"] == 200


async def test_settling_costs_no_request_and_is_open_to_the_suspended(
    api: Api,
) -> None:
    tenant = await api.tenant(quotas={"requests_per_second": 1, "requests_burst": 1})
    lease = await claim(tenant)
    good(await api.admin.post(f"/admin/tenants/{tenant.id}/suspend", {"reason": "unpaid"}))
    assert good(await tenant.post(f"{lease}/settle", {"actual": {"tokens": 1}}))["settled"]


async def test_what_cannot_be_written_down_is_not_settled(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = await claim(tenant)
    ledger = api.service.leases._settlements._ledger
    really = ledger.record

    async def record(entry: UsageEntry) -> bool:
        if entry.source == "settle":
            raise StoreUnavailable("no space left")
        return await really(entry)

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "record", record)
        answer = await tenant.post(f"{lease}/settle", {"actual": {"tokens": 500}})
        bad(answer, 503, "store_unavailable")
    assert await left(tenant) == (600, 8)
    assert good(await tenant.post(f"{lease}/settle", {"actual": {"tokens": 500}}))["settled"]
    assert await left(tenant) == (500, 8)
    assert (await ledger.taken(since_us=0))[tenant.id, "tokens"] == 500


async def test_of_settlements_at_once_one_counts(api: Api, tenant: Caller) -> None:
    lease = await claim(tenant)
    bodies = [{"actual": {"tokens": 400 + number}} for number in range(8)]
    answers = await asyncio.gather(*(tenant.post(f"{lease}/settle", body) for body in bodies))
    assert sorted(good(each)["settled"] for each in answers) == [False] * 7 + [True]
    taken = await api.service.leases._settlements._ledger.taken(since_us=0)
    assert taken[tenant.id, "tokens"] == 1000 - (await left(tenant))[0]


async def test_settlements_outlive_the_process(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        tenant = await new_tenant(server.admin)
        before, after = await claim(tenant, id="a"), await claim(tenant, hold={"seats": 1})
        good(await tenant.post(f"{before}/settle", {"actual": {"tokens": 100}}))
        assert (await tenant.remaining())["tokens"] == 500
        await server.kill()
        await server.start()
        assert (await tenant.remaining())["tokens"] == 500
        again = await tenant.post(f"{before}/settle", {"actual": {"tokens": 0}})
        assert good(again) == {"settled": False}
        again = await tenant.post(f"{before}/settle", {"actual": {"tokens": 700}})
        assert good(again) == {"settled": False}
        good(await tenant.post(f"{after}/settle", {"actual": {"tokens": 600}}))
        assert (await tenant.remaining())["tokens"] == 300
        await server.kill()
        await server.start()
        assert (await tenant.remaining())["tokens"] == 300
        for lease in (before, after):
            assert (await tenant.delete(lease)).status_code == 204


async def test_one_tenant_keeps_so_many_estimates_and_pushes_out_only_its_own(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tidegate.facades.settlements.TENANT_KEPT_MAX", 2)
    other = await api.tenant()
    theirs = await claim(other)
    one = {"take": {"tokens": 1}}
    leases = [good(await tenant.post("/v1/claims", one), 201)["lease_id"] for _ in range(3)]
    answers = [
        (await tenant.post(f"/v1/leases/{lease}/settle", {"actual": {"tokens": 0}})).status_code
        for lease in leases
    ]
    assert answers == [404, 200, 200]
    assert good(await other.post(f"{theirs}/settle", {"actual": {"tokens": 0}}))["settled"]
