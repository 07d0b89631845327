"""What every admission store promises of limits per cohort: tenants counted together."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.gates import EVERY_STORE, NOW_US, granted, open_gate, refused
from tests.conformance.test_admission_store import left
from tidegate import Claim, Gate
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.policy import Policy
from tidegate.testing import FakeClock

LIMITS: list[Limit] = [
    Quota("tokens", units=20, period="minute", per=("cohort",)),
    RateLimit("calls", units=2, period_s=60, per=("cohort", "host")),
    Capacity("slots", units=4, per=("cohort",)),
    Capacity("tabs", units=4, per=("cohort",), partitions={"gold": 0.5}),
]
COHORTS = {"gold": ("acme", "globex"), "silver": ("initech",)}
MOVED = {"gold": ("globex",), "silver": ("initech", "acme")}
OVERRIDES: dict[Pattern, dict[str, Override]] = {
    ("gold",): {"tokens": Override(units=30)},
    ("s*", "*"): {"calls": Override(units=1)},
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOW_US)


@pytest.fixture(params=EVERY_STORE)
def gate(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Gate]:
    with open_gate(request.param, LIMITS, clock, cohorts=COHORTS, overrides=OVERRIDES) as gate:
        yield gate


def tokens(tenant: str, units: int = 1, **more: str) -> Claim:
    return Claim(tenant=tenant, take={"tokens": units}, attributes=more)


def tokens_left(gate: Gate, tenant: str) -> int:
    return left(gate, tokens(tenant))["tokens"][0]


def move(gate: Gate) -> None:
    gate.set_policy(Policy(LIMITS, cohorts=MOVED, overrides=OVERRIDES))


def test_tenants_of_a_cohort_spend_together_and_those_of_none_do(gate: Gate) -> None:
    granted(gate.admit_sync(tokens("acme", 20)))
    granted(gate.admit_sync(tokens("globex", 10)))
    for denied in (gate.admit_sync(tokens("acme")), gate.explain(tokens("globex"))):
        assert (refused(denied).limit, refused(denied).scope) == ("tokens", ("gold",))
    granted(gate.admit_sync(tokens("initech", 20)))
    granted(gate.admit_sync(tokens("nobody", 15)))
    granted(gate.admit_sync(tokens("anybody", 5)))
    assert refused(gate.admit_sync(tokens("somebody"))).scope == ("default",)
    assert [(s.scope, s.units) for s in gate.limits(tokens("acme")) if s.name == "tokens"] == [
        (("gold",), 30)
    ]


def test_no_claim_chooses_its_cohort(gate: Gate) -> None:
    granted(gate.admit_sync(tokens("initech", 20, cohort="gold")))
    assert refused(gate.admit_sync(tokens("initech", cohort="gold"))).scope == ("silver",)
    granted(gate.admit_sync(tokens("nobody", 20, cohort="gold")))
    assert refused(gate.admit_sync(tokens("nobody", cohort="gold"))).scope == ("default",)
    assert tokens_left(gate, "acme") == 30


def test_a_cohort_and_something_else(gate: Gate) -> None:
    def call(tenant: str, host: str) -> Claim:
        return Claim(tenant=tenant, host=host, take={"calls": 1})

    for tenant in ("acme", "globex"):
        granted(gate.admit_sync(call(tenant, "h")))
    assert refused(gate.admit_sync(call("acme", "h"))).scope == ("gold", "h")
    granted(gate.admit_sync(call("acme", "i")))
    granted(gate.admit_sync(call("initech", "h")))
    assert refused(gate.admit_sync(call("initech", "h"))).scope == ("silver", "h")


def test_what_is_held_comes_back_to_the_cohort_it_was_taken_from(gate: Gate) -> None:
    def slots(tenant: str, units: int) -> Claim:
        return Claim(tenant=tenant, hold={"slots": units})

    lease = granted(gate.admit_sync(slots("acme", 3)))
    denied = refused(gate.admit_sync(slots("globex", 2)))
    assert (denied.reason, denied.scope, denied.remaining) == ("exhausted", ("gold",), 1)
    move(gate)
    granted(gate.admit_sync(slots("acme", 4)))
    assert refused(gate.admit_sync(slots("initech", 1))).scope == ("silver",)
    assert lease.release()
    granted(gate.admit_sync(slots("globex", 4)))
    refused(gate.admit_sync(slots("acme", 1)))


def test_a_settlement_is_that_of_the_cohort_it_was_taken_from(gate: Gate) -> None:
    less = granted(gate.admit_sync(tokens("acme", 10)))
    more = granted(gate.admit_sync(tokens("acme", 1)))
    gone = granted(gate.admit_sync(tokens("acme", 5)))
    move(gate)
    assert (tokens_left(gate, "acme"), tokens_left(gate, "globex")) == (20, 14)
    granted(gate.admit_sync(tokens("acme", 8)))
    assert less.settle({"tokens": 2})
    assert more.settle({"tokens": 4})
    gate.void_lease(gone)
    assert (tokens_left(gate, "acme"), tokens_left(gate, "globex")) == (12, 24)


def test_an_operator_sets_what_a_cohort_has_used(gate: Gate) -> None:
    gate.set_used("tokens", Claim(tenant="globex"), 28)
    assert (tokens_left(gate, "acme"), tokens_left(gate, "initech")) == (2, 20)


def test_an_adopted_lease_is_held_in_the_cohort_of_its_tenant(gate: Gate, clock: FakeClock) -> None:
    claim = Claim(tenant="acme", hold={"slots": 4})
    gate.adopt(
        LeaseRecord(id="old", claim=claim, fencing_token=1, expires_us=clock.now_us() + 30_000_000)
    )
    assert refused(gate.admit_sync(Claim(tenant="globex", hold={"slots": 1}))).scope == ("gold",)
    granted(gate.admit_sync(Claim(tenant="initech", hold={"slots": 4})))


def test_a_cohort_may_have_a_partition(gate: Gate) -> None:
    granted(gate.admit_sync(Claim(tenant="nobody", hold={"tabs": 3})))
    state = left(gate, Claim(tenant="acme", hold={"tabs": 1}, attributes={"cohort": "silver"}))
    assert state["tabs"][0] == 4
    denied = refused(gate.admit_sync(Claim(tenant="globex", hold={"tabs": 2})))
    assert (denied.limit, denied.scope) == ("tabs", ("cohort:", "tabs"))
    granted(gate.admit_sync(Claim(tenant="globex", hold={"tabs": 1})))


@pytest.mark.parametrize("name", EVERY_STORE)
def test_four_levels_decide_together(name: str, clock: FakeClock) -> None:
    limits: list[Limit] = [
        Quota("tokens", units=90, period="day", name="of_all"),
        Quota("tokens", units=60, period="day", per=("cohort",), name="of_cohort"),
        Quota("tokens", units=40, period="day", per=("tenant",), name="of_tenant"),
        Quota("tokens", units=25, period="day", per=("tenant", "user"), name="of_user"),
    ]
    with open_gate(name, limits, clock, cohorts={"gold": ("a", "b")}) as gate:

        def ask(tenant: str, user: str, units: int) -> str:
            decision = gate.admit_sync(Claim(tenant=tenant, user=user, take={"tokens": units}))
            return getattr(decision, "limit", "")

        assert ask("a", "u", 25) == ""
        assert ask("a", "u", 1) == "of_user"
        assert ask("a", "v", 16) == "of_tenant"
        assert ask("a", "v", 15) == ""
        assert ask("b", "u", 21) == "of_cohort"
        assert ask("b", "u", 20) == ""
        assert ask("c", "u", 25) == ""
        assert ask("d", "u", 6) == "of_all"
        assert ask("d", "u", 5) == ""
