"""What every admission store promises besides rates and capacities: settling, shadows, cohorts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.gates import EVERY_STORE, NOW_US, granted, open_gate, refused
from tests.conformance.test_admission_store import COHORTS, LIMITS, REQUEST, left
from tidegate import Claim, Denied, Gate, Granted
from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.domain.overrides import Override
from tidegate.errors import InvalidClaim
from tidegate.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_US)


@pytest.fixture(params=EVERY_STORE)
def gate(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Gate]:
    with open_gate(request.param, LIMITS, clock, cohorts=COHORTS) as gate:
        yield gate


def test_settling_puts_back_what_was_not_used_and_charges_what_was(gate: Gate) -> None:
    claim = Claim(take={"requests": 4, "operations": 10, "mails": 2, "calls": 6})
    lease = granted(gate.admit_sync(claim))
    assert lease.settle({"requests": 1, "operations": 25, "mails": 1, "calls": 0})
    assert {name: n for name, (n, _) in left(gate, claim).items()} == {
        "requests": 7,
        "operations": 0,
        "mails": 2,
        "calls": 10,
    }
    assert not lease.settle({"requests": 0})
    assert refused(gate.admit_sync(Claim(take={"operations": 1}))).limit == "operations"


def test_settling_wrongly_changes_nothing(gate: Gate) -> None:
    lease = granted(gate.admit_sync(Claim(take={"requests": 4})))
    for actual in ({"operations": 1}, {"requests": -1}, {"requests": 1, "mails": 0}):
        with pytest.raises(InvalidClaim):
            lease.settle(actual)
    assert lease.settle({"requests": 0})
    assert left(gate, REQUEST)["requests"] == (8, 0)


def test_a_quota_refunds_only_within_its_window(gate: Gate, clock: FakeClock) -> None:
    lease = granted(gate.admit_sync(Claim(take={"operations": 20})))
    clock.advance(seconds=61)
    granted(gate.admit_sync(Claim(take={"operations": 3})))
    lease.settle({"operations": 0})
    assert left(gate, Claim(take={"operations": 1}))["operations"][0] == 17


@pytest.mark.parametrize("name", EVERY_STORE)
def test_a_shadow_counts_and_refuses_nothing(name: str, clock: FakeClock) -> None:
    limits: list[Limit] = [
        RateLimit("r", units=1, period_s=60, shadow=True),
        Capacity("c", units=1, shadow=True),
    ]
    with open_gate(name, limits, clock) as gate:
        leases = [granted(gate.admit_sync(Claim(take={"r": 1}, hold={"c": 1}))) for _ in range(3)]
        assert gate.counted["shadowed:r"] == gate.counted["shadowed:c"] == 2
        leases[0].release()
        assert left(gate, Claim(hold={"c": 1}))["c"][0] == 1


def test_a_sliding_window_is_exact(gate: Gate, clock: FakeClock) -> None:
    mail = Claim(take={"mails": 1})
    for _ in range(3):
        granted(gate.admit_sync(mail))
        clock.advance(seconds=2)
    denied = refused(gate.admit_sync(mail))
    assert denied.retry_after_us == 4_000_000
    clock.advance(us=4_000_000 - 1)
    assert refused(gate.admit_sync(mail)).retry_after_us == 1
    clock.advance(us=1)
    granted(gate.admit_sync(mail))


def test_a_cohort_lends_what_is_idle_and_takes_it_back(gate: Gate) -> None:
    mine = [granted(gate.admit_sync(Claim(tenant="x", hold={"gpus": 1}))) for _ in range(8)]
    assert refused(gate.admit_sync(Claim(tenant="x", hold={"gpus": 1}))).scope == ("cohort:", "lab")
    assert isinstance(gate.admit_sync(Claim(tenant="y", hold={"gpus": 1})), Denied)
    mine.pop().release()
    theirs = granted(gate.admit_sync(Claim(tenant="y", hold={"gpus": 1})))
    refused(gate.admit_sync(Claim(tenant="x", hold={"gpus": 1})))
    for lease in (*mine, theirs):
        lease.release()
    granted(gate.admit_sync(Claim(tenant="y", hold={"gpus": 8})))
    assert isinstance(gate.admit_sync(Claim(tenant="z", hold={"gpus": 4})), Granted)
    refused(gate.admit_sync(Claim(tenant="z", hold={"gpus": 1})))


@pytest.mark.parametrize("name", EVERY_STORE)
def test_overrides_by_pattern(name: str, clock: FakeClock) -> None:
    overrides = {
        "team-*": {"requests": Override(units=1)},
        ("acme", "*.example.com"): {"host_requests": Override(units=1, burst=1)},
        "team-gold": {"requests": Override(units=7)},
    }
    with open_gate(name, LIMITS, clock, overrides=overrides) as gate:
        allowed = {}
        for tenant in ("team-a", "team-gold", "other"):
            claim = Claim(tenant=tenant, take={"requests": 1})
            allowed[tenant] = left(gate, claim)["requests"][0]
        assert allowed == {"team-a": 1, "team-gold": 7, "other": 8}
        for host, ceiling in (("a.example.com", 1), ("example.org", 3)):
            claim = Claim(tenant="acme", host=host, take={"host_requests": 1})
            assert left(gate, claim)["host_requests"][0] == ceiling
            granted(gate.admit_sync(claim))
