"""What an operator sees and corrects while the service runs, by routes and by the command."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.api.harness import ADMIN_KEY, Api, Caller, bad, fields, good, new_tenant
from tests.api.process import serving
from tests.integration.serving import environment, tidegate
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.domain.standing import Allowance

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": [
        {"kind": "capacity", "resource": "seats", "units": 2, "claimable": True},
        {"kind": "quota", "resource": "tokens", "units": 100, "period": "day",
         "per": ["tenant"], "claimable": True},
        {"kind": "sliding", "resource": "calls", "units": 5, "period_s": 600.0,
         "per": ["tenant", "region"], "claimable": True},
        {"kind": "quota", "resource": "pages", "units": 10, "period": "day", "per": ["cohort"]},
        {"kind": "rate", "resource": "all_mails", "units": 1, "period_s": 60.0, "burst": 9},
    ],
    "overrides": {"lifted-*": {"tokens": {"units": None}}},
}  # fmt: skip


async def test_a_limit_is_looked_at_and_corrected_where_the_operator_says(
    api: Api, tenant: Caller
) -> None:
    where = {"tenant": tenant.id, "attributes": {"region": "eu"}}
    query = {"tenant": tenant.id, "attribute": "region=eu"}
    shown = good(await api.admin.get("/admin/limits/calls", params=query))
    assert shown == {
        "name": "calls", "scope": [tenant.id, "eu"], "units": 5, "remaining": 5, "reset_s": 0.0,
        "resource": "calls", "kind": "sliding",
    }  # fmt: skip
    drained = good(await api.admin.post("/admin/limits/calls/drain", where))
    assert drained["remaining"] == 0
    call = {"take": {"calls": 1}, "attributes": {"region": "eu"}}
    bad(await tenant.post("/v1/claims", call), 429, "rate_limited")
    good(await tenant.post("/v1/claims", {**call, "attributes": {"region": "us"}}), 201)
    set_ = good(await api.admin.post("/admin/limits/calls/set", {**where, "units": 4}))
    assert set_["remaining"] == 1
    good(await tenant.post("/v1/claims", call), 201)
    reset = good(await api.admin.post("/admin/limits/calls/reset", where))
    assert reset["remaining"] == 5
    entries = good(await api.admin.get("/admin/audit", params={"tenant": tenant.id}))["entries"]
    corrected = [each for each in entries if each["action"].startswith("limit.")]
    assert [each["action"] for each in corrected] == ["limit.reset", "limit.set", "limit.drain"]
    assert json.loads(corrected[1]["detail"]) == {
        "limit": "calls", "scope": [tenant.id, "eu"], "units": 4, "used_before": 5,
    }  # fmt: skip


async def test_a_cohort_is_said_by_any_of_its_tenants(api: Api, tenant: Caller) -> None:
    good(await api.admin.post("/admin/limits/pages/set", {"tenant": tenant.id, "units": 7}))
    for where in ({"tenant": tenant.id, "attribute": "cohort=gold"}, {}):
        shown = good(await api.admin.get("/admin/limits/pages", params=where))
        assert (shown["scope"], shown["remaining"]) == (["default"], 3)
    nobody = await api.admin.get("/admin/limits/pages", params={"tenant": "nobody"})
    bad(nobody, 404, "tenant_unknown")


async def test_a_limit_of_all_needs_no_tenant_and_serves_who_waits(api: Api) -> None:
    for action, left in (("drain", 0), ("reset", 9)):
        answer = await api.admin.post(f"/admin/limits/all_mails/{action}", {})
        assert good(answer)["remaining"] == left
    assert good(await api.admin.get("/admin/limits/seats"))["remaining"] == 2


async def test_a_lifted_limit_is_shown_as_such(api: Api) -> None:
    tenant = await api.tenant(id="lifted-one")
    query = {"tenant": tenant.id}
    shown = good(await api.admin.get("/admin/limits/tokens", params=query))
    assert (shown["units"], shown["remaining"], shown["scope"]) == (None, None, ["lifted-one"])
    problem = bad(await api.admin.post("/admin/limits/tokens/drain", query), 422, "invalid_claim")
    assert fields(problem) == {"limit"}


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "named"),
    [
        ("none/reset", {}, 404, "not_found", set()),
        ("tokens/reset", {"tenant": "nobody"}, 404, "tenant_unknown", set()),
        ("tokens/reset", {}, 422, "invalid_claim", {"tenant"}),
        ("calls/reset", {"tenant": "nobody"}, 422, "invalid_claim", {"attributes.region"}),
        ("seats/drain", {}, 422, "invalid_claim", {"limit"}),
        ("seats/reset", {}, 422, "invalid_claim", {"limit"}),
        ("all_mails/set", {}, 422, "invalid_request", {"units"}),
        ("all_mails/set", {"units": -1}, 422, "invalid_request", {"units"}),
        ("all_mails/set", {"units": 1, "tenants": "x"}, 422, "invalid_request", {"tenants"}),
    ],
)
async def test_what_cannot_be_corrected_is_named(
    api: Api, path: str, body: dict[str, Any], status: int, code: str, named: set[str]
) -> None:
    before = good(await api.admin.get("/admin/audit"))
    problem = bad(await api.admin.post(f"/admin/limits/{path}", body), status, code)
    assert {entry["field"] for entry in problem.get("errors", ())} == named
    assert good(await api.admin.get("/admin/audit")) == before


async def test_an_attribute_of_the_query_is_a_pair(api: Api) -> None:
    answer = await api.admin.get("/admin/limits/calls", params={"attribute": "region"})
    assert fields(bad(answer, 422, "invalid_request")) == {"attribute"}


async def test_leases_of_every_kind_are_listed_and_given_back(api: Api, tenant: Caller) -> None:
    body = {"hold": {"seats": 1}, "take": {"tokens": 1}}
    claimed = good(await tenant.post("/v1/claims", body), 201)
    inside = api.service.gate.try_admit(Claim(tenant=tenant.id, hold={"seats": 1}), holder="inside")
    assert isinstance(inside, Granted)
    listed = good(await api.admin.get("/admin/leases", params={"tenant": tenant.id}))["leases"]
    assert [(each["lease_id"], each["holder"], each["tenant"]) for each in listed] == [
        (claimed["lease_id"], "http", tenant.id),
        (inside.id, "inside", tenant.id),
    ]
    assert listed[0]["take"]["tokens"] == 1
    one = await api.admin.get("/admin/leases", params={"holder": "inside", "limit": 1})
    assert [each["lease_id"] for each in good(one)["leases"]] == [inside.id]
    assert good(await api.admin.get("/admin/leases", params={"tenant": "x"})) == {"leases": []}
    for lease_id in (claimed["lease_id"], inside.id):
        path = f"/admin/leases/{lease_id}"
        assert (await api.admin.delete(path)).status_code == 204
        bad(await api.admin.delete(path), 404, "lease_unknown")
    assert (await tenant.remaining())["seats"] == 2
    assert good(await tenant.get("/v1/leases")) == {"leases": []}
    assert claimed["lease_id"] not in {r.id for r in await api.service.leases._book.load()}
    entries = good(await api.admin.get("/admin/audit", params={"tenant": tenant.id}))["entries"]
    assert [each["action"] for each in entries[:2]] == ["lease.release"] * 2


async def test_plans_bring_weights_and_settings_bring_overrides(api: Api) -> None:
    tenant = await api.tenant(plan="professional")
    policy = api.service.gate.policy
    assert policy.weights[tenant.id] == 8
    quotas = api.service.tenants.quotas(await api.service.tenants.get(tenant.id))
    again = api.service._standing.policy({tenant.id: Allowance(quotas=quotas, weight=8)})
    assert again.weights == {tenant.id: 8}


async def test_the_command_looks_and_corrects(tmp_path: Path) -> None:
    async with serving(tmp_path, SETTINGS) as server:
        tenant = await new_tenant(server.admin, id="acme")
        good(await tenant.post("/v1/claims", {"take": {"tokens": 40}}), 201)
        home = tmp_path / "shell"
        home.mkdir()
        env = environment(home, TIDEGATE_ADMIN_KEY=ADMIN_KEY)

        async def limits(*arguments: str, key: str = ADMIN_KEY) -> tuple[int, str, str]:
            command = ("limits", *arguments, "--address", server.address)
            env["TIDEGATE_ADMIN_KEY"] = key
            done = await asyncio.to_thread(tidegate, *command, env=env)
            return done.returncode, done.stdout, done.stderr

        status, out, _ = await limits("peek", "tokens", "--tenant", "acme")
        assert status == 0
        assert out.startswith("tokens of acme: 60 of 100 left, whole again in ")
        status, out, _ = await limits("set", "tokens", "99", "--tenant", "acme", "--json")
        assert (status, json.loads(out)["remaining"]) == (0, 1)
        status, out, _ = await limits("drain", "tokens", "--tenant", "acme")
        assert "0 of 100 left" in out
        bad(await tenant.post("/v1/claims", {"take": {"tokens": 1}}), 429, "quota_exceeded")
        region = ("--tenant", "acme", "--attribute", "region=eu")
        status, out, _ = await limits("reset", "calls", *region)
        assert (status, out) == (0, "calls of acme x eu: 5 of 5 left, whole again in 0 s\n")
        status, out, _ = await limits("peek", "seats")
        assert (status, out) == (0, "seats: 2 of 2 left\n")
        for arguments, code, said in (
            (("peek", "tokens"), 1, "tokens is per tenant"),
            (("peek", "none"), 1, "no limit 'none'"),
            (("set", "tokens", "many"), 2, "'many'"),
            (("peek", "calls", "--attribute", "region"), 2, "NAME=VALUE"),
        ):
            status, out, err = await limits(*arguments)
            assert (status, out) == (code, "")
            assert said in err
        status, _, err = await limits("peek", "seats", key="tga_somebody-else's")
        assert status == 1
        assert "Traceback" not in err
        await server.stop()
        status, _, err = await limits("peek", "seats")
        assert status == 1
        assert f"no service answers at {server.address}" in err
