"""What gates promise that share a store: together they are one gate, also when one of them dies."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.conformance.gates import granted, refused
from tests.conformance.sharing import EVERY_SERVER, SERVERS, gate_on
from tidegate import AdmissionDenied, Claim, LeaseLost
from tidegate.bootstrap.sharing import SharedStores
from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.facades.sharing.gate import SharedGate

pytestmark = pytest.mark.anyio

LIMITS: list[Limit] = [
    RateLimit("requests", units=1000, period_s=1, per=("tenant",)),
    RateLimit("slow", units=10, period_s=1, burst=1),
    Capacity("browsers", units=3),
    Capacity("gpus", units=1),
]
GPU = Claim(hold={"gpus": 1})


@pytest.fixture(params=EVERY_SERVER)
def stores(request: pytest.FixtureRequest) -> Iterator[SharedStores]:
    with SERVERS[request.param]() as stores:
        yield stores


async def test_two_gates_never_grant_more_than_there_is(stores: SharedStores) -> None:
    gates = [gate_on(stores, LIMITS) for _ in range(2)]
    held, peak, done = 0, 0, 0

    async def work(gate: SharedGate, number: int) -> None:
        nonlocal held, peak, done
        claim = Claim(tenant=f"t{number % 5}", take={"requests": 1}, hold={"browsers": 1})
        async with gate.hold(claim, timeout_s=30):
            held += 1
            peak = max(peak, held)
            await asyncio.sleep(0.001)
            held -= 1
            done += 1

    await asyncio.gather(*(work(gate, n) for gate in gates for n in range(60)))
    assert (peak, done) == (3, 120)
    await _until_granted(gates[0], Claim(hold={"browsers": 3, "gpus": 1}))
    for gate in gates:
        await gate.aclose()


async def test_who_waits_is_woken_by_another_process(stores: SharedStores) -> None:
    mine, other = gate_on(stores, LIMITS), gate_on(stores, LIMITS)
    lease = granted(await other.admit(GPU))
    waiting = asyncio.create_task(_once(mine, GPU))
    await _until(lambda: mine.queue_depth == 1)
    refused(await other.admit(GPU))
    lease.release()
    await asyncio.wait_for(waiting, 5)
    await mine.aclose()
    await other.aclose()


async def test_what_a_dead_process_held_comes_back(stores: SharedStores) -> None:
    dead, mine = gate_on(stores, LIMITS, member_ttl_s=2.0), gate_on(stores, LIMITS)
    granted(await dead.admit(GPU))
    waiting = [asyncio.create_task(_once(dead, GPU)), asyncio.create_task(_once(mine, GPU))]
    await _until(lambda: dead.queue_depth == mine.queue_depth == 1)
    dead._members._stopped.set()
    waiting[0].cancel()
    for member in dead._members.all():
        member.driver.kick = lambda: None  # type: ignore[method-assign]
    await asyncio.wait_for(waiting[1], 10)
    await mine.aclose()
    await dead.aclose()


async def test_a_body_ends_before_the_store_takes_its_lease_back(stores: SharedStores) -> None:
    gate = gate_on(stores, LIMITS, member_ttl_s=0.9)
    with pytest.raises(LeaseLost):
        async with gate.hold(GPU):
            for member in gate._members.all():
                member.session.batch = lambda **_: None  # type: ignore[method-assign]
            gate._members._give_sign = _silent  # type: ignore[method-assign]
            await asyncio.sleep(30)
    await gate.aclose()


async def test_a_claim_id_is_known_to_every_process(stores: SharedStores) -> None:
    mine, other = gate_on(stores, LIMITS), gate_on(stores, LIMITS)
    claim = Claim(hold={"gpus": 1}, id="a")
    first = granted(await mine.admit(claim))
    again = granted(await other.admit(claim))
    assert again.repeated
    assert (again.id, again.fencing_token) == (first.id, first.fencing_token)
    refused(await other.admit(GPU))
    again.release()
    await _until_granted(other, GPU)
    kept = granted(await other.admit(GPU))
    first.release()
    refused(await mine.admit(GPU))
    kept.release()
    await mine.aclose()
    await other.aclose()


async def test_weights_hold_between_processes(stores: SharedStores) -> None:
    options = {"weights": {"big": 3}}
    gates = [gate_on(stores, LIMITS, **options) for _ in range(2)]
    served: Counter[str] = Counter()

    async def worker(gate: SharedGate, tenant: str) -> None:
        while sum(served.values()) < 200:
            async with gate.hold(Claim(tenant=tenant, hold={"gpus": 1}), timeout_s=30):
                served[tenant] += 1
                await asyncio.sleep(0)

    workers = [(gate, tenant) for gate in gates for tenant in ("big", "small") for _ in range(8)]
    await asyncio.gather(*(worker(gate, tenant) for gate, tenant in workers))
    assert 2.2 < served["big"] / served["small"] < 4
    for gate in gates:
        await gate.aclose()


async def test_a_rate_is_waited_for(stores: SharedStores) -> None:
    gate = gate_on(stores, LIMITS)
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    for _ in range(4):
        async with gate.hold(Claim(take={"slow": 1}), timeout_s=5):
            pass
    assert loop.time() - start_s >= 0.29
    await gate.aclose()


async def test_who_waits_in_vain_leaves_no_trace(stores: SharedStores) -> None:
    mine, other = gate_on(stores, LIMITS), gate_on(stores, LIMITS)
    lease = granted(await other.admit(GPU))
    with pytest.raises(AdmissionDenied) as caught:
        async with mine.hold(GPU, timeout_s=0.05):
            pass
    assert caught.value.denied.reason == "timeout"
    cancelled = asyncio.create_task(_once(mine, GPU))
    await _until(lambda: mine.queue_depth == 1)
    cancelled.cancel()
    with suppress(asyncio.CancelledError):
        await cancelled
    assert mine.queue_depth == 0
    lease.release()
    await _until_granted(other, GPU)
    await mine.aclose()
    await other.aclose()


async def test_one_call_for_each_claim_and_none_for_renewals(stores: SharedStores) -> None:
    gate = gate_on(stores, LIMITS)
    for _ in range(5):
        granted(
            await gate.admit(Claim(take={"requests": 1, "slow": 1}, hold={"browsers": 1}))
        ).release()
        await asyncio.sleep(0.11)
    before = gate.counted["batches"]
    lease = granted(await gate.admit(GPU))
    for _ in range(100):
        gate.renew(lease.id)
    assert gate.counted["batches"] - before <= 2
    assert before <= 10
    await gate.aclose()


def test_threads_share_too(stores: SharedStores) -> None:
    gates = [gate_on(stores, LIMITS) for _ in range(2)]
    lock = threading.Lock()
    held, peak, done = 0, 0, 0

    def work(gate: SharedGate) -> None:
        nonlocal held, peak, done
        for _ in range(5):
            with gate.hold_sync(Claim(hold={"browsers": 1}), timeout_s=30):
                with lock:
                    held += 1
                    peak = max(peak, held)
                with lock:
                    held -= 1
                    done += 1

    threads = [threading.Thread(target=work, args=(gate,)) for gate in gates for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert peak <= 3
    assert done == 60
    # What the other gate let go of travels without anybody waiting for it.
    with gates[0].hold_sync(Claim(hold={"browsers": 3}), timeout_s=30):
        pass
    for gate in gates:
        gate.close()


def _silent(session: object) -> None:
    """Give no sign."""
    del session


async def _once(gate: SharedGate, claim: Claim) -> None:
    async with gate.hold(claim, timeout_s=30):
        pass


async def _until_granted(gate: SharedGate, claim: Claim) -> None:
    """Let go of what was released: it travels without anybody waiting for it."""
    async with asyncio.timeout(5):
        async with gate.hold(claim):
            pass


async def _until(true: object) -> None:
    assert callable(true)
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)
