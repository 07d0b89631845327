"""The gate's queue when claims in it clash, change, or are given up."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.gates import BOTH, BROWSER, LIMITS, lease_of
from tidegate import AdmissionDenied, Capacity, Claim, Denied, Gate, Granted, Quota
from tidegate.domain.limit import Limit
from tidegate.errors import ClaimIdReused
from tidegate.facades.lines import Waiter
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio


async def held(gate: Gate, claim: Claim, seconds: float = 0.0) -> str:
    async with gate.hold(claim, timeout_s=30) as lease:
        await asyncio.sleep(seconds)
        return lease.id


async def waiting(gate: Gate, *claims: Claim) -> list[asyncio.Task[str]]:
    """Return tasks that wait for the claims, in order."""
    tasks = []
    for claim in claims:
        tasks.append(asyncio.create_task(held(gate, claim)))
        await asyncio.sleep(0.01)
    return tasks


async def test_a_claim_that_clashes_in_the_queue_fails_alone() -> None:
    gate = Gate(LIMITS)
    full = gate.try_admit(BOTH)
    one, other, third = await waiting(
        gate,
        Claim(hold={"browsers": 1}, id="x"),
        Claim(hold={"browsers": 2}, id="x"),
        Claim(tenant="b", hold={"browsers": 1}),
    )
    assert gate.release_lease(lease_of(full))
    await asyncio.wait_for(asyncio.gather(one, third), 5)
    with pytest.raises(ClaimIdReused):
        await other
    assert gate.leases() == []
    assert gate.queue_depth == 0


async def test_a_waiter_behind_another_sleeps() -> None:
    limits: list[Limit] = [Capacity("a", units=1), Capacity("b", units=1)]
    gate = Gate(limits)
    lease_of(gate.try_admit(Claim(hold={"a": 1})))
    short = gate.try_admit(Claim(hold={"b": 1}), lease_s=0.05)
    tasks = await waiting(gate, Claim(hold={"a": 1}), Claim(hold={"a": 1, "b": 1}))
    lease_of(short)
    serve, served = gate.queue.serve, 0

    def counted(freed: object) -> None:
        nonlocal served
        served += 1
        serve(freed)  # type: ignore[arg-type]

    gate.queue.serve = counted  # type: ignore[assignment,method-assign]
    await asyncio.sleep(0.3)
    assert served < 20
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_quota_holds_for_those_who_waited_through_its_windows() -> None:
    clock = FakeClock()
    gate = Gate([Quota("jobs", units=1, period="second"), Capacity("slots", units=1)], clock=clock)
    slot = gate.try_admit(Claim(hold={"slots": 1}), lease_s=1000)
    (task,) = await waiting(gate, Claim(take={"jobs": 1}, hold={"slots": 1}))
    clock.advance(seconds=5)
    assert isinstance(gate.try_admit(Claim(take={"jobs": 1})), Granted)
    gate.release_lease(lease_of(slot))
    await asyncio.sleep(0.01)
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_a_cancellation_that_meets_the_grant_is_heard() -> None:
    gate = Gate(LIMITS)
    full = gate.try_admit(BOTH)
    (task,) = await waiting(gate, BOTH)
    gate.release_lease(lease_of(full))
    await asyncio.sleep(0)
    assert task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert gate.leases() == []


async def test_no_tenant_can_fill_the_queue() -> None:
    gate = Gate(LIMITS, waiters_max=8)
    full = gate.try_admit(BOTH)
    crowd = await waiting(gate, *[BROWSER] * 10)
    assert gate.queue_depth == 4
    (guest,) = await waiting(gate, Claim(tenant="guest", hold={"browsers": 1}))
    assert gate.queue_depth == 5
    gate.release_lease(lease_of(full))
    await asyncio.wait_for(guest, 5)
    await asyncio.wait(crowd)
    assert sum(isinstance(task.exception(), AdmissionDenied) for task in crowd) == 6


async def test_who_is_suspended_while_waiting_is_refused() -> None:
    suspended: list[str] = []
    gate = Gate(
        LIMITS,
        precheck=lambda claim: Denied(reason="suspended") if claim.tenant in suspended else None,
    )
    full = gate.try_admit(BOTH)
    (task,) = await waiting(gate, Claim(tenant="b", hold={"browsers": 1}))
    suspended.append("b")
    gate.release_lease(lease_of(full))
    with pytest.raises(AdmissionDenied) as caught:
        await task
    assert caught.value.denied.reason == "suspended"
    assert gate.leases() == []


async def test_a_retry_of_a_live_claim_passes_those_who_wait() -> None:
    gate = Gate(LIMITS)
    claim = Claim(hold={"browsers": 2}, id="a")
    first = gate.try_admit(claim)
    (task,) = await waiting(gate, BROWSER)
    again = gate.try_admit(claim)
    assert isinstance(again, Granted)
    assert again.repeated
    gate.release_lease(lease_of(first))
    await asyncio.wait_for(task, 5)


async def test_when_the_gate_drains_nobody_waits_any_more() -> None:
    gate = Gate(LIMITS)
    full = gate.try_admit(BOTH)
    (task,) = await waiting(gate, BROWSER)
    gate.dismiss_waiting()
    with pytest.raises(AdmissionDenied) as caught:
        await task
    assert caught.value.denied.reason == "exhausted"
    with pytest.raises(AdmissionDenied):
        await held(gate, BROWSER)
    gate.release_lease(lease_of(full))
    assert await held(gate, BROWSER)


def test_a_grant_that_nobody_is_left_to_take_goes_to_the_next_in_line() -> None:
    def gone() -> None:
        raise RuntimeError("the event loop has ended")

    gate = Gate([Capacity("browsers", units=1)])
    full = gate.try_admit(BROWSER)
    first = gate.queue.join(BROWSER, 30_000_000, "", gone, capacities_only=False)
    second = gate.queue.join(BROWSER, 30_000_000, "", lambda: None, capacities_only=False)
    assert isinstance(first, Waiter)
    assert isinstance(second, Waiter)
    assert gate.release_lease(lease_of(full))
    assert isinstance(second.answer, Granted)
    assert (gate.queue_depth, gate.leases_active) == (0, 1)
    gate.close()
