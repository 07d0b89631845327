"""What every store promises of limits that come near: told once for each crossing, by its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.conformance.gates import EVERY_STORE, NOW_US, granted, open_gate, refused
from tests.conformance.sharing import EVERY_SERVER, SERVERS, gate_on
from tidegate import Capacity, Claim, Gate, Quota, RateLimit, SlidingWindow
from tidegate.domain.limit import Limit
from tidegate.facades.near import NearListener
from tidegate.testing import FakeClock

LIMITS: list[Limit] = [
    RateLimit("mails", units=10, period_s=60, per=("tenant",)),
    SlidingWindow("calls", units=10, period_s=60, per=("tenant",), near_percent=50),
    SlidingWindow("views", units=10, period_s=60, per=("tenant",), exact=False),
    Quota("tokens", units=10, period="day", per=("tenant",), shadow=True),
    Capacity("seats", units=10, soft=3),
    Capacity("gpus", units=4, per=("tenant",), near_percent=50, lend=None, borrow=None),
]
COHORTS = {"lab": ("a", "b")}
DEADLINE_S = 30

Event = tuple[str, tuple[str, ...], int]


@contextmanager
def opened(name: str, listener: NearListener) -> Iterator[Gate]:
    with open_gate(name, LIMITS, FakeClock(NOW_US), cohorts=COHORTS, on_near=listener) as gate:
        yield gate


@contextmanager
def listening(name: str) -> Iterator[tuple[Gate, list[Event]]]:
    heard: list[Event] = []
    with opened(name, lambda *event: heard.append(event)) as gate:
        yield gate, heard


def take(tenant: str, resource: str, units: int) -> Claim:
    return Claim(tenant=tenant, take={resource: units})


@pytest.mark.parametrize("name", EVERY_STORE)
def test_a_take_that_crosses_the_mark_is_told_once(name: str) -> None:
    with listening(name) as (gate, heard):
        for resource, first, then, left in (
            ("mails", 7, 1, 2),
            ("calls", 4, 1, 5),
            ("views", 7, 1, 2),
            ("tokens", 7, 2, 1),
        ):
            granted(gate.admit_sync(take("a", resource, first)))
            assert heard == []
            granted(gate.admit_sync(take("a", resource, then)))
            granted(gate.admit_sync(take("a", resource, 1)))
            granted(gate.admit_sync(take("b", resource, 1)))
            assert heard == [(resource, ("a",), left)]
            heard.clear()


@pytest.mark.parametrize("name", EVERY_STORE)
def test_a_soft_limit_is_told_at_each_crossing(name: str) -> None:
    with listening(name) as (gate, heard):
        for _ in range(2):
            leases = [granted(gate.admit_sync(Claim(hold={"seats": 2}))) for _ in range(3)]
            for lease in leases:
                lease.release()
        assert heard == [("seats", (), 6)] * 2


@pytest.mark.parametrize("name", EVERY_STORE)
def test_several_at_once_and_what_a_member_of_a_cohort_holds(name: str) -> None:
    with listening(name) as (gate, heard):
        claim = Claim(tenant="a", take={"mails": 8, "calls": 4}, hold={"gpus": 2}, id="1")
        granted(gate.admit_sync(claim))
        assert [event[:2] for event in heard] == [("mails", ("a",)), ("gpus", ("a",))]
        # A retry takes nothing.
        assert granted(gate.admit_sync(claim)).repeated
        assert len(heard) == 2


@pytest.mark.parametrize("name", EVERY_STORE)
def test_a_refusal_is_no_crossing_nor_is_what_a_shadow_lets_pass(name: str) -> None:
    with listening(name) as (gate, heard):
        granted(gate.admit_sync(Claim(hold={"seats": 2})))
        refused(gate.admit_sync(Claim(tenant="b", take={"mails": 9}, hold={"seats": 9})))
        granted(gate.admit_sync(take("a", "tokens", 7)))
        granted(gate.admit_sync(take("a", "tokens", 4)))
        assert heard == []


@pytest.mark.parametrize("name", EVERY_STORE)
def test_the_listener_may_ask_the_gate_and_may_fail(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[int] = []
    gates: list[Gate] = []

    def listener(limit: str, scope: tuple[str, ...], remaining: int) -> None:
        states = {state.name: state for state in gates[0].limits(Claim(tenant=scope[0]))}
        seen.append(states[limit].remaining)
        granted(gates[0].admit_sync(take(scope[0], limit, 1)))
        raise RuntimeError(f"with {remaining} left")

    with opened(name, listener) as gate:
        gates.append(gate)
        granted(gate.admit_sync(take("a", "mails", 9)))
        assert seen == [1]
        assert "the decision stands" in caplog.text
        refused(gate.admit_sync(take("a", "mails", 1)))


@pytest.mark.parametrize("name", EVERY_SERVER)
def test_the_process_whose_claim_crossed_is_told_and_no_other(name: str) -> None:
    heard: dict[str, list[Event]] = {"one": [], "two": []}
    with SERVERS[name]() as stores:
        one, two = (
            gate_on(stores, LIMITS, on_near=lambda *event, who=who: heard[who].append(event))
            for who in heard
        )
        silent = gate_on(stores, LIMITS)
        try:
            granted(one.admit_sync(take("a", "calls", 2)))
            granted(silent.admit_sync(take("a", "calls", 2)))
            granted(two.admit_sync(take("a", "calls", 2)))
            granted(one.admit_sync(take("a", "calls", 2)))
            assert heard == {"one": [], "two": [("calls", ("a",), 4)]}
        finally:
            for gate in (one, two, silent):
                gate.close()


@pytest.mark.parametrize("name", EVERY_SERVER)
def test_who_waited_is_told_of_too_and_never_by_the_pulse(name: str) -> None:
    told_in: list[str] = []
    heard = threading.Event()

    def listener(limit: str, scope: tuple[str, ...], remaining: int) -> None:
        told_in.append(threading.current_thread().name)
        heard.set()

    limits: list[Limit] = [Capacity("seats", units=10, near_percent=90)]
    with SERVERS[name]() as stores:
        gate = gate_on(stores, limits, on_near=listener)
        first = granted(gate.admit_sync(Claim(hold={"seats": 5})))

        def wait() -> None:
            with gate.hold_sync(Claim(hold={"seats": 10}), timeout_s=DEADLINE_S):
                assert heard.wait(DEADLINE_S)

        waiter = threading.Thread(target=wait, name="waiter")
        waiter.start()
        try:
            while not gate.queue_depth:
                assert waiter.is_alive()
            first.release()
            assert heard.wait(DEADLINE_S)
        finally:
            waiter.join(DEADLINE_S)
            gate.close()
        assert told_in in (["waiter"], [threading.main_thread().name])


@pytest.mark.parametrize("name", EVERY_SERVER)
@pytest.mark.anyio
async def test_tasks_are_told(name: str) -> None:
    heard: list[Event] = []
    with SERVERS[name]() as stores:
        gate = gate_on(stores, LIMITS, on_near=lambda *event: heard.append(event))
        try:
            claims = [take("a", "mails", 1) for _ in range(10)]
            for decision in await asyncio.gather(*map(gate.admit, claims)):
                granted(decision)
            assert [(limit, scope) for limit, scope, _ in heard] == [("mails", ("a",))]
        finally:
            await gate.aclose()
