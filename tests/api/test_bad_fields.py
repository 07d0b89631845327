"""Fields that are readable but wrong: every one is named, whatever the route."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.harness import Api, Caller, bad, fields, good
from tests.api.routes import LIMITS, caller_of, filled

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {"limits": LIMITS}

RENDER, EXTRACT, PDF = "/v1/render", "/v1/extract", "/v1/pdf"
CLAIMS, EXPLAIN = "/v1/claims", "/v1/claims/explain"
TENANTS = "/admin/tenants"
HEIGHT, RATE, MINUTE = "viewport.height", "requests_per_second", "operations_per_minute"
URL = "http://127.0.0.2:9/"
WORKLOADS = {RENDER: 3, EXTRACT: 10, PDF: 10}
"""Each with its cap in seconds."""

Case = tuple[str, dict[str, Any], set[str]]

CASES: list[Case] = [
    (RENDER, {}, {"url"}),
    (RENDER, {"url": 5}, {"url"}),
    (RENDER, {"url": None}, {"url"}),
    (RENDER, {"url": ["http://example.com/"]}, {"url"}),
    (RENDER, {"url": URL, "format": "HTML"}, {"format"}),
    (RENDER, {"url": URL, "format": "jpeg"}, {"format"}),
    (RENDER, {"url": URL, "wait_until": True}, {"wait_until"}),
    (RENDER, {"url": URL, "viewport": {"width": 15}}, {"viewport.width"}),
    (RENDER, {"url": URL, "viewport": {"width": 4097, "height": 0}}, {"viewport.width", HEIGHT}),
    (RENDER, {"url": URL, "viewport": {"width": "800"}}, {"viewport.width"}),
    (RENDER, {"url": URL, "viewport": {"width": 800.5}}, {"viewport.width"}),
    (RENDER, {"url": URL, "viewport": {"width": True}}, {"viewport.width"}),
    (RENDER, {"url": URL, "viewport": {"depth": 1}}, {"viewport.depth"}),
    (RENDER, {"url": URL, "viewport": 800}, {"viewport"}),
    (
        RENDER,
        {"url": 1, "format": 2, "wait_until": 3, "timeout_s": "4", "viewport": 5, "more": 6},
        {"url", "format", "wait_until", "timeout_s", "viewport", "more"},
    ),
    (EXTRACT, {}, {"url"}),
    (EXTRACT, {"url": URL, "html": "<p>"}, {"url"}),
    (EXTRACT, {"html": 1, "url": 2, "timeout_s": -1, "m": 3}, {"html", "url", "timeout_s", "m"}),
    (PDF, {}, {"url"}),
    (PDF, {"url": 1, "timeout_s": True, "pages": 2}, {"url", "timeout_s", "pages"}),
    (CLAIMS, {}, {"take"}),
    (CLAIMS, {"hold": {}}, {"take"}),
    (CLAIMS, {"hold": {"seats": 0}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": -1}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": 2**53 + 1}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": 5}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": "1"}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": 1.0}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"seats": True}}, {"hold.seats"}),
    (CLAIMS, {"hold": {"browsers": 1}}, {"hold.browsers"}),
    (CLAIMS, {"hold": {"memory": 1}}, {"hold.memory"}),
    (CLAIMS, {"hold": {"nothing": 1}}, {"hold.nothing"}),
    (CLAIMS, {"take": {"seats": 1}}, {"take.seats"}),
    (CLAIMS, {"take": {"requests": 1}}, {"take.requests"}),
    (CLAIMS, {"take": {"operations": 1}}, {"take.operations"}),
    (CLAIMS, {"hold": {str(n): 1 for n in range(33)}}, {"hold"}),
    (CLAIMS, {"hold": {"seats": 1}, "lease_s": 0}, {"lease_s"}),
    (CLAIMS, {"hold": {"seats": 1}, "lease_s": 86_401}, {"lease_s"}),
    (CLAIMS, {"hold": {"seats": 1}, "timeout_s": -0.1}, {"timeout_s"}),
    (CLAIMS, {"hold": {"seats": 1}, "timeout_s": 61}, {"timeout_s"}),
    (CLAIMS, {"hold": {"seats": 1}, "priority": 1001}, {"priority"}),
    (CLAIMS, {"hold": {"seats": 1}, "id": ""}, {"id"}),
    (CLAIMS, {"hold": {"seats": 1}, "id": "x" * 201}, {"id"}),
    (
        CLAIMS,
        {"take": 1, "hold": [], "host": 2, "user": "", "attributes": {"a": 1}, "priority": "5"},
        {"take", "hold", "host", "user", "attributes.a", "priority"},
    ),
    (EXPLAIN, {}, {"take"}),
    (EXPLAIN, {"hold": {"nothing": 1}}, {"hold.nothing"}),
    ("/v1/leases/{lease_id}/renew", {"lease_s": 0}, {"lease_s"}),
    ("/v1/leases/{lease_id}/renew", {"lease_s": "60"}, {"lease_s"}),
    ("/v1/leases/{lease_id}/renew", {"lease_s": 1e9, "id": 1}, {"lease_s", "id"}),
    (TENANTS, {}, {"name"}),
    (TENANTS, {"name": ""}, {"name"}),
    (TENANTS, {"name": " \t"}, {"name"}),
    (TENANTS, {"name": "x" * 201}, {"name"}),
    (TENANTS, {"name": "A", "plan": "gold"}, {"plan"}),
    (TENANTS, {"name": "A", "id": "Upper"}, {"id"}),
    (TENANTS, {"name": "A", "id": "../etc"}, {"id"}),
    (TENANTS, {"name": "A", "id": "-a"}, {"id"}),
    (TENANTS, {"name": "A", "id": "a" * 64}, {"id"}),
    (TENANTS, {"name": "A", "id": "a\n"}, {"id"}),
    (TENANTS, {"name": "A", "id": ""}, {"id"}),
    (TENANTS, {"name": "A", "quotas": {"nothing": 1}}, {"quotas.nothing"}),
    (TENANTS, {"name": "A", "quotas": {"sessions": 0}}, {"quotas.sessions"}),
    (TENANTS, {"name": "A", "quotas": {"sessions": "1"}}, {"quotas.sessions"}),
    (TENANTS, {"name": "A", "quotas": {RATE: 2**53}}, {f"quotas.{RATE}"}),
    (TENANTS, {"name": "A", "quotas": {"requests_burst": 2**53 - 1}}, {"quotas.requests_burst"}),
    (TENANTS, {"name": "A", "quotas": {MINUTE: 2**53}}, {f"quotas.{MINUTE}"}),
    (TENANTS, {"name": "A", "quotas": {"sessions": 2**53}}, {"quotas.sessions"}),
    (
        TENANTS,
        {"name": 1, "plan": 2, "owner": {"id": 3, "email": "x" * 321}, "quotas": {"sessions": -1}},
        {"name", "plan", "owner.id", "owner.email", "quotas.sessions"},
    ),
    ("/admin/tenants/{tenant_id}/suspend", {"reason": 1}, {"reason"}),
    ("/admin/tenants/{tenant_id}/suspend", {"reason": "x" * 501}, {"reason"}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body", "named"), CASES)
async def test_every_wrong_field_is_named(
    api: Api, tenant: Caller, path: str, body: dict[str, Any], named: set[str]
) -> None:
    before = await tenant.remaining()
    caller = caller_of(path, api.admin, tenant)
    answer = await caller.post(filled(path, tenant=tenant.id), body)
    assert answer.status_code == 422, answer.text
    problem = bad(answer, 422, answer.json()["code"])
    assert fields(problem) == named
    assert all(entry["message"] for entry in problem["errors"])
    assert {**await tenant.remaining(), "requests": 0} == {**before, "requests": 0}


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": ""}, {"name"}),
        ({"plan": "gold"}, {"plan"}),
        ({"generation": 0}, {"generation"}),
        ({"generation": "1"}, {"generation"}),
        ({"quotas": {"requests_burst": -5}}, {"quotas.requests_burst"}),
        ({"quotas": {"cache_bytes": 0}}, {"quotas.cache_bytes"}),
        ({"quotas": {"bytes": 1}}, {"quotas.bytes"}),
        ({"status": "active", "id": "other"}, {"status", "id"}),
        ({"name": 1, "plan": 2, "owner": 3, "quotas": 4}, {"name", "plan", "owner", "quotas"}),
    ],
)
async def test_a_wrong_change_changes_nothing(
    api: Api, tenant: Caller, body: dict[str, Any], named: set[str]
) -> None:
    path = f"/admin/tenants/{tenant.id}"
    before = good(await api.admin.get(path))
    answer = await api.admin.put(path, body)
    assert fields(bad(answer, 422, answer.json()["code"])) == named
    assert good(await api.admin.get(path)) == before


@pytest.mark.parametrize("path", WORKLOADS)
@pytest.mark.parametrize(
    "text",
    [
        *("0", "-1", "-0.0", "NaN", "Infinity", "-Infinity", "1e999", '"5"', "true", "[]"),
        *("1e-9", "3600.5", "1e300", "1e308", "9" * 40),
    ],
)
async def test_a_time_limit_is_a_number_within_the_cap(
    api: Api, tenant: Caller, path: str, text: str
) -> None:
    content = f'{{"url": "{URL}", "timeout_s": {text}}}'
    answer = await tenant.call(
        "POST", path, content=content, headers={"Content-Type": "application/json"}
    )
    if answer.status_code == 400:
        assert text in {"NaN", "Infinity", "-Infinity"}, "JSON knows no such numbers"
        bad(answer, 400, "unreadable")
    else:
        assert fields(bad(answer, 422, "invalid_request")) == {"timeout_s"}


async def test_a_time_limit_of_an_upload_is_within_the_cap_too(tenant: Caller) -> None:
    answer = await tenant.post(PDF, files={"file": b"%PDF"}, data={"timeout_s": "1e308"})
    problem = bad(answer, 422, "invalid_request")
    assert problem["errors"] == [{"field": "timeout_s", "message": "allowed > 0 and <= 10"}]


@pytest.mark.parametrize(("path", "cap_s"), WORKLOADS.items())
async def test_a_time_limit_above_the_cap_is_told_the_cap(
    api: Api, tenant: Caller, path: str, cap_s: int
) -> None:
    problem = bad(
        await tenant.post(path, {"url": URL, "timeout_s": cap_s + 0.001}), 422, "invalid_request"
    )
    assert problem["errors"] == [{"field": "timeout_s", "message": f"allowed > 0 and <= {cap_s}"}]
    bad(await tenant.post(path, {"url": URL, "timeout_s": cap_s}), 502, "upstream_failed")
