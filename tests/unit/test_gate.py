"""The gate: what callers see of decisions, guards and the queue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from tidegate import (
    AdmissionDenied,
    Capacity,
    Claim,
    Denied,
    Gate,
    Granted,
    LeaseLost,
    Quota,
    RateLimit,
)
from tidegate.domain.limit import Limit
from tidegate.domain.policy import Override, Policy
from tidegate.errors import InvalidClaim, InvalidLimit, InvalidSetting

pytestmark = pytest.mark.anyio

LIMITS: list[Limit] = [
    RateLimit("requests", units=100, period_s=1, burst=5, per=("tenant",)),
    RateLimit("host_requests", units=3, period_s=2, burst=3, per=("tenant", "host")),
    Quota("operations", units=1000, period="month", per=("tenant",)),
    Capacity("browsers", units=2),
    Capacity("sessions", units=1, per=("tenant",)),
]
BROWSER = Claim(hold={"browsers": 1})
BOTH = Claim(hold={"browsers": 2})


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(LIMITS)
    yield gate
    gate.close()
    assert gate.leases() == []
    assert gate.queue_depth == 0


def lease_of(decision: Granted | Denied) -> str:
    assert isinstance(decision, Granted)
    return decision.lease.id


@pytest.mark.parametrize(
    ("fill", "claim", "reason", "limit", "scope"),
    [
        (
            Claim(tenant="a", take={"requests": 5}),
            Claim(tenant="a", take={"requests": 5}),
            "rate_limited",
            "requests",
            ("a",),
        ),
        (
            Claim(tenant="a", host="h", take={"host_requests": 3}),
            Claim(tenant="a", host="h", take={"host_requests": 1}),
            "rate_limited",
            "host_requests",
            ("a", "h"),
        ),
        (
            Claim(tenant="a", take={"operations": 1000}),
            Claim(tenant="a", take={"operations": 1}),
            "quota_exceeded",
            "operations",
            ("a",),
        ),
        (BOTH, BROWSER, "exhausted", "browsers", ()),
        (
            Claim(tenant="a", hold={"sessions": 1}),
            Claim(tenant="a", hold={"sessions": 1}),
            "quota_exceeded",
            "sessions",
            ("a",),
        ),
    ],
)
def test_denials_say_what_refused(
    gate: Gate, fill: Claim, claim: Claim, reason: str, limit: str, scope: tuple[str, ...]
) -> None:
    first = gate.try_admit(fill)
    assert isinstance(first, Granted)
    denied = gate.try_admit(claim)
    assert isinstance(denied, Denied)
    assert (denied.reason, denied.limit, denied.scope) == (reason, limit, scope)
    assert denied.retry_after_us is not None
    assert gate.explain(claim) is not None
    first.lease.release()


@pytest.mark.parametrize(
    ("claim", "field"),
    [
        (Claim(take={"nothing": 1}), "take.nothing"),
        (Claim(take={"browsers": 1}), "take.browsers"),
        (Claim(hold={"requests": 1}), "hold.requests"),
        (Claim(hold={"browsers": 0}), "hold.browsers"),
        (Claim(hold={"browsers": 3}), "hold.browsers"),
        (Claim(hold={"browsers": True}), "hold.browsers"),
        (Claim(take={"requests": -1}), "take.requests"),
        (Claim(take={"host_requests": 1}), "host"),
        (Claim(id=""), "id"),
    ],
)
def test_claims_that_no_limit_can_judge(gate: Gate, claim: Claim, field: str) -> None:
    with pytest.raises(InvalidClaim) as caught:
        gate.try_admit(claim)
    assert caught.value.field == field


def test_limits_that_cannot_stand_together() -> None:
    with pytest.raises(InvalidLimit, match="name"):
        Gate([Capacity("a", units=1), Capacity("a", units=2)])
    with pytest.raises(InvalidLimit, match="resource"):
        Gate([Capacity("a", units=1), Quota("a", units=1, period="day", name="b")])
    Gate([Quota("a", units=1, period="day"), Quota("a", units=9, period="month", name="a_month")])


def test_a_shared_store_is_refused_with_a_sentence() -> None:
    with pytest.raises(InvalidSetting, match=r"redis.*not built yet"):
        Gate(store="redis://user:secret@host")


def test_the_precheck_comes_before_any_limit() -> None:
    gate = Gate(LIMITS, precheck=lambda claim: Denied(reason="suspended"))
    denied = gate.try_admit(Claim(take={"nothing": 1}))
    assert isinstance(denied, Denied)
    assert denied.reason == "suspended"
    with pytest.raises(AdmissionDenied), gate.hold_sync(BROWSER):
        pass
    assert gate.decisions == {"suspended": 2}


def test_overrides_change_one_tenant(gate: Gate) -> None:
    gate.set_policy(Policy(LIMITS, overrides={"big": {"requests": Override(units=1000, burst=50)}}))
    assert isinstance(gate.try_admit(Claim(tenant="big", take={"requests": 50})), Granted)
    with pytest.raises(InvalidClaim):
        gate.try_admit(Claim(tenant="small", take={"requests": 50}))
    (state,) = gate.limits_touched(Claim(tenant="big", take={"requests": 1}))
    assert state.units == 50
    assert state.remaining < 10


def test_lowering_a_capacity_evicts_nobody(gate: Gate) -> None:
    lease = gate.try_admit(BOTH)
    gate.set_policy(Policy([*LIMITS[:3], Capacity("browsers", units=1), LIMITS[4]]))
    assert isinstance(gate.try_admit(BROWSER), Denied)
    gate.release_lease(lease_of(lease))
    second = gate.try_admit(BROWSER)
    assert isinstance(gate.try_admit(BROWSER), Denied)
    gate.release_lease(lease_of(second))


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


def test_states_of_limits(gate: Gate) -> None:
    lease_of(gate.try_admit(Claim(tenant="a", take={"operations": 10})))
    states = {state.name: state for state in gate.limits(Claim(tenant="a"))}
    assert set(states) == {"requests", "operations", "browsers", "sessions"}
    assert states["operations"].remaining == 990
    assert states["operations"].reset_us is not None
    assert states["browsers"].reset_us is None


def test_close_ends_the_helper_thread() -> None:
    before = threading.active_count()
    for _ in range(20):
        gate = Gate(LIMITS)
        with gate.hold_sync(BROWSER):
            pass
        gate.close()
    assert threading.active_count() == before
