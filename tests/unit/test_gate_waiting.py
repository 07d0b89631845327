"""The gate's queue and its guards: order, time-outs, cancellation, expiry, threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tests.unit.gates import BOTH, BROWSER, LIMITS, lease_of
from tidegate import AdmissionDenied, Capacity, Claim, Denied, Gate, Granted, LeaseLost
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(LIMITS)
    yield gate
    gate.close()
    assert gate.leases() == []
    assert gate.queue_depth == 0


async def test_hold_gives_back_on_every_exit(gate: Gate) -> None:
    async with gate.hold(BOTH):
        assert isinstance(gate.try_admit(BROWSER), Denied)
    with pytest.raises(ZeroDivisionError):
        async with gate.hold(BOTH):
            _ = 1 / 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01), gate.hold(BOTH):
            await asyncio.sleep(10)
    task = asyncio.create_task(_hold_for(gate, BOTH, 10))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.releases == {"success": 1, "failed": 1, "cancelled": 2}


async def _hold_for(gate: Gate, claim: Claim, seconds: float) -> None:
    async with gate.hold(claim):
        await asyncio.sleep(seconds)


async def test_waiters_are_served_in_order(gate: Gate) -> None:
    order: list[int] = []

    async def worker(number: int) -> None:
        async with gate.hold(BOTH, timeout_s=10):
            order.append(number)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(worker(number))
    assert order == list(range(20))


async def test_a_newcomer_does_not_overtake_but_others_pass(gate: Gate) -> None:
    first = gate.try_admit(BROWSER)
    wide = asyncio.create_task(_hold_for(gate, BOTH, 0))
    await asyncio.sleep(0.01)
    denied = gate.try_admit(BROWSER)
    assert isinstance(denied, Denied)
    assert denied.limit == "browsers"
    gate.release_lease(lease_of(gate.try_admit(Claim(tenant="b", hold={"sessions": 1}))))
    gate.release_lease(lease_of(first))
    await wide
    gate.release_lease(lease_of(gate.try_admit(BROWSER)))


async def test_waiting_in_vain_is_a_timeout_and_leaves_no_trace(gate: Gate) -> None:
    lease = gate.try_admit(BOTH)
    with pytest.raises(AdmissionDenied) as caught:
        async with gate.hold(BROWSER, timeout_s=0.02):
            pass
    assert caught.value.denied.reason == "timeout"
    assert gate.queue_depth == 0
    gate.release_lease(lease_of(lease))


async def test_a_cancelled_waiter_lets_the_next_one_pass(gate: Gate) -> None:
    lease = gate.try_admit(BROWSER)
    wide = asyncio.create_task(_hold_for(gate, BOTH, 0))
    await asyncio.sleep(0.01)
    narrow = asyncio.create_task(_hold_for(gate, BROWSER, 0))
    await asyncio.sleep(0.01)
    assert gate.queue_depth == 2
    wide.cancel()
    await asyncio.wait_for(narrow, 5)
    gate.release_lease(lease_of(lease))


async def test_a_cancelled_waiter_gives_back_a_grant_that_came_meanwhile(gate: Gate) -> None:
    lease = gate.try_admit(BOTH)
    waiter = asyncio.create_task(_hold_for(gate, BOTH, 0))
    await asyncio.sleep(0.01)
    gate.release_lease(lease_of(lease))
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter


async def test_hold_waits_for_rates_unless_told_otherwise(gate: Gate) -> None:
    lease_of(gate.try_admit(Claim(take={"requests": 5})))
    started = time.monotonic()
    async with gate.hold(Claim(take={"requests": 2}), timeout_s=5):
        assert time.monotonic() - started >= 0.015
    claim = Claim(take={"requests": 5}, hold={"browsers": 1})
    with pytest.raises(AdmissionDenied) as caught:
        async with gate.hold(claim, timeout_s=5, capacities_only=True):
            pass
    assert caught.value.denied.reason == "rate_limited"


async def test_rate_limited_workload_is_refused_at_once_behind_a_queue(gate: Gate) -> None:
    lease = gate.try_admit(BOTH)
    waiter = asyncio.create_task(_hold_for(gate, BROWSER, 0))
    await asyncio.sleep(0.01)
    lease_of(gate.try_admit(Claim(take={"requests": 5})))
    claim = Claim(take={"requests": 5}, hold={"browsers": 1})
    with pytest.raises(AdmissionDenied) as caught:
        async with gate.hold(claim, timeout_s=5, capacities_only=True):
            pass
    assert caught.value.denied.reason == "rate_limited"
    gate.release_lease(lease_of(lease))
    await waiter


async def test_an_expired_lease_serves_the_queue(gate: Gate) -> None:
    lease_of(gate.try_admit(BOTH, lease_s=0.05))
    async with gate.hold(BOTH, timeout_s=5):
        pass
    assert len(gate.reclaim()) == 1


async def test_guards_renew_their_lease(gate: Gate) -> None:
    async with gate.hold(BOTH, lease_s=0.09) as lease:
        await asyncio.sleep(0.3)
        assert [record.id for record in gate.leases()] == [lease.id]
    with gate.hold_sync(BOTH, lease_s=0.09) as lease:
        await asyncio.to_thread(time.sleep, 0.3)
        assert [record.id for record in gate.leases()] == [lease.id]


async def test_a_lost_lease_cancels_the_body(gate: Gate) -> None:
    with pytest.raises(LeaseLost):
        async with gate.hold(BOTH, lease_s=0.06) as lease:
            lease.release()
            await asyncio.sleep(10)
    with pytest.raises(LeaseLost):
        with gate.hold_sync(BOTH, lease_s=0.06) as lease:
            lease.release()
            await asyncio.to_thread(time.sleep, 0.3)


async def test_the_queue_is_bounded() -> None:
    gate = Gate(LIMITS, waiters_max=1)
    lease = gate.try_admit(BOTH)
    waiter = asyncio.create_task(_hold_for(gate, BROWSER, 0))
    await asyncio.sleep(0.01)
    with pytest.raises(AdmissionDenied) as caught:
        async with gate.hold(BROWSER, timeout_s=5):
            pass
    assert caught.value.denied.reason == "exhausted"
    gate.release_lease(lease_of(lease))
    await waiter


@pytest.mark.parametrize("terms", [{"timeout_s": -1}, {"timeout_s": float("nan")}, {"lease_s": 0}])
def test_terms_out_of_range(gate: Gate, terms: dict[str, float]) -> None:
    with pytest.raises(InvalidClaim), gate.hold_sync(BROWSER, **terms):  # type: ignore[arg-type]
        pass


async def test_new_limits_serve_those_who_wait_and_refuse_what_they_cannot_grant(
    gate: Gate,
) -> None:
    lease = gate.try_admit(BOTH)
    waiting = asyncio.create_task(_hold_for(gate, BROWSER, 0))
    wide = asyncio.create_task(_hold_for(gate, BOTH, 0))
    await asyncio.sleep(0.01)
    gate.set_policy(Policy([*LIMITS[:3], Capacity("browsers", units=1), LIMITS[4]]))
    with pytest.raises(InvalidClaim):
        await wide
    gate.set_policy(Policy([*LIMITS[:3], Capacity("browsers", units=3), LIMITS[4]]))
    await asyncio.wait_for(waiting, 5)
    gate.release_lease(lease_of(lease))


async def test_giving_up_frees_the_id_of_a_claim_but_not_the_lease_of_an_earlier_one(
    gate: Gate,
) -> None:
    lease = gate.try_admit(BOTH)
    claim = Claim(hold={"browsers": 1}, id="a")
    waiter = asyncio.create_task(_hold_for(gate, claim, 0))
    await asyncio.sleep(0.01)
    gate.release_lease(lease_of(lease))
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    first = gate.try_admit(claim)
    assert isinstance(first, Granted)
    assert not first.repeated
    first.lease.release()


def test_threads_never_exceed_a_capacity_and_leave_nothing(gate: Gate) -> None:
    held, most = 0, 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal held, most
        for _ in range(50):
            with gate.hold_sync(BROWSER, timeout_s=30):
                with lock:
                    held += 1
                    most = max(most, held)
                time.sleep(0)
                with lock:
                    held -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
    assert gate.decisions["granted"] == 400


async def test_tasks_and_threads_share_one_queue(gate: Gate) -> None:
    lease = gate.try_admit(BOTH)

    def in_thread() -> str:
        with gate.hold_sync(BOTH, timeout_s=10):
            return "thread"

    thread = asyncio.create_task(asyncio.to_thread(in_thread))
    task = asyncio.create_task(_hold_for(gate, BOTH, 0.01))
    while gate.queue_depth < 2:
        await asyncio.sleep(0.01)
    gate.release_lease(lease_of(lease))
    await asyncio.gather(thread, task)
