"""Faults of ours, and settings that changed between two starts: nobody else suffers for them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import PATIENCE_S, Api, Caller, bad, good, opened, settings_of
from tests.api.site import Site
from tidegate.errors import StoreUnavailable
from tidegate.facades import service as service_module

pytestmark = pytest.mark.anyio

SEATS = {"kind": "capacity", "resource": "seats", "units": 2, "claimable": True}
ROOMS = {"kind": "capacity", "resource": "rooms", "units": 1, "claimable": True}


async def broken(*_: Any) -> Any:
    raise RuntimeError("a secret of ours")


class Counted:
    """A fault that counts how often it was met."""

    awaited = called = 0

    async def __call__(self) -> None:
        self.awaited += 1
        raise RuntimeError("a fault of ours")

    def now(self) -> None:
        self.called += 1
        raise RuntimeError("a fault of ours")


async def full(*_: Any, **__: Any) -> Any:
    raise StoreUnavailable("no space left")


async def test_a_fault_is_told_without_its_details(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api.service, "usage", broken)
        answer = await tenant.get("/v1/usage")
    problem = bad(answer, 500, "internal_error")
    assert "secret" not in answer.text
    assert answer.headers["x-request-id"] in problem["detail"]
    assert "a secret of ours" in capsys.readouterr().out
    good(await tenant.get("/v1/usage"))


async def test_a_fault_in_the_middle_of_work_gives_everything_back(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api.service.governed._extraction, "of_html", broken)
        bad(await tenant.post("/v1/extract", {"html": "<p>"}), 500, "internal_error")
    used = await tenant.usage()
    assert (used["operation_count"], used["failed_count"]) == (0, 1)
    good(await tenant.post("/v1/extract", {"html": "<p>"}))


async def test_a_store_that_is_full_is_told_and_heals(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(api.service.tenants._store, "put", full)
        bad(await api.admin.post("/admin/tenants", {"name": "A"}), 503, "store_unavailable")
        suspension = await api.admin.post(f"/admin/tenants/{tenant.id}/suspend")
        bad(suspension, 503, "store_unavailable")
    good(await tenant.get("/v1/usage"))


async def test_a_fault_in_the_background_ends_no_background(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_module, "TENANTS_LOOK_S", 0.01)
    async with opened(settings_of({"limits": [SEATS]}), tmp_path, site) as api:
        tenant = await api.tenant()
        with monkeypatch.context() as patch:
            calls = Counted()
            patch.setattr(api.service.tenants, "refresh", calls)
            patch.setattr(api.service.gate, "reclaim", calls.now)
            async with asyncio.timeout(PATIENCE_S):
                while min(calls.awaited, calls.called) < 2:
                    await asyncio.sleep(0.01)
        good(await tenant.post("/v1/claims", {"hold": {"seats": 1}, "lease_s": 0.05}), 201)
        async with asyncio.timeout(PATIENCE_S):
            while good(await tenant.get("/v1/leases"))["leases"]:
                await asyncio.sleep(0.01)


async def test_one_part_that_cannot_be_stopped_leaves_none_running(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = asyncio.all_tasks()
    async with opened(settings_of({}), tmp_path, site) as api:
        stops = api.service._stops
        api.service._stops = [broken, *stops, broken]
        lost = asyncio.create_task(broken())
        await asyncio.wait([lost])
        api.service._loops.append(lost)
    assert api.service._stops == []
    assert asyncio.all_tasks() <= tasks
    await api.service.stop()


async def test_the_lease_of_a_limit_that_is_gone_is_dropped(tmp_path: Path, site: Site) -> None:
    async with opened(settings_of({"limits": [SEATS, ROOMS]}), tmp_path, site) as first:
        tenant = await first.tenant()
        for hold in ({"seats": 1}, {"rooms": 1}):
            good(await tenant.post("/v1/claims", {"hold": hold}), 201)
    async with opened(settings_of({"limits": [SEATS]}), tmp_path, site) as second:
        same = Caller(http=second.http, key=tenant.key, id=tenant.id)
        leases = good(await same.get("/v1/leases"))["leases"]
        assert [lease["hold"] for lease in leases] == [{"seats": 1}]
    async with opened(settings_of({"limits": [SEATS, ROOMS]}), tmp_path, site) as third:
        same = Caller(http=third.http, key=tenant.key, id=tenant.id)
        assert (await same.remaining())["rooms"] == 1


async def test_a_plan_that_was_changed_leaves_its_tenants_at_work(
    tmp_path: Path, site: Site
) -> None:
    """The tenant's own burst was possible at the old rate alone; it gets the plan's quotas."""
    async with opened(settings_of({}), tmp_path, site) as first:
        tenant = await first.tenant(quotas={"requests_burst": 10**12})
        other = await first.tenant()
    slower = {"enterprise": {"quotas": {"requests_per_second": 7, "requests_burst": 9}}}
    async with opened(settings_of({"plans": slower}), tmp_path, site) as second:
        for caller in (tenant, other):
            same = Caller(http=second.http, key=caller.key, id=caller.id)
            assert (await same.remaining())["requests"] == 8
            shown = good(await second.admin.get(f"/admin/tenants/{caller.id}"))
            assert shown["quotas"]["requests_burst"] == 9
        assert len(good(await second.admin.get("/admin/tenants"))["tenants"]) == 2
