"""Near limits: told once for each crossing, outside every lock, whatever the listener does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tidegate import Capacity, Claim, Gate, Granted, Quota, RateLimit, SlidingWindow
from tidegate.domain.decision import Decision
from tidegate.domain.limit import Limit
from tidegate.facades import near_limits
from tidegate.facades.near import NOTED_MAX, NearEvents
from tidegate.facades.near_limits import LOG_EVERY_US, RECENT_MAX, NearLimits
from tidegate.testing import FakeClock

LIMITS: list[Limit] = [
    RateLimit("mails", units=10, period_s=60, per=("tenant",)),
    SlidingWindow("calls", units=10, period_s=60, per=("tenant",), near_percent=50),
    Quota("tokens", units=10, period="day", per=("tenant",), shadow=True),
    Capacity("seats", units=10, soft=3),
]

Event = tuple[str, tuple[str, ...], int]


def granted(decision: Decision) -> Granted:
    assert isinstance(decision, Granted)
    return decision


def test_who_waited_is_told_of_too_and_nobody_is_held_up_by_the_listener() -> None:
    heard = threading.Event()
    go_on = threading.Event()

    def listener(limit: str, scope: tuple[str, ...], remaining: int) -> None:
        heard.set()
        assert go_on.wait(30)

    gate = Gate([Capacity("seats", units=10, near_percent=90)], on_near=listener)
    first = granted(gate.try_admit(Claim(hold={"seats": 5})))
    entered = threading.Event()

    def wait() -> None:
        with gate.hold_sync(Claim(hold={"seats": 10}), timeout_s=30):
            entered.set()

    waiter = threading.Thread(target=wait)
    waiter.start()
    while not gate.queue_depth:
        assert waiter.is_alive()
    releasing = threading.Thread(target=first.release)
    releasing.start()
    assert heard.wait(30)
    # The listener blocks whoever released, and neither the waiter nor anybody else.
    assert entered.wait(30)
    waiter.join(30)
    granted(gate.try_admit(Claim(hold={"seats": 1})))
    go_on.set()
    releasing.join(30)
    gate.close()


def test_events_that_nobody_comes_to_tell_are_bounded() -> None:
    heard: list[Event] = []
    events = NearEvents(lambda *event: heard.append(event))
    for number in range(NOTED_MAX + 5):
        events.note("l", (), number)
    events.tell()
    assert [remaining for _, _, remaining in heard] == list(range(5, NOTED_MAX + 5))


def test_a_cohort_is_not_taken_for_a_tenant_of_its_name() -> None:
    limits = [Quota("tokens", units=10, period="day", per=("cohort",))]
    clock = FakeClock()
    near = NearLimits(clock.now_us)
    gate = Gate(limits, clock=clock, cohorts={"gold": ["gold", "a"]}, on_near=near.heard)
    granted(gate.try_admit(Claim(tenant="a", take={"tokens": 9})))
    assert near.counted == {"tokens": 1}
    assert near.usage(gate) == {}


def test_a_log_line_comes_once_a_minute_for_a_limit_and_scope(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    near = NearLimits(clock.now_us)
    near.heard("mails", ("a",), 2)
    near.heard("mails", ("a",), 2)
    near.heard("mails", ("b",), 1)
    assert [record.getMessage() for record in caplog.records] == [
        "limit mails of a is near: 2 left",
        "limit mails of b is near: 1 left",
    ]
    clock.advance(us=LOG_EVERY_US)
    near.heard("mails", ("a",), 2)
    assert len(caplog.records) == 3
    assert near.counted == {"mails": 4}
    monkeypatch.setattr(near_limits, "LOGGED_MAX", 2)
    near.heard("mails", ("c",), 2)
    assert len(near._logged_us) == 1


def near_gate() -> tuple[Gate, NearLimits, Callable[[str, int], None]]:
    clock = FakeClock()
    near = NearLimits(clock.now_us)
    gate = Gate(LIMITS, clock=clock, on_near=near.heard)

    def take(tenant: str, units: int) -> None:
        granted(gate.try_admit(Claim(tenant=tenant, take={"mails": units})))

    return gate, near, take


def test_usage_is_shown_of_those_to_whom_a_limit_is_near_now() -> None:
    gate, near, take = near_gate()
    take("a", 9)
    take("b", 7)
    take("c", 10)
    usage = near.usage(gate)
    assert {key: round(value, 3) for key, value in usage.items()} == {
        ("a", "mails"): 0.9,
        ("c", "mails"): 1.0,
    }
    gate.reset("mails", Claim(tenant="c"))
    assert set(near.usage(gate)) == {("a", "mails")}
    near.remember("gone", "a")
    assert set(near.usage(gate)) == {("a", "mails")}


def test_usage_looks_at_so_many_at_most() -> None:
    gate, near, take = near_gate()
    for number in range(RECENT_MAX + 20):
        take(f"t{number}", 9)
    usage = near.usage(gate)
    assert len(usage) == RECENT_MAX
    assert ("t0", "mails") not in usage
