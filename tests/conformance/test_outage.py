"""What gates do while their store cannot be asked, each limit as it says, and after."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.conformance.gates import granted, refused
from tests.conformance.sharing import gate_on, stores_of
from tests.conformance.worlds import Server
from tidegate import AdmissionDenied, Claim, Granted
from tidegate.domain.limit import Capacity, Limit, RateLimit

pytestmark = pytest.mark.anyio

LIMITS: list[Limit] = [
    RateLimit("strict", units=10, period_s=1),
    RateLimit("generous", units=1, period_s=3600, when_down="open"),
    RateLimit("shared", units=40, period_s=3600, when_down="local"),
    Capacity("slots", units=8, when_down="local"),
]


async def test_each_limit_does_what_it_says(server: Server) -> None:
    gate = gate_on(stores_of(server), LIMITS, local_share=0.25)
    granted(await gate.admit(Claim(take={"strict": 1})))
    server.down = True
    denied = refused(await gate.admit(Claim(take={"strict": 1})))
    assert (denied.reason, denied.limit) == ("store_unavailable", "strict")
    for _ in range(5):
        granted(await gate.admit(Claim(take={"generous": 1})))
    shared = [await gate.admit(Claim(take={"shared": 1})) for _ in range(20)]
    assert sum(isinstance(decision, Granted) for decision in shared) == 10
    leases = [await gate.admit(Claim(hold={"slots": 1})) for _ in range(4)]
    assert [isinstance(decision, Granted) for decision in leases] == [True, True, False, False]
    granted(leases[0]).release()
    granted(await gate.admit(Claim(hold={"slots": 1})))
    with pytest.raises(AdmissionDenied) as caught:
        async with gate.hold(Claim(take={"strict": 1}), timeout_s=5):
            pass
    assert caught.value.denied.reason == "store_unavailable"
    await gate.aclose()


async def test_while_it_is_down_answers_are_quick_and_it_is_noticed_when_back(
    server: Server,
) -> None:
    gate = gate_on(stores_of(server), LIMITS)
    granted(await gate.admit(Claim(take={"strict": 1})))
    server.down = True
    refused(await gate.admit(Claim(take={"strict": 1})))
    start_s = time.monotonic()
    for _ in range(100):
        refused(await gate.admit(Claim(take={"strict": 1})))
    assert time.monotonic() - start_s < 1
    server.down = False
    async with asyncio.timeout(10):
        while not isinstance(await gate.admit(Claim(take={"strict": 1})), Granted):
            await asyncio.sleep(0.01)
    assert gate.counted["outages"] == 1
    await gate.aclose()


async def test_lost_replies_charge_once(server: Server) -> None:
    gate = gate_on(stores_of(server), LIMITS, patience_s=5)
    for _ in range(5):
        server.lost = 1
        granted(await gate.admit(Claim(take={"shared": 1}, hold={"slots": 1})))
    assert server.level("slots") == 5
    states = await asyncio.to_thread(gate.limits_touched, Claim(take={"shared": 1}))
    assert states[0].remaining == 35
    await gate.aclose()
    assert server.level("slots") == 0


async def test_what_was_granted_to_nobody_comes_back(server: Server) -> None:
    gate = gate_on(stores_of(server), LIMITS, patience_s=0)
    granted(await gate.admit(Claim(take={"generous": 1})))
    server.lost = 1
    await gate.admit(Claim(take={"shared": 1}, hold={"slots": 3}))
    async with asyncio.timeout(10):
        while server.level("slots"):
            await asyncio.sleep(0.01)
    await gate.aclose()


@pytest.fixture
def server() -> Server:
    return Server()
