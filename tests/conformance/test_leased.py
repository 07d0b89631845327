"""Limits whose tokens are drawn in advance: never exceeded, and few calls."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.conformance.gates import granted, refused
from tests.conformance.sharing import EVERY_SERVER, SERVERS, gate_on
from tidegate import Claim, Denied, Granted
from tidegate.bootstrap.sharing import SharedStores
from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.errors import WouldBlock

pytestmark = pytest.mark.anyio

LIMITS: list[Limit] = [
    RateLimit("calls", units=1, period_s=3600, burst=100, leased=30, per=("tenant",)),
    RateLimit("fast", units=1000, period_s=1, burst=100, leased=20),
    Capacity("slots", units=1),
]
CALL = Claim(tenant="a", take={"calls": 1})


@pytest.fixture(params=EVERY_SERVER)
def stores(request: pytest.FixtureRequest) -> Iterator[SharedStores]:
    with SERVERS[request.param]() as stores:
        yield stores


async def test_gates_that_draw_never_exceed_the_limit_together(stores: SharedStores) -> None:
    gates = [gate_on(stores, LIMITS) for _ in range(3)]
    decisions = [await gate.admit(CALL) for _ in range(60) for gate in gates]
    assert sum(isinstance(decision, Granted) for decision in decisions) == 100
    # Each draw of 30, the smaller ones at the end, and one refusal: not one call for each claim.
    assert sum(gate.counted["batches"] for gate in gates) <= 30
    last = decisions[-1]
    assert isinstance(last, Denied)
    assert last.limit == "calls"
    assert last.timed
    for gate in gates:
        await gate.aclose()


async def test_tokens_are_spent_without_the_store(stores: SharedStores) -> None:
    gate = gate_on(stores, LIMITS)
    with pytest.raises(WouldBlock):
        gate.try_admit(CALL)
    granted(await gate.admit(CALL))
    before = gate.counted["batches"]
    for _ in range(29):
        granted(gate.try_admit(CALL))
    with pytest.raises(WouldBlock):
        gate.try_admit(CALL)
    assert gate.counted["batches"] == before
    assert gate.decisions["granted"] == 30
    await gate.aclose()


async def test_what_is_drawn_and_not_spent_goes_back(stores: SharedStores) -> None:
    idle, busy = gate_on(stores, LIMITS), gate_on(stores, LIMITS)
    granted(await idle.admit(CALL))
    await idle.aclose()
    decisions = [await busy.admit(CALL) for _ in range(110)]
    assert sum(isinstance(decision, Granted) for decision in decisions) == 99
    await busy.aclose()


async def test_a_claim_that_is_refused_elsewhere_keeps_the_tokens(stores: SharedStores) -> None:
    gate = gate_on(stores, LIMITS)
    lease = granted(await gate.admit(Claim(hold={"slots": 1})))
    both = Claim(tenant="a", take={"calls": 1}, hold={"slots": 1})
    assert refused(await gate.admit(both)).limit == "slots"
    lease.release()
    granted(await gate.admit(CALL))
    decisions = [await gate.admit(CALL) for _ in range(110)]
    assert sum(isinstance(decision, Granted) for decision in decisions) == 99
    await gate.aclose()


async def test_a_leased_rate_keeps_its_pace(stores: SharedStores) -> None:
    gates = [gate_on(stores, LIMITS) for _ in range(2)]
    loop = asyncio.get_running_loop()
    start_s, count = loop.time(), 0
    while loop.time() - start_s < 0.5:
        for gate in gates:
            count += isinstance(await gate.admit(Claim(take={"fast": 1})), Granted)
        await asyncio.sleep(0)
    elapsed_s = loop.time() - start_s
    assert count <= 100 + 1000 * elapsed_s + 1
    assert count >= 300
    for gate in gates:
        await gate.aclose()
