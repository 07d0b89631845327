"""Gates under load whose real server is killed, frozen and started again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.conformance.sharing import gate_on
from tests.servers.postgres import Postgres
from tests.servers.valkey import Valkey
from tidegate import Claim, Granted
from tidegate.bootstrap.stores import stores_of
from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.facades.sharing.gate import SharedGate

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LIMITS: list[Limit] = [
    RateLimit("requests", units=10_000, period_s=1),
    RateLimit("shared", units=40, period_s=3600, when_down="local"),
    Capacity("slots", units=4),
]
WORK = Claim(take={"requests": 1}, hold={"slots": 1})


@pytest.fixture(
    params=[
        pytest.param(Valkey, marks=pytest.mark.needs("valkey_own")),
        pytest.param(Postgres, marks=pytest.mark.needs("postgres_own")),
    ]
)
def server(request: pytest.FixtureRequest) -> Iterator[Valkey | Postgres]:
    with request.param() as server:
        yield server


class Crowd:
    """Twenty callers that claim and give back without end, over two gates."""

    def __init__(self, url: str) -> None:
        self.gates: list[SharedGate] = [
            gate_on(stores_of(url), LIMITS, patience_s=0.3, member_ttl_s=2.0) for _ in range(2)
        ]
        self.seen: Counter[str] = Counter()
        self.held = self.peak = 0
        self.running = True

    async def caller(self, gate: SharedGate) -> None:
        while self.running:
            decision = await gate.admit(WORK)
            if isinstance(decision, Granted):
                self.seen["granted"] += 1
                self.held += 1
                self.peak = max(self.peak, self.held)
                await asyncio.sleep(0.001)
                self.held -= 1
                decision.release()
            else:
                self.seen[decision.reason] += 1
                await asyncio.sleep(0.002)

    async def until(self, reason: str) -> None:
        """Wait until callers hear this again."""
        self.seen.clear()
        async with asyncio.timeout(30):
            while self.seen[reason] < 5:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("fault", ["kill", "freeze"])
async def test_a_server_that_goes_and_comes_back(server: Valkey | Postgres, fault: str) -> None:
    crowd = Crowd(server.url)
    async with asyncio.TaskGroup() as group:
        for gate in crowd.gates:
            for _ in range(10):
                group.create_task(crowd.caller(gate))
        await crowd.until("granted")
        await asyncio.to_thread(server.kill if fault == "kill" else server.freeze)
        await crowd.until("store_unavailable")
        local = [await crowd.gates[0].admit(Claim(take={"shared": 1})) for _ in range(20)]
        assert sum(isinstance(decision, Granted) for decision in local) == 10
        await asyncio.to_thread(server.restart if fault == "kill" else server.thaw)
        await crowd.until("granted")
        crowd.running = False
    # What a server has forgotten that nobody kept on disk, it cannot count: it may grant anew.
    assert crowd.peak <= 8
    async with asyncio.timeout(20):
        while not isinstance(
            lease := await crowd.gates[0].admit(Claim(hold={"slots": 4})), Granted
        ):
            await asyncio.sleep(0.05)
        lease.release()
    for gate in crowd.gates:
        await gate.aclose()
