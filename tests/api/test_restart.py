"""Killed and started again: what was acknowledged is still true."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.harness import bad, good, new_tenant, within_one_minute
from tests.api.process import serving

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": [
        {"kind": "capacity", "resource": "seats", "units": 3, "claimable": True},
        {"kind": "quota", "resource": "tokens", "units": 100, "period": "month",
         "per": ["tenant"], "claimable": True},
        {"kind": "quota", "resource": "pages", "units": 100, "period": "month",
         "per": ["cohort"], "claimable": True},
    ],
}  # fmt: skip
TEXT = {"html": "<p>some text"}


async def test_leases_outlive_the_process(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        tenant, other = await new_tenant(server.admin), await new_tenant(server.admin)
        job = {"hold": {"seats": 2}, "lease_s": 60, "id": "job"}
        long = good(await tenant.post("/v1/claims", job), 201)
        kept = good(await tenant.get("/v1/leases"))["leases"]
        short = {"hold": {"seats": 1}, "lease_s": 0.05}
        good(await tenant.post("/v1/claims", short), 201)
        await server.kill()
        await server.start()
        assert good(await tenant.get("/v1/leases"))["leases"] == kept
        # What expired meanwhile is free, what did not still blocks.
        bad(await other.post("/v1/claims", {"hold": {"seats": 2}}), 503, "exhausted")
        taken = good(await other.post("/v1/claims", {"hold": {"seats": 1}}), 201)
        assert taken["fencing_token"] > long["fencing_token"]
        again = good(await tenant.post("/v1/claims", job))
        assert again["lease_id"] == long["lease_id"]
        path = f"/v1/leases/{long['lease_id']}"
        renewed = good(await tenant.post(f"{path}/renew", {"lease_s": 120}))
        assert renewed["expires_at"] > long["expires_at"]
        await server.kill()
        await server.start()
        leases = good(await tenant.get("/v1/leases"))["leases"]
        assert [each["expires_at"] for each in leases] == [renewed["expires_at"]]
        bad(await other.delete(path), 404, "lease_unknown")
        assert (await tenant.delete(path)).status_code == 204
        assert (await other.delete(f"/v1/leases/{taken['lease_id']}")).status_code == 204
        await server.kill()
        await server.start()
        for caller in (tenant, other):
            assert good(await caller.get("/v1/leases"))["leases"] == []
        assert (await tenant.remaining())["seats"] == 3


async def test_what_was_acknowledged_is_billed(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        tenant = await new_tenant(server.admin)
        delivered: list[httpx.Response] = []
        enough = asyncio.Event()

        async def work() -> None:
            while True:
                delivered.append(await tenant.post("/v1/extract", TEXT))
                if len(delivered) == 40:
                    enough.set()

        workers = [asyncio.create_task(work()) for _ in range(4)]
        async with asyncio.timeout(60):
            await enough.wait()
        await server.kill()
        ends = await asyncio.gather(*workers, return_exceptions=True)
        assert all(isinstance(end, httpx.TransportError) for end in ends), ends
        await server.start()
        used = await tenant.usage()
        for each in delivered:
            good(each)
        # Of each worker's last request the answer may have been lost, its effect not.
        assert len(delivered) <= used["operation_count"] <= len(delivered) + len(workers)
        assert used["data_bytes"] >= sum(len(each.content) for each in delivered)
        assert used["failed_count"] == 0


async def test_quotas_and_kept_answers_outlive_the_process(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        await within_one_minute(15)
        quotas = {"operations_per_minute": 5, "operations_per_month": 7}
        tenant = await new_tenant(server.admin, quotas=quotas)
        key = {"Idempotency-Key": "1"}
        first = await tenant.post("/v1/extract", TEXT, headers=key)
        good(await tenant.post("/v1/extract", TEXT))
        closed_port = {"url": "http://127.0.0.3:9/"}
        bad(await tenant.post("/v1/extract", closed_port), 502, "upstream_failed")
        good(await tenant.post("/v1/claims", {"take": {"tokens": 60, "pages": 60}}), 201)
        other = await new_tenant(server.admin)
        good(await other.post("/v1/claims", {"take": {"pages": 30}}), 201)
        used, left = await tenant.usage(), await tenant.remaining()
        assert (left["operations"], left["operations_month"], left["tokens"]) == (2, 4, 40)
        assert left["pages"] == (await other.remaining())["pages"] == 10
        await server.kill()
        await server.start()
        assert await tenant.usage() == used
        assert {**await tenant.remaining(), "requests": 0} == {**left, "requests": 0}
        again = await tenant.post("/v1/extract", TEXT, headers=key)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
        for _ in range(2):
            good(await tenant.post("/v1/extract", TEXT))
        bad(await tenant.post("/v1/extract", TEXT), 429, "quota_exceeded")
        bad(await tenant.post("/v1/claims", {"take": {"tokens": 41}}), 429, "quota_exceeded")


async def test_an_asked_for_end_loses_nothing_either(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        tenant = await new_tenant(server.admin)
        lease = good(await tenant.post("/v1/claims", {"hold": {"seats": 1}}), 201)["lease_id"]
        good(await tenant.post("/v1/extract", TEXT))
        assert await server.stop() == 0
        await server.start()
        assert (await tenant.usage())["operation_count"] == 1
        assert (await tenant.delete(f"/v1/leases/{lease}")).status_code == 204
