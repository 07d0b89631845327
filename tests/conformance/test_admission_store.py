"""What every admission store promises, with the pure rule as oracle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec
import pytest

from tidegate.adapters.memory.admission_store import MemoryAdmissionStore
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import Capacity, Quota, RateLimit
from tidegate.domain.policy import Ask, Cell, Policy
from tidegate.errors import ClaimIdReused, LeaseLost
from tidegate.ports.admission_store import AdmissionInspect, AdmissionStore, Grant, Refusal

NOW_US = 1_795_000_000_000_000
SECOND_US = 1_000_000
LEASE_US = 30 * SECOND_US

POLICY = Policy(
    [
        RateLimit("requests", units=5, period_s=1, burst=8, per=("tenant",)),
        RateLimit("host_requests", units=3, period_s=2, burst=3, per=("tenant", "host")),
        Quota("operations", units=20, period="minute", per=("tenant",)),
        Capacity("browsers", units=3),
        Capacity("sessions", units=2, per=("tenant",)),
    ]
)


class Store(AdmissionStore, AdmissionInspect, Protocol):
    """Both ports, as every store keeps them."""


STORES: dict[str, Callable[[], Store]] = {
    "memory": lambda: MemoryAdmissionStore(now_us=lambda: NOW_US, lease_prefix="l"),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Store:
    return STORES[request.param]()


def ask(claim: Claim, *, now_us: int = NOW_US, lease_us: int = LEASE_US) -> Ask:
    return POLICY.ask(claim, lease_us=lease_us, now_us=now_us)


def browsers(count: int, **fields: str) -> Ask:
    return ask(Claim(hold={"browsers": count}, **fields))  # type: ignore[arg-type]


def granted(answer: Grant | Refusal) -> Grant:
    assert isinstance(answer, Grant)
    return answer


def refused(answer: Grant | Refusal | None) -> Refusal:
    assert isinstance(answer, Refusal)
    return answer


def test_all_or_nothing(store: Store) -> None:
    granted(store.admit(browsers(3)))
    both = ask(Claim(take={"requests": 1}, hold={"browsers": 1}))
    assert refused(store.admit(both)).row == 1
    assert store.look(both)[0] == (8, 0)


def test_release_gives_back_once(store: Store) -> None:
    lease = granted(store.admit(browsers(3)))
    assert store.release(lease.lease_id) == (Cell("browsers", ()),)
    assert store.release(lease.lease_id) is None
    granted(store.admit(browsers(3)))
    refused(store.admit(browsers(1)))


def test_an_expired_lease_comes_back_by_itself_and_is_reported_once(store: Store) -> None:
    lease = granted(store.admit(browsers(3), now_us=NOW_US))
    refused(store.admit(browsers(1), now_us=NOW_US + LEASE_US - 1))
    granted(store.admit(browsers(3), now_us=NOW_US + LEASE_US))
    expired = store.reclaim(now_us=NOW_US + LEASE_US)
    assert [(record.id, record.expires_us) for record in expired] == [
        (lease.lease_id, NOW_US + LEASE_US)
    ]
    assert store.reclaim(now_us=NOW_US + LEASE_US) == []
    with pytest.raises(LeaseLost):
        store.renew(lease.lease_id, lease_us=LEASE_US, now_us=NOW_US + LEASE_US)


def test_renewing_moves_the_expiry(store: Store) -> None:
    lease = granted(store.admit(browsers(3), now_us=NOW_US))
    later_us = NOW_US + LEASE_US - 1
    assert store.renew(lease.lease_id, lease_us=LEASE_US, now_us=later_us) == later_us + LEASE_US
    refusal = refused(store.admit(browsers(1), now_us=later_us + LEASE_US - 1))
    assert not refusal.timed
    granted(store.admit(browsers(3), now_us=later_us + LEASE_US))


def test_a_refused_capacity_hints_at_the_earliest_expiry(store: Store) -> None:
    granted(store.admit(browsers(3), now_us=NOW_US))
    assert refused(store.admit(browsers(1), now_us=NOW_US + 1)).wait_us == LEASE_US - 1


def test_the_hint_is_about_the_capacity_that_refused(store: Store) -> None:
    granted(store.admit(browsers(3), now_us=NOW_US))
    other = ask(Claim(hold={"sessions": 2}), lease_us=SECOND_US)
    lease = granted(store.admit(other, now_us=NOW_US))
    assert refused(store.admit(browsers(1), now_us=NOW_US)).wait_us == LEASE_US
    assert refused(store.admit(other, now_us=NOW_US)).wait_us == SECOND_US
    store.release(lease.lease_id, now_us=NOW_US)
    assert refused(store.admit(browsers(1), now_us=NOW_US)).wait_us == LEASE_US


def test_a_retried_claim_is_granted_once(store: Store) -> None:
    first = granted(store.admit(browsers(2, id="a")))
    again = granted(store.admit(browsers(2, id="a")))
    assert (again.lease_id, again.fencing_token) == (first.lease_id, first.fencing_token)
    assert again.repeated
    assert not first.repeated
    granted(store.admit(browsers(1)))
    store.release(first.lease_id)
    assert granted(store.admit(browsers(2, id="a"))).repeated


def test_a_claim_id_belongs_to_its_tenant_and_its_amounts(store: Store) -> None:
    granted(store.admit(browsers(1, id="a", tenant="x")))
    assert not granted(store.admit(browsers(1, id="a", tenant="y"))).repeated
    with pytest.raises(ClaimIdReused):
        store.admit(browsers(2, id="a", tenant="x"))


def test_a_refused_claim_id_may_try_again(store: Store) -> None:
    lease = granted(store.admit(browsers(3)))
    refused(store.admit(browsers(1, id="a")))
    store.release(lease.lease_id)
    assert not granted(store.admit(browsers(1, id="a"))).repeated


def test_a_voided_grant_frees_its_claim_id(store: Store) -> None:
    lease = granted(store.admit(browsers(3, id="a")))
    assert store.release(lease.lease_id, void=True) == (Cell("browsers", ()),)
    assert not granted(store.admit(browsers(2, id="a"))).repeated


def test_fencing_tokens_grow_also_when_the_clock_does_not(store: Store) -> None:
    tokens = [
        granted(store.admit(ask(Claim(take={"requests": 1})), now_us=now_us)).fencing_token
        for now_us in (NOW_US, NOW_US, NOW_US - SECOND_US, NOW_US + SECOND_US)
    ]
    assert tokens == sorted(set(tokens))


def test_explain_and_look_change_nothing(store: Store) -> None:
    claim = ask(Claim(take={"requests": 8}))
    for _ in range(3):
        assert store.explain(claim) is None
        assert store.look(claim) == [(8, 0)]
    granted(store.admit(claim))
    assert refused(store.explain(claim)).wait_us == 8 * SECOND_US // 5
    assert store.look(claim) == [(0, 8 * SECOND_US // 5)]


def test_adopted_leases_hold_even_above_the_ceiling_and_only_once(store: Store) -> None:
    granted(store.admit(browsers(2)))
    claim = Claim(hold={"browsers": 2})
    record = LeaseRecord(
        id="old", claim=claim, fencing_token=NOW_US * 2, expires_us=NOW_US + LEASE_US
    )
    store.adopt(record, ask(claim))
    store.adopt(record, ask(claim))
    refused(store.admit(browsers(1)))
    assert store.release("old") == (Cell("browsers", ()),)
    assert granted(store.admit(browsers(1))).fencing_token > NOW_US * 2


def test_a_voided_grant_puts_back_what_it_took(store: Store) -> None:
    claim = ask(
        Claim(host="h", take={"requests": 3, "host_requests": 2, "operations": 5}, id="a"),
        now_us=NOW_US,
    )
    before = store.look(claim)
    store.release(granted(store.admit(claim)).lease_id, void=True)
    assert store.look(claim) == before


def test_a_claim_id_belongs_to_the_whole_claim(store: Store) -> None:
    claim = Claim(host="h", take={"host_requests": 1}, id="a")
    granted(store.admit(ask(claim)))
    other = msgspec.structs.replace(claim, host="i")
    with pytest.raises(ClaimIdReused):
        store.admit(ask(other))
    urgent = msgspec.structs.replace(claim, priority=900)
    assert granted(store.admit(ask(urgent))).repeated
    assert granted_before(store, claim)


def granted_before(store: Store, claim: Claim) -> bool:
    return store.granted_before(claim) is not None


@pytest.mark.parametrize(("units", "burst"), [(20, 40), (333, 999), (7, 1)])
def test_a_changed_rate_keeps_what_was_spent(store: Store, units: int, burst: int) -> None:
    before = Policy([RateLimit("r", units=999, period_s=1, burst=2000)])
    after = Policy([RateLimit("r", units=units, period_s=1, burst=burst)])
    claim = Claim(take={"r": 1})
    spend = Claim(take={"r": min(burst, 5)})
    granted(store.admit(before.ask(spend, lease_us=1, now_us=NOW_US), now_us=NOW_US))
    ((left, _),) = store.look(after.ask(claim, lease_us=1, now_us=NOW_US), now_us=NOW_US)
    assert left == burst - min(burst, 5)


def test_an_adopted_lease_keeps_its_claim_id(store: Store) -> None:
    claim = Claim(hold={"browsers": 1}, id="a")
    expires_us = NOW_US + LEASE_US
    store.adopt(
        LeaseRecord(id="old", claim=claim, fencing_token=7, expires_us=expires_us), ask(claim)
    )
    again = granted(store.admit(ask(claim)))
    assert (again.lease_id, again.fencing_token, again.repeated) == ("old", 7, True)
    record = store.lease("old")
    assert record is not None
    assert record.expires_us == expires_us


def test_set_used_corrects_a_level(store: Store) -> None:
    store.set_used(ask(Claim(take={"operations": 20})))
    assert refused(store.admit(ask(Claim(take={"operations": 1})))).remaining == 0


def test_leases_are_listed_by_tenant(store: Store) -> None:
    granted(store.admit(browsers(1, tenant="x")))
    lease = granted(store.admit(browsers(1, tenant="y")))
    assert [record.id for record in store.leases(tenant="y")] == [lease.lease_id]
    assert len(store.leases()) == store.leases_active() == 2
