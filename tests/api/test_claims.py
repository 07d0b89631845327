"""Claims over HTTP: granted once, waited for in order, given back, and never more than allowed."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from tests.api.harness import PATIENCE_S, Api, Caller, bad, fields, good
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.usage import UsageEntry
from tidegate.errors import StoreUnavailable

pytestmark = pytest.mark.anyio

SETTINGS: dict[str, Any] = {
    "limits": [
        {"kind": "capacity", "resource": "seats", "units": 2, "claimable": True},
        {"kind": "capacity", "resource": "rooms", "units": 1, "claimable": True},
        {"kind": "capacity", "resource": "desks", "units": 3, "per": ["tenant"], "claimable": True},
        {"kind": "capacity", "resource": "hidden", "units": 3},
    ],
    "plans": {
        "free": {"priority_max": 10, "lease_max_s": 20, "leases_max": 2},
        "enterprise": {"leases_max": 100_000, "priority_max": 1000},
    },
}
SEAT = {"hold": {"seats": 1}}
SEATS = {"hold": {"seats": 2}}


async def claim(tenant: Caller, body: dict[str, Any], **headers: str) -> dict[str, Any]:
    granted: dict[str, Any] = good(await tenant.post("/v1/claims", body, headers=headers), 201)
    return granted


async def release(tenant: Caller, granted: dict[str, Any]) -> None:
    answer = await tenant.delete(f"/v1/leases/{granted['lease_id']}")
    assert (answer.status_code, answer.content) == (204, b"")


async def queued(api: Api, work: Any, depth: int = 1) -> asyncio.Task[httpx.Response]:
    """Start a claim, and wait until it waits."""
    task: asyncio.Task[httpx.Response] = asyncio.create_task(work)
    while api.service.gate.queue_depth < depth:
        assert not task.done(), task.result().text
        await asyncio.sleep(0)
    return task


async def test_what_is_granted_is_held_shown_and_given_back(api: Api, tenant: Caller) -> None:
    granted = await claim(tenant, {**SEAT, "id": "job-1"})
    assert granted["granted"] == {"take": {}, "hold": {"seats": 1}}
    assert [(state["name"], state["remaining"]) for state in granted["limits"]] == [("seats", 1)]
    assert good(await tenant.get("/v1/leases"))["leases"] == [
        {
            "lease_id": granted["lease_id"],
            "fencing_token": granted["fencing_token"],
            "expires_at": granted["expires_at"],
            "hold": {"seats": 1},
            "claim_id": "job-1",
        }
    ]
    await release(tenant, granted)
    await release(tenant, granted)
    assert good(await tenant.get("/v1/leases"))["leases"] == []
    renewal = await tenant.post(f"/v1/leases/{granted['lease_id']}/renew", {"lease_s": 5})
    bad(renewal, 404, "lease_unknown")
    assert (await tenant.remaining())["seats"] == 2


async def test_fencing_tokens_only_grow(api: Api, tenant: Caller) -> None:
    tokens = []
    for _ in range(3):
        granted = await claim(tenant, SEAT)
        tokens.append(granted["fencing_token"])
        await release(tenant, granted)
    assert tokens == sorted(set(tokens))


@pytest.mark.parametrize("way", ["id", "header"])
async def test_a_retried_claim_is_granted_once(api: Api, tenant: Caller, way: str) -> None:
    body = {**SEAT, "id": f"by-{way}"} if way == "id" else SEAT
    headers = {"Idempotency-Key": f"by-{way}"} if way == "header" else {}
    answers = await asyncio.gather(
        *(tenant.post("/v1/claims", body, headers=headers) for _ in range(5))
    )
    assert sorted(each.status_code for each in answers) == [200] * 4 + [201]
    assert len({each.json()["lease_id"] for each in answers}) == 1
    assert len({each.json()["fencing_token"] for each in answers}) == 1
    assert (await tenant.remaining())["seats"] == 1
    other_amounts = {**body, "hold": {"seats": 2}}
    answer = await tenant.post("/v1/claims", other_amounts, headers=headers)
    assert fields(bad(answer, 422, "claim_id_reused")) == {"id"}
    # An id is the tenant's own.
    other = await api.tenant()
    await release(other, await claim(other, body, **headers))
    await release(tenant, answers[0].json())


async def test_what_others_hold_is_exhausted(api: Api, tenant: Caller) -> None:
    other = await api.tenant()
    granted = await claim(other, {**SEATS, "lease_s": 100})
    answer = await tenant.post("/v1/claims", SEAT)
    problem = bad(answer, 503, "exhausted")
    assert (problem["limit"], problem["scope"], problem["remaining"]) == ("seats", [], 0)
    assert answer.headers["ratelimit-policy"] == '"seats";q=2'
    told = good(await tenant.post("/v1/claims/explain", SEAT))
    assert (told["granted"], told["reason"], told["limit"]) == (False, "exhausted", "seats")
    desks = {"hold": {"desks": 3}}
    mine = await claim(tenant, desks)
    problem = bad(await tenant.post("/v1/claims", desks), 429, "quota_exceeded")
    assert problem["scope"] == [tenant.id]
    await release(other, await claim(other, desks))
    await release(tenant, mine)
    await release(other, granted)


async def test_a_claim_gets_all_or_nothing(api: Api, tenant: Caller) -> None:
    room = await claim(tenant, {"hold": {"rooms": 1}})
    bad(await tenant.post("/v1/claims", {"hold": {"seats": 1, "rooms": 1}}), 503, "exhausted")
    assert (await tenant.remaining())["seats"] == 2
    await release(tenant, room)


async def test_a_claim_may_wait_for_its_turn(api: Api, tenant: Caller) -> None:
    held = await claim(tenant, SEATS)
    first = await queued(api, tenant.post("/v1/claims", {**SEAT, "timeout_s": 30}))
    second = await queued(api, tenant.post("/v1/claims", {**SEAT, "timeout_s": 30}), 2)
    await release(tenant, held)
    for task in (first, second):
        await release(tenant, good(await task, 201))


async def test_a_wait_in_vain_ends_in_time(api: Api, tenant: Caller) -> None:
    held = await claim(tenant, SEATS)
    loop = asyncio.get_running_loop()
    since_s = loop.time()
    answer = await tenant.post("/v1/claims", {**SEAT, "timeout_s": 0.2, "id": "vain"})
    assert loop.time() - since_s >= 0.2
    bad(answer, 503, "timeout")
    await release(tenant, held)
    # It was never granted, so its id is still free.
    await release(tenant, await claim(tenant, {**SEATS, "id": "vain"}))


async def test_a_caller_that_goes_while_it_waits_leaves_no_trace(api: Api, tenant: Caller) -> None:
    held = await claim(tenant, SEATS)
    task = await queued(api, tenant.post("/v1/claims", {**SEAT, "timeout_s": 30}))
    task.cancel()
    await asyncio.wait({task})
    assert api.service.gate.queue_depth == 0
    await release(tenant, held)
    await release(tenant, await claim(tenant, SEATS))


async def test_an_expired_lease_is_taken_back(api: Api, tenant: Caller) -> None:
    granted = await claim(tenant, {**SEATS, "lease_s": 0.3})
    waiting = await queued(api, tenant.post("/v1/claims", {**SEATS, "timeout_s": 30}))
    following = good(await waiting, 201)
    path = f"/v1/leases/{granted['lease_id']}"
    bad(await tenant.post(f"{path}/renew", {"lease_s": 5}), 404, "lease_unknown")
    assert (await tenant.remaining())["seats"] == 0
    # It ended without its holder, and giving it back again is no error.
    while (await tenant.delete(path)).status_code != 204:
        await asyncio.sleep(0.01)
    assert (await tenant.remaining())["seats"] == 0
    await release(tenant, following)


async def test_a_renewed_lease_lives_on(api: Api, tenant: Caller) -> None:
    granted = await claim(tenant, {**SEATS, "lease_s": 0.5})
    path = f"/v1/leases/{granted['lease_id']}/renew"
    renewed = good(await tenant.post(path, {"lease_s": 50}))
    assert renewed["expires_at"] > granted["expires_at"]
    vain = await tenant.post("/v1/claims", {**SEAT, "timeout_s": 0.7})
    bad(vain, 503, "timeout")
    assert good(await tenant.get("/v1/leases"))["leases"][0]["expires_at"] == renewed["expires_at"]
    shorter = good(await tenant.post(path, {"lease_s": 0.05}))
    assert shorter["expires_at"] < renewed["expires_at"]
    await release(tenant, good(await tenant.post("/v1/claims", {**SEATS, "timeout_s": 30}), 201))


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({**SEAT, "priority": 11}, "priority"),
        ({**SEAT, "lease_s": 20.5}, "lease_s"),
        ({"hold": {"hidden": 1}}, "hold.hidden"),
        ({"hold": {"seats": 1, "browsers": 1}}, "hold.browsers"),
        ({"take": {"operations": 1}}, "take.operations"),
    ],
)
async def test_a_plan_caps_what_may_be_asked_for(
    api: Api, body: dict[str, Any], named: str
) -> None:
    tenant = await api.tenant(plan="free")
    for path in ("/v1/claims", "/v1/claims/explain"):
        if named != "lease_s" or path == "/v1/claims":
            answer = await tenant.post(path, body)
            assert fields(bad(answer, 422, "invalid_claim")) == {named}
    granted = await claim(tenant, {**SEAT, "priority": 10, "lease_s": 20})
    renewal = await tenant.post(f"/v1/leases/{granted['lease_id']}/renew", {"lease_s": 20.5})
    assert fields(bad(renewal, 422, "invalid_claim")) == {"lease_s"}
    await release(tenant, granted)


async def test_a_plan_caps_how_many_leases_are_held(api: Api) -> None:
    tenant = await api.tenant(plan="free")
    bodies = [{"hold": {"desks": 1}, "id": str(number)} for number in range(8)]
    answers = await asyncio.gather(*(tenant.post("/v1/claims", body) for body in bodies))
    granted = [each for each in answers if each.status_code == 201]
    assert len(granted) == 2
    for each in answers:
        if each.status_code != 201:
            assert bad(each, 429, "quota_exceeded")["limit"] == "leases"
    # The retry of a claim that was granted is no new lease.
    again = await tenant.post("/v1/claims", bodies[answers.index(granted[0])])
    assert good(again)["lease_id"] == granted[0].json()["lease_id"]
    await release(tenant, granted[0].json())
    await release(tenant, await claim(tenant, {"hold": {"desks": 1}}))
    await release(tenant, granted[1].json())


@pytest.mark.parametrize("lost", ["usage", "lease"])
async def test_a_claim_that_cannot_be_written_down_was_never_made(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch, lost: str
) -> None:
    """Usage row and lease are two steps: whichever fails, no lease may stay."""
    leases = api.service.leases
    written = []

    async def record(entry: UsageEntry) -> bool:
        if lost == "usage":
            raise StoreUnavailable("no space left")
        written.append(entry.taken)
        return True

    async def put(_: LeaseRecord) -> None:
        assert written == [{"tokens": 1}], "a kill here would forget what was taken"
        raise StoreUnavailable("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(leases._ledger, "record", record)
        patch.setattr(leases._book._log, "put", put)
        patch.setattr(api.service.gate, "quotas_taken", lambda _: {"tokens": 1})
        bad(await tenant.post("/v1/claims", {**SEATS, "id": "x"}), 503, "store_unavailable")
    await leases._book.stop()
    assert leases._book.live(tenant.id) == set()
    assert "x" not in {record.claim.id for record in await leases._book.load()}
    await release(tenant, await claim(tenant, {**SEATS, "id": "x"}))


async def test_a_lease_that_expires_while_it_is_written_down_is_gone(
    api: Api, tenant: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = api.service.leases._book
    put = book._log.put

    async def slow(record: LeaseRecord) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while api.service.gate.lease(record.id) or not book.had(tenant.id, record.id):
                await asyncio.sleep(0.01)
        await put(record)

    with monkeypatch.context() as patch:
        patch.setattr(book._log, "put", slow)
        granted = await claim(tenant, {**SEATS, "lease_s": 0.01})
    assert book.live(tenant.id) == set()
    assert granted["lease_id"] not in {record.id for record in await book.load()}
    await release(tenant, granted)
