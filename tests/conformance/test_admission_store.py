"""What every admission store promises, seen through the gate, with the pure rule as oracle."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from tests.conformance.gates import EVERY_STORE, NOW_US, granted, open_gate, refused
from tidegate import Claim, Denied, Gate, Lease
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.policy import Policy
from tidegate.errors import ClaimIdReused, InvalidClaim, LeaseLost
from tidegate.testing import FakeClock

LEASE_S = 30.0
LIMITS: list[Limit] = [
    RateLimit("requests", units=5, period_s=1, burst=8, per=("tenant",)),
    RateLimit("host_requests", units=3, period_s=2, burst=3, per=("tenant", "host")),
    Quota("operations", units=20, period="minute", per=("tenant",)),
    SlidingWindow("mails", units=3, period_s=10, per=("tenant",)),
    SlidingWindow("calls", units=10, period_s=10, exact=False),
    Capacity("browsers", units=3),
    Capacity("sessions", units=2, per=("tenant",)),
    Capacity("gpus", units=4, per=("tenant",), lend=None, borrow=None),
]
COHORTS = {"lab": ("x", "y")}
REQUEST = Claim(take={"requests": 1})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_US)


@pytest.fixture(params=EVERY_STORE)
def gate(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Gate]:
    with open_gate(request.param, LIMITS, clock, cohorts=COHORTS) as gate:
        yield gate


def browsers(count: int, **fields: str) -> Claim:
    return Claim(hold={"browsers": count}, **fields)  # type: ignore[arg-type]


def left(gate: Gate, claim: Claim) -> dict[str, tuple[int, int | None]]:
    return {s.name: (s.remaining, s.reset_us) for s in gate.limits_touched(claim)}


def test_all_or_nothing(gate: Gate) -> None:
    granted(gate.admit_sync(browsers(3)))
    both = Claim(take={"requests": 1}, hold={"browsers": 1})
    assert refused(gate.admit_sync(both)).limit == "browsers"
    assert left(gate, both)["requests"] == (8, 0)


def test_release_gives_back_once(gate: Gate) -> None:
    lease = granted(gate.admit_sync(browsers(3)))
    assert lease.release()
    assert not lease.release()
    granted(gate.admit_sync(browsers(3)))
    refused(gate.admit_sync(browsers(1)))


def test_an_expired_lease_comes_back_by_itself_and_is_reported_once(
    gate: Gate, clock: FakeClock
) -> None:
    lease = granted(gate.admit_sync(browsers(3)))
    clock.advance(us=30_000_000 - 1)
    refused(gate.admit_sync(browsers(1)))
    clock.advance(us=1)
    granted(gate.admit_sync(browsers(3)))
    assert [(r.id, r.expires_us) for r in gate.reclaim()] == [(lease.id, NOW_US + 30_000_000)]
    assert gate.reclaim() == []
    with pytest.raises(LeaseLost):
        gate.renew(lease.id)
    assert not lease.release()


def test_renewing_moves_the_expiry(gate: Gate, clock: FakeClock) -> None:
    lease = granted(gate.admit_sync(browsers(3)))
    clock.advance(us=30_000_000 - 1)
    assert gate.renew(lease.id) == clock.now_us() + 30_000_000 == lease.expires_us
    clock.advance(us=30_000_000 - 1)
    assert not refused(gate.admit_sync(browsers(1))).timed
    clock.advance(us=1)
    granted(gate.admit_sync(browsers(3)))


@pytest.mark.parametrize("name", EVERY_STORE)
def test_a_lease_may_not_be_held_for_longer_than_its_capacity_allows(
    name: str, clock: FakeClock
) -> None:
    limits: list[Limit] = [Capacity("gpu", units=1, hold_max_s=60)]
    with open_gate(name, limits, clock) as gate:
        lease = granted(gate.admit_sync(Claim(hold={"gpu": 1})))
        for _ in range(3):
            clock.advance(seconds=19)
            expires_us = gate.renew(lease.id)
        assert expires_us == lease.granted_us + 60_000_000
        clock.advance(seconds=3)
        with pytest.raises(LeaseLost):
            gate.renew(lease.id)


def test_a_refused_capacity_hints_at_its_own_earliest_expiry(gate: Gate, clock: FakeClock) -> None:
    granted(gate.admit_sync(browsers(3)))
    other = Claim(hold={"sessions": 2})
    lease = granted(gate.admit_sync(other, lease_s=1))
    # A store that knows of no single lease gives no hint; a wrong one nobody gives.
    hint_us = refused(gate.admit_sync(browsers(1))).retry_after_us
    assert hint_us in (30_000_000, None)
    assert refused(gate.admit_sync(other)).retry_after_us == (hint_us and 1_000_000)
    lease.release()
    clock.advance(us=1)
    left_us = refused(gate.admit_sync(browsers(1))).retry_after_us
    assert left_us == (hint_us and 30_000_000 - 1)


def test_a_retried_claim_is_granted_once(gate: Gate) -> None:
    first = granted(gate.admit_sync(browsers(2, id="a")))
    again = granted(gate.admit_sync(browsers(2, id="a")))
    assert (again.id, again.fencing_token) == (first.id, first.fencing_token)
    assert again.repeated
    assert not first.repeated
    granted(gate.admit_sync(browsers(1)))
    first.release()
    assert granted(gate.admit_sync(browsers(2, id="a"))).repeated


def test_a_claim_id_belongs_to_its_tenant_and_to_the_whole_claim(gate: Gate) -> None:
    claim = Claim(tenant="x", host="h", take={"host_requests": 1}, id="a")
    granted(gate.admit_sync(claim))
    assert not granted(gate.admit_sync(msgspec.structs.replace(claim, tenant="y"))).repeated
    for other in (
        msgspec.structs.replace(claim, host="i"),
        msgspec.structs.replace(claim, take={"host_requests": 2}),
    ):
        with pytest.raises(ClaimIdReused):
            gate.admit_sync(other)
    urgent = msgspec.structs.replace(claim, priority=900)
    assert granted(gate.admit_sync(urgent)).repeated


def test_a_claim_id_is_forgotten_some_time_after_its_lease(gate: Gate, clock: FakeClock) -> None:
    granted(gate.admit_sync(browsers(1, id="a"))).release()
    clock.advance(seconds=59)
    assert granted(gate.admit_sync(browsers(1, id="a"))).repeated
    clock.advance(seconds=2)
    assert not granted(gate.admit_sync(browsers(1, id="a"))).repeated


def test_a_refused_claim_id_may_try_again(gate: Gate) -> None:
    lease = granted(gate.admit_sync(browsers(3)))
    refused(gate.admit_sync(browsers(1, id="a")))
    lease.release()
    assert not granted(gate.admit_sync(browsers(1, id="a"))).repeated


def test_a_voided_grant_frees_its_claim_id_and_puts_back_what_it_took(gate: Gate) -> None:
    claim = Claim(
        host="h",
        take={"requests": 3, "host_requests": 2, "operations": 5, "mails": 2, "calls": 4},
        hold={"browsers": 3},
        id="a",
    )
    before = left(gate, claim)
    gate.void_lease(granted(gate.admit_sync(claim)))
    assert {name: n for name, (n, _) in left(gate, claim).items()} == {
        name: n for name, (n, _) in before.items()
    }
    assert not granted(gate.admit_sync(claim)).repeated


def test_a_grant_that_a_retry_has_heard_of_is_the_retrys(gate: Gate) -> None:
    first = granted(gate.admit_sync(browsers(3, id="a")))
    again = granted(gate.admit_sync(browsers(3, id="a")))
    assert again.repeated
    gate.void_lease(first)
    refused(gate.admit_sync(browsers(1)))
    assert again.release()
    granted(gate.admit_sync(browsers(3)))


def test_fencing_tokens_grow_also_when_the_clock_does_not(gate: Gate, clock: FakeClock) -> None:
    tokens = []
    for step_us in (0, 0, -1_000_000, 2_000_000):
        clock.set(clock.now_us() + step_us)
        tokens.append(granted(gate.admit_sync(REQUEST)).fencing_token)
    assert tokens == sorted(set(tokens))


def test_explain_and_limits_change_nothing(gate: Gate) -> None:
    claim = Claim(take={"requests": 8})
    for _ in range(3):
        assert gate.explain(claim) is None
        assert left(gate, claim) == {"requests": (8, 0)}
    granted(gate.admit_sync(claim))
    denied = gate.explain(claim)
    assert isinstance(denied, Denied)
    assert denied.retry_after_us == 8 * 1_000_000 // 5
    assert left(gate, claim) == {"requests": (0, 8 * 1_000_000 // 5)}


def test_adopted_leases_hold_even_above_the_ceiling_and_only_once(gate: Gate) -> None:
    granted(gate.admit_sync(browsers(2)))
    record = LeaseRecord(
        id="old",
        claim=browsers(2, id="a"),
        fencing_token=NOW_US * 2,
        expires_us=NOW_US + 30_000_000,
    )
    gate.adopt(record)
    gate.adopt(record)
    refused(gate.admit_sync(browsers(1)))
    again = granted(gate.admit_sync(browsers(2, id="a")))
    assert (again.id, again.fencing_token, again.repeated) == ("old", NOW_US * 2, True)
    assert gate.release_lease("old")
    assert granted(gate.admit_sync(browsers(1))).fencing_token > NOW_US * 2


@pytest.mark.parametrize("store", EVERY_STORE)
@pytest.mark.parametrize(("units", "burst"), [(20, 40), (333, 999), (7, 1)])
def test_a_changed_rate_keeps_what_was_spent(
    store: str, units: int, burst: int, clock: FakeClock
) -> None:
    limits: list[Limit] = [RateLimit("r", units=999, period_s=1, burst=2000)]
    with open_gate(store, limits, clock) as gate:
        granted(gate.admit_sync(Claim(take={"r": min(burst, 5)})))
        gate.set_policy(Policy([RateLimit("r", units=units, period_s=1, burst=burst)]))
        assert left(gate, Claim(take={"r": 1}))["r"][0] == burst - min(burst, 5)


def test_operators_correct_levels(gate: Gate) -> None:
    for limit in ("operations", "requests", "mails", "calls"):
        claim = Claim(take={limit: 1})
        gate.drain(limit, claim)
        assert refused(gate.admit_sync(claim)).remaining == 0
        gate.set_used(limit, claim, 2)
        granted(gate.admit_sync(claim))
        gate.reset(limit, claim)
        state = next(s for s in gate.limits_touched(claim))
        assert state.remaining == state.units
    with pytest.raises(InvalidClaim):
        gate.set_used("no such limit", REQUEST, 1)


def test_leases_are_listed_by_tenant_and_holder(gate: Gate) -> None:
    granted(gate.admit_sync(browsers(1, tenant="x"), holder="me"))
    lease = granted(gate.admit_sync(browsers(1, tenant="y"), holder="you"))
    for wanted in ({"tenant": "y"}, {"holder": "you"}):
        assert [record.id for record in gate.leases(**wanted)] == [lease.id]
    assert len(gate.leases()) == gate.leases_active == 2


def test_a_lease_says_what_it_was_for(gate: Gate) -> None:
    claim = Claim(tenant="x", hold={"browsers": 1}, id="a")
    lease: Lease = granted(gate.admit_sync(claim, holder="me"))
    record = gate.leases(tenant="x")[0]
    assert (record.claim, record.holder, record.id) == (claim, "me", lease.id)
