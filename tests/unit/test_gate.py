"""The gate: what callers see of decisions."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.unit.gates import BOTH, BROWSER, LIMITS, lease_of
from tidegate import (
    AdmissionDenied,
    Capacity,
    Claim,
    Denied,
    Gate,
    Granted,
    Quota,
)
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import Limit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim, InvalidLimit, InvalidSetting
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate(LIMITS)
    yield gate
    gate.close()
    assert gate.leases() == []
    assert gate.queue_depth == 0


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


def test_a_store_that_cannot_be_is_refused_without_its_password() -> None:
    for url in ("pigeon://user:secret@host", "redis", "sqlite://", "sqlite:///"):
        with pytest.raises(InvalidSetting) as caught:
            Gate(store=url)
        assert caught.value.field.startswith("store")
        assert "secret" not in str(caught.value)


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


def test_a_lifted_limit_still_counts(gate: Gate) -> None:
    lifted: dict[Pattern, dict[str, Override]] = {"a": {"operations": Override(units=None)}}
    gate.set_policy(Policy(LIMITS, overrides=lifted))
    assert isinstance(gate.try_admit(Claim(tenant="a", take={"operations": 5000})), Granted)
    assert "operations" not in {state.name for state in gate.limits(Claim(tenant="a"))}
    gate.set_policy(Policy(LIMITS))
    assert isinstance(gate.try_admit(Claim(tenant="a", take={"operations": 1})), Denied)


def test_what_is_held_stays_held_when_the_limit_was_lowered_meanwhile() -> None:
    record = LeaseRecord(
        id="old", claim=Claim(hold={"browsers": 5}), fencing_token=1, expires_us=2**60
    )
    gate = Gate(LIMITS)
    gate.adopt(record)
    assert isinstance(gate.try_admit(BROWSER), Denied)
    assert gate.release_lease("old")
    assert isinstance(gate.try_admit(BROWSER), Granted)


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


def test_a_lease_of_an_earlier_process_ends_by_its_grant_and_settles_in_its_window() -> None:
    clock = FakeClock()
    limits: list[Limit] = [
        Capacity("browsers", units=3, hold_max_s=100),
        Quota("tokens", units=10, period="minute"),
    ]
    now_us = clock.now_us()
    claim = Claim(take={"tokens": 4}, hold={"browsers": 1}, id="x")
    record = LeaseRecord(
        id="old",
        claim=claim,
        fencing_token=1,
        expires_us=now_us + 30_000_000,
        granted_us=now_us - 90_000_000,
    )
    gate = Gate(limits, clock=clock)
    gate.adopt(record)
    gate.set_used("tokens", claim, 8)
    assert gate.leases() == [record]
    assert gate.renew("old", lease_s=60) == now_us + 10_000_000
    assert gate.settle_lease("old", {"tokens": 0})
    # What was taken in an earlier minute does not come back in this one.
    assert {state.name: state.remaining for state in gate.limits(claim)}["tokens"] == 2


async def test_who_waits_for_many_leases_hears_of_the_first_that_expires() -> None:
    gate = Gate([Capacity("seats", units=200)])
    for _ in range(200):
        assert isinstance(gate.try_admit(Claim(hold={"seats": 1}), lease_s=0.3), Granted)
    async with gate.hold(Claim(hold={"seats": 1}), timeout_s=30):
        pass
    await gate.aclose()


@pytest.mark.parametrize("units", [True, 1.0, "1", -1, None])
def test_what_was_used_is_an_integer(gate: Gate, units: object) -> None:
    lease = gate.try_admit(Claim(tenant="a", take={"requests": 3}))
    assert isinstance(lease, Granted)
    with pytest.raises(InvalidClaim, match=r"actual\.requests"):
        lease.settle({"requests": units})  # type: ignore[dict-item]
    assert lease.settle({"requests": 1})


@pytest.mark.parametrize("priority", [-1, 1001, 2**70, True, None])
def test_priorities_have_a_range(gate: Gate, priority: int) -> None:
    claim = Claim(tenant="a", take={"requests": 1}, priority=priority)
    with pytest.raises(InvalidClaim, match="priority"):
        gate.explain(claim)


@pytest.mark.parametrize("tenant", ["", None, 5, b"a", "t" * 1_001])
@pytest.mark.parametrize("claim_id", [None, "x"])
def test_tenants_are_texts(gate: Gate, tenant: str, claim_id: str | None) -> None:
    with pytest.raises(InvalidClaim, match="tenant"):
        gate.try_admit(Claim(tenant=tenant, take={"requests": 1}, id=claim_id))
