"""What only the store in memory has: cells that come and go, generations, hints, expiries."""

from __future__ import annotations

from typing import Any

import pytest

from tidegate import Capacity, Claim, Denied, Gate, Granted, RateLimit
from tidegate.adapters.memory import cells, lease_table
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import SlidingWindow
from tidegate.errors import InvalidClaim
from tidegate.testing import START_US, FakeClock

PER_HOST = ("tenant", "host")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def overflowed(gate: Gate, name: str) -> int:
    return gate.counted.get(f"overflowed:{name}", 0)


def test_refused_claims_do_not_use_up_the_keys_of_a_tenant(clock: FakeClock) -> None:
    limits = (RateLimit("calls", units=1, period_s=60, per=PER_HOST), Capacity("slots", units=1))
    gate = Gate(limits, clock=clock)
    gate.try_admit(Claim(hold={"slots": 1}), lease_s=3600)
    for _ in range(cells.TENANT_KEYS_MAX + 5):
        claim = Claim(tenant="x", host="h", take={"calls": 1}, hold={"slots": 1})
        assert isinstance(gate.try_admit(claim), Denied)
    assert isinstance(gate.try_admit(Claim(tenant="x", host="i", take={"calls": 1})), Granted)
    assert overflowed(gate, "calls") == 0


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param({"take": {"calls": 2, "nothing": 1}}, id="a resource without a limit"),
        pytest.param({"take": {"calls": 2}, "hold": {"slots": 0}}, id="an amount below one"),
        pytest.param({"take": {"calls": 2, "pages": 1}}, id="a scope that is not said"),
    ],
)
def test_an_invalid_claim_takes_nothing(clock: FakeClock, wrong: dict[str, Any]) -> None:
    limits = (
        RateLimit("calls", units=5, period_s=60, per=("tenant",)),
        RateLimit("pages", units=5, period_s=60, per=PER_HOST),
        Capacity("slots", units=1),
    )
    gate = Gate(limits, clock=clock)
    one = Claim(tenant="x", take={"calls": 1})
    gate.try_admit(one)
    with pytest.raises(InvalidClaim):
        gate.try_admit(Claim(tenant="x", **wrong))
    assert [state.remaining for state in gate.limits_touched(one)] == [4]


def test_a_capacity_forgets_the_cells_that_are_empty_again(clock: FakeClock) -> None:
    gate = Gate((Capacity("slots", units=1, per=PER_HOST),), clock=clock)
    for turn in range(3):
        for number in range(cells.TENANT_KEYS_MAX):
            claim = Claim(tenant="x", host=f"{turn}-{number}", hold={"slots": 1})
            granted = gate.try_admit(claim)
            assert isinstance(granted, Granted)
            granted.release()
        # One more cell than is kept, so that the turn drops those that are empty.
        gate.try_admit(Claim(tenant="y", host=str(turn), hold={"slots": 1}), lease_s=3600)
        clock.advance(us=cells.STOCK_TURN_US)
    assert overflowed(gate, "slots") == 0
    again = Claim(tenant="y", host="0", hold={"slots": 1})
    assert isinstance(gate.try_admit(again), Denied)


def test_a_debt_is_paid_however_long_that_takes(clock: FakeClock) -> None:
    gate = Gate((RateLimit("tokens", units=10, period_s=1, per=("tenant",)),), clock=clock)
    granted = gate.try_admit(Claim(tenant="x", take={"tokens": 1}))
    assert isinstance(granted, Granted)
    granted.settle({"tokens": 101})
    for second in range(9):
        clock.advance(seconds=1)
        # Others keep the generations turning.
        gate.try_admit(Claim(tenant="y", take={"tokens": 1}))
        denied = gate.explain(Claim(tenant="x", take={"tokens": 1}))
        assert denied is not None, second
        assert denied.retry_after_us == (101 - 10 - 10 * (second + 1) + 1) * 100_000
    clock.advance(us=200_000)
    assert isinstance(gate.try_admit(Claim(tenant="x", take={"tokens": 1})), Granted)
    assert isinstance(gate.try_admit(Claim(tenant="x", take={"tokens": 1})), Denied)


def test_a_cell_of_the_older_generation_counts(clock: FakeClock) -> None:
    gate = Gate((RateLimit("calls", units=10, period_s=1, per=("tenant",)),), clock=clock)
    claim = Claim(tenant="x", take={"calls": 10})
    clock.advance(us=999_999)
    assert isinstance(gate.try_admit(claim), Granted)
    clock.advance(us=2)
    denied = gate.try_admit(claim)
    assert isinstance(denied, Denied)
    assert denied.retry_after_us == 1_000_000 - 2


def test_a_hint_follows_every_lease(clock: FakeClock) -> None:
    gate = Gate((Capacity("slots", units=2),), clock=clock)
    claim = Claim(hold={"slots": 1})

    def hint() -> int | None:
        denied = gate.try_admit(claim)
        assert isinstance(denied, Denied)
        return denied.retry_after_us

    first, second = gate.try_admit(claim, lease_s=10), gate.try_admit(claim, lease_s=20)
    assert isinstance(first, Granted)
    assert isinstance(second, Granted)
    assert hint() == hint() == 10_000_000
    gate.renew(first.id, lease_s=30)
    assert hint() == 20_000_000
    second.release()
    gate.try_admit(claim, lease_s=5)
    assert hint() == 5_000_000


def test_many_leases_expire_in_their_order(clock: FakeClock) -> None:
    count = 2 * lease_table.STALE_SPARE
    gate = Gate((Capacity("slots", units=count),), clock=clock)
    claim = Claim(hold={"slots": 1})
    leases = [gate.try_admit(claim, lease_s=1 + number % 50) for number in range(count)]
    assert isinstance(gate.try_admit(claim), Denied)
    for granted in leases[::3]:
        assert isinstance(granted, Granted)
        granted.release()
    kept = [number for number in range(count) if number % 3]
    for seconds in range(1, 51):
        clock.advance(seconds=1)
        live = sum(1 + number % 50 > seconds for number in kept)
        gate.limits(claim)
        assert gate.leases_active == live


def test_adopted_leases_keep_apart_whatever_their_order(clock: FakeClock) -> None:
    gate = Gate((Capacity("slots", units=9),), clock=clock)
    expires_us = START_US + 60_000_000

    def adopt(name: str) -> None:
        claim = Claim(hold={"slots": 1})
        gate.adopt(LeaseRecord(id=name, claim=claim, fencing_token=7, expires_us=expires_us))

    adopt("a")
    adopt("b")
    assert gate.release_lease("a")
    adopt("c")
    assert gate.leases_active == 2
    assert gate.release_lease("b")
    assert gate.release_lease("c")
    assert gate.limits(Claim())[0].remaining == 9


def test_a_sliding_window_forgets_keys_that_have_emptied(clock: FakeClock) -> None:
    limit = SlidingWindow("mails", units=3, period_s=1, per=PER_HOST)
    gate = Gate((limit,), clock=clock)
    for _ in range(3):
        for number in range(cells.TENANT_KEYS_MAX):
            gate.try_admit(Claim(tenant="x", host=str(number), take={"mails": 1}))
        clock.advance(seconds=10)
    assert overflowed(gate, "mails") == 0


def test_an_unknown_outcome_changes_nothing(clock: FakeClock) -> None:
    gate = Gate((Capacity("slots", units=1),), clock=clock)
    granted = gate.try_admit(Claim(hold={"slots": 1}))
    assert isinstance(granted, Granted)
    with pytest.raises(KeyError):
        granted.release("no such outcome")  # type: ignore[arg-type]
    assert gate.leases_active == 1
    assert granted.release()
