"""What is billed is what was delivered, and a retry is neither done nor billed twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.harness import Api, Caller, bad, good, within_one_minute
from tests.api.site import answer, never
from tests.pdf_samples import says
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"hosts": {"units": 1, "period_s": 600.0, "burst": 50}}
RENDER, EXTRACT, READ = "/v1/render", "/v1/extract", "/v1/pdf"
KEY = {"Idempotency-Key": "retry-1"}


async def bodies(api: Api) -> list[tuple[str, dict[str, Any]]]:
    """Return work of every kind, as keyword arguments of a request."""
    page = api.site.put("/page", answer("<title>T</title><p>text"))
    file = api.site.put("/file.pdf", answer(says(b"text"), "application/pdf"))
    return [
        (RENDER, {"json": {"url": page}}),
        (RENDER, {"json": {"url": page, "format": "text"}}),
        (RENDER, {"json": {"url": f"{page}#/inbox"}}),
        (EXTRACT, {"json": {"url": page}}),
        (EXTRACT, {"json": {"html": "<p>text"}}),
        (READ, {"json": {"url": file}}),
        (READ, {"files": {"file": says(b"upload")}}),
    ]


async def test_usage_is_what_the_client_counted(api: Api, tenant: Caller) -> None:
    delivered: list[httpx.Response] = []
    for path, request in await bodies(api):
        delivered.append(await tenant.call("POST", path, **request))
    works = [tenant.call("POST", path, **request) for path, request in await bodies(api)]
    delivered += await asyncio.gather(*works)
    for each in delivered:
        good(each)
    used = await tenant.usage()
    assert used["operation_count"] == len(delivered)
    assert used["failed_count"] == 0
    assert used["data_bytes"] == sum(len(each.content) for each in delivered)
    assert 0 < used["compute_time_s"] < 60
    assert used["period_start"] < used["period_end"]
    seen_by_admin = good(await api.admin.get(f"/admin/tenants/{tenant.id}/usage"))
    assert seen_by_admin == used


async def test_a_failure_keeps_its_quota_and_is_not_billed(api: Api) -> None:
    await within_one_minute()
    tenant = await api.tenant(quotas={"operations_per_minute": 10, "operations_per_month": 10})
    slow = api.site.put("/never", never)
    bad(await tenant.post(EXTRACT, {"url": "http://127.0.0.3:9/"}), 502, "upstream_failed")
    bad(await tenant.post(RENDER, {"url": "http://127.0.0.1/"}), 403, "egress_refused")
    bad(await tenant.post(EXTRACT, {"url": slow, "timeout_s": 0.1}), 504, "work_timeout")
    bad(await tenant.post(READ, files={"file": b"no pdf"}), 422, "document_unreadable")
    shot = {"url": slow, "format": "screenshot"}
    bad(await tenant.post(RENDER, shot), 503, "browser_unavailable")
    used = await tenant.usage()
    assert (used["operation_count"], used["failed_count"], used["data_bytes"]) == (0, 5, 0)
    assert used["compute_time_s"] == 0
    left = await tenant.remaining()
    assert (left["operations"], left["operations_month"]) == (5, 5)


async def test_a_refusal_costs_nothing(api: Api) -> None:
    await within_one_minute()
    tenant = await api.tenant(quotas={"operations_per_minute": 1})
    good(await tenant.post(EXTRACT, {"html": "<p>"}))
    before = await tenant.usage()
    for _ in range(3):
        bad(await tenant.post(EXTRACT, {"html": "<p>"}), 429, "quota_exceeded")
        bad(await tenant.post(EXTRACT, {"url": "nowhere"}), 422, "invalid_url")
    assert await tenant.usage() == before
    assert (await tenant.remaining())["operations"] == 0


async def test_a_retry_gets_the_same_bytes_and_is_billed_once(api: Api) -> None:
    for path, request in await bodies(api):
        tenant = await api.tenant()
        first = await tenant.call("POST", path, headers=KEY, **request)
        good(first)
        assert "idempotent-replayed" not in first.headers
        used, left = await tenant.usage(), await tenant.remaining()
        api.site.put("/page", answer("<p>changed"))
        for _ in range(3):
            again = await tenant.call("POST", path, headers=KEY, **request)
            good(again)
            assert again.content == first.content
            assert again.headers["idempotent-replayed"] == "true"
            assert again.headers["x-request-id"] != first.headers["x-request-id"]
        assert await tenant.usage() == used
        assert (await tenant.remaining())["operations"] == left["operations"]


async def test_a_key_belongs_to_one_request(api: Api, tenant: Caller) -> None:
    works = await bodies(api)
    path, request = works[0]
    good(await tenant.call("POST", path, headers=KEY, **request))
    for other_path, other in works[1:]:
        answer_ = await tenant.call("POST", other_path, headers=KEY, **other)
        problem = bad(answer_, 422, "idempotency_key_reused")
        assert problem["errors"][0]["field"] == "Idempotency-Key"
    assert (await tenant.usage())["operation_count"] == 1
    # Another tenant's keys are its own, and how long it may take is no part of the request.
    good(await (await api.tenant()).call("POST", works[2][0], headers=KEY, **works[2][1]))
    longer = {"json": {**request["json"], "timeout_s": 3}}
    again = await tenant.call("POST", path, headers=KEY, **longer)
    assert again.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("path", [RENDER, EXTRACT])
async def test_duplicates_at_once_run_once(api: Api, tenant: Caller, path: str) -> None:
    go_on = asyncio.Event()

    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        writer.write(answer("<p>once"))

    url = api.site.put("/once", page)
    before = api.site.asked["/once"]
    works = [asyncio.create_task(tenant.post(path, {"url": url}, headers=KEY)) for _ in range(8)]
    await api.site.visits("/once", before + 1)
    go_on.set()
    answers = await asyncio.gather(*works)
    assert {each.content for each in answers} == {answers[0].content}
    assert [good(each) and "idempotent-replayed" in each.headers for each in answers].count(
        False
    ) == 1
    assert api.site.asked["/once"] == before + 1
    assert (await tenant.usage())["operation_count"] == 1


async def test_a_failure_is_not_kept(api: Api, tenant: Caller) -> None:
    url = api.site.put("/flaky", b"nonsense")
    bad(await tenant.post(EXTRACT, {"url": url}, headers=KEY), 502, "upstream_failed")
    api.site.put("/flaky", answer("<p>well"))
    page = good(await tenant.post(EXTRACT, {"url": url}, headers=KEY))
    assert page["text"].strip() == "well"
    used = await tenant.usage()
    assert (used["operation_count"], used["failed_count"]) == (1, 1)


async def test_an_answer_that_cannot_be_billed_is_not_given(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usage row commits before the first byte leaves."""

    async def full(*_: Any) -> bool:
        raise StoreUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(api.service.governed._workload._ledger, "record", full)
        bad(await tenant.post(EXTRACT, {"html": "<p>"}, headers=KEY), 503, "store_unavailable")
    assert (await tenant.usage())["operation_count"] == 0
    again = await tenant.post(EXTRACT, {"html": "<p>"}, headers=KEY)
    assert "idempotent-replayed" not in again.headers
    assert (await tenant.usage())["operation_count"] == 1


async def test_a_deleted_tenants_answers_are_gone(api: Api, tenant: Caller) -> None:
    good(await tenant.post(EXTRACT, {"html": "<p>"}, headers=KEY))
    await api.admin.delete(f"/admin/tenants/{tenant.id}")
    ledger = api.service.governed._workload._ledger
    assert await ledger.answer(tenant.id, KEY["Idempotency-Key"], now_us=0) is None
