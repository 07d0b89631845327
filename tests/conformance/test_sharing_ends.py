"""Loops and gates that end, callers that send nonsense, and what must not come of it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest

from tests.conformance.gates import granted
from tests.conformance.sharing import EVERY_SERVER, SERVERS, gate_on, stores_of
from tests.conformance.worlds import Server
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, Granted
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.errors import AdmissionDenied, InvalidClaim, LeaseLost, StoreUnavailable

LIMITS: list[Limit] = [Capacity("gpus", units=2), RateLimit("calls", units=1000, period_s=60)]
GPU = Claim(hold={"gpus": 1})
PATIENT_S = 30


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread brings about."""
    end_s = time.monotonic() + PATIENT_S
    while not true():
        assert time.monotonic() < end_s
        time.sleep(0.01)


@pytest.mark.parametrize("name", EVERY_SERVER)
def test_a_loop_that_ends_keeps_nothing(name: str) -> None:
    async def work(keep: bool) -> None:
        async with gate.hold(GPU, timeout_s=PATIENT_S):
            pass
        if keep:
            granted(await gate.admit(GPU, lease_s=0.2))

    with SERVERS[name]() as stores:
        gate = gate_on(stores, LIMITS)
        for number in range(4):
            asyncio.run(work(keep=number == 2))
        with gate.hold_sync(Claim(hold={"gpus": 2}), timeout_s=PATIENT_S):
            pass
        until(lambda: len(gate._members.all()) == 1)
        gate.close()


@pytest.mark.parametrize("name", EVERY_SERVER)
@pytest.mark.anyio
async def test_nonsense_is_refused_and_disturbs_nobody(name: str) -> None:
    half = "\ud800"
    nonsense = [
        Claim(tenant=half, take={"calls": 1}),
        Claim(tenant="a", take={"calls": 1}, id=half),
        Claim(tenant="a", take={"calls": 1}, attributes={half: "b"}, id="x"),
        Claim(tenant="a", take={"calls": 1}, attributes={"b": object()}, id="x"),  # type: ignore[dict-item]
        Claim(tenant="a", take={"calls": 1}, priority=2**70),
        Claim(tenant="a", take={"calls": 2**70}),
        Claim(tenant="a", host="h" * 2_000, take={"hosts": 1}),
    ]
    limits = [*LIMITS, RateLimit("hosts", units=9, period_s=9, per=("host",))]
    with SERVERS[name]() as stores:
        gate = gate_on(stores, limits)
        for claim in nonsense:
            with pytest.raises(InvalidClaim):
                await gate.admit(claim)
        lease = granted(await gate.admit(Claim(take={"calls": 1})))
        for units in (-1, True, 1.5, 2**70):
            with pytest.raises(InvalidClaim):
                lease.settle({"calls": units})  # type: ignore[dict-item]
            with pytest.raises(InvalidClaim):
                await asyncio.to_thread(gate.set_used, "calls", Claim(), units)  # type: ignore[arg-type]
        with pytest.raises(InvalidClaim, match="gpus"):
            await asyncio.to_thread(gate.drain, "gpus", Claim())
        assert lease.settle({"calls": 3})
        granted(await gate.admit(GPU))
        await gate.aclose()


@pytest.mark.parametrize("name", EVERY_SERVER)
@pytest.mark.anyio
async def test_a_gate_that_is_closed_tells_holders_and_those_who_wait(name: str) -> None:
    async def hold() -> str:
        try:
            async with gate.hold(Claim(hold={"gpus": 2}), timeout_s=PATIENT_S):
                held.set()
                await asyncio.sleep(PATIENT_S)
        except (LeaseLost, AdmissionDenied, StoreUnavailable) as error:
            return type(error).__name__
        return "went on"

    with SERVERS[name]() as stores:
        gate, other = gate_on(stores, LIMITS), gate_on(stores, LIMITS)
        held = asyncio.Event()
        holder = asyncio.create_task(hold())
        await held.wait()
        waiter = asyncio.create_task(hold())
        while not gate.queue_depth:
            await asyncio.sleep(0.01)
        await gate.aclose()
        assert (await holder, await waiter) == ("LeaseLost", "AdmissionDenied")
        with pytest.raises(StoreUnavailable, match="closed"):
            await gate.admit(GPU)
        async with other.hold(Claim(hold={"gpus": 2}), timeout_s=PATIENT_S):
            pass
        await other.aclose()


@pytest.mark.anyio
async def test_what_holds_nothing_cannot_be_lost() -> None:
    gate = gate_on(stores_of(Server()), LIMITS)
    async with gate.hold(Claim(take={"calls": 1}), lease_s=0.03):
        await asyncio.sleep(0.2)
    await gate.aclose()


def test_an_adopted_lease_is_given_back_once() -> None:
    server = Server()
    gate = gate_on(stores_of(server), LIMITS)
    own = granted(gate.admit_sync(GPU))
    now_us = time.time_ns() // 1000
    record = LeaseRecord(id="old-1", claim=GPU, fencing_token=1, expires_us=now_us + 10**8)
    gate.adopt(record)
    adopted = gate.lease("old-1")
    assert adopted is not None
    assert [adopted.release() for _ in range(3)] == [True, False, False]
    until(lambda: server.level("gpus") == 1)
    own.release()
    until(lambda: server.level("gpus") == 0)
    gate.close()


@pytest.mark.anyio
async def test_a_crowd_at_a_leased_limit_draws_once_and_is_served_to_the_last() -> None:
    limit = RateLimit("calls", units=2_000, period_s=600, burst=2_000, leased=50)
    gate = gate_on(stores_of(Server()), [limit])
    first = await asyncio.gather(*(gate.admit(Claim(take={"calls": 1})) for _ in range(20)))
    assert all(isinstance(decision, Granted) for decision in first)
    (state,) = await gate.limits_soon(Claim())
    assert state.units - state.remaining <= 50

    async def held() -> None:
        async with gate.hold(Claim(take={"calls": 1}), timeout_s=PATIENT_S):
            pass

    await asyncio.gather(*(held() for _ in range(1_000)))
    await gate.aclose()


@pytest.mark.anyio
async def test_a_long_queue_hears_of_other_limits() -> None:
    gate = gate_on(stores_of(Server()), LIMITS, waiters_max=3_000)
    kept = granted(await gate.admit(Claim(hold={"gpus": 2})))
    crowd = [
        asyncio.create_task(_outcome(gate.hold(GPU, timeout_s=PATIENT_S))) for _ in range(1_500)
    ]
    while gate.queue_depth < 1_500:
        await asyncio.sleep(0.01)
    gate.set_policy(type(gate.policy)(LIMITS[1:]))
    assert set(await asyncio.gather(*crowd)) == {"InvalidClaim"}
    kept.release()
    await gate.aclose()


async def _outcome(hold: object) -> str:
    try:
        async with hold:  # type: ignore[attr-defined]
            return "held"
    except (AdmissionDenied, InvalidClaim) as error:
        return type(error).__name__


@pytest.mark.anyio
async def test_the_gate_stays_shut_while_the_store_is_down() -> None:
    server = Server()
    shut = [False]

    def precheck(_claim: Claim) -> Denied | None:
        return Denied("suspended") if shut[0] else None

    limits: list[Limit] = [RateLimit("calls", units=9, period_s=9, when_down="open")]
    gate = gate_on(stores_of(server), limits, precheck=precheck)
    server.down = True
    claim = Claim(take={"calls": 1})
    granted(await gate.admit(claim))
    granted(gate.try_admit(claim))
    shut[0] = True
    decision = gate.try_admit(claim)
    assert isinstance(decision, Denied)
    assert (decision.reason, gate.decisions["suspended"]) == ("suspended", 1)
    await gate.aclose()


@pytest.mark.anyio
async def test_a_reply_that_comes_between_loss_and_telling_is_worth_nothing() -> None:
    """The pulse may declare a member lost after its reply was taken, before it was told."""
    gate = gate_on(stores_of(Server()), LIMITS)
    lease = granted(await gate.admit(Claim(take={"calls": 10})))
    _, member = gate._members.here()
    session = member.session
    tell = session.tell

    def lose_first() -> None:
        session.tell = tell  # type: ignore[method-assign]
        session.lose()
        tell()

    session.tell = lose_first  # type: ignore[method-assign]
    lease.settle({"calls": 4})
    decision = await gate.admit(Claim(take={"calls": 1}))
    granted(decision)
    (state,) = [s for s in await gate.limits_soon(Claim()) if s.name == "calls"]
    # Six came back once, however often the batch was to be made again.
    assert 1000 - state.remaining in (5, 6, 7)
    await gate.aclose()


def test_threads_keep_their_timeout_while_a_store_stands_still() -> None:
    server = Server()
    gate = gate_on(stores_of(server), LIMITS)
    frozen = threading.Event()
    apply = server.apply
    kept = granted(gate.admit_sync(Claim(hold={"gpus": 2})))
    server.apply = lambda batch: (frozen.wait(3), apply(batch))[1]  # type: ignore[method-assign]
    took_s: list[float] = []

    def work() -> None:
        begun_s = time.monotonic()
        with pytest.raises(AdmissionDenied), gate.hold_sync(GPU, timeout_s=0.5):
            pass
        took_s.append(time.monotonic() - begun_s)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    frozen.set()
    # One of them carries, and is kept by the store itself; the others only wait.
    assert sorted(took_s)[-2] < 3
    kept.release()
    gate.close()
