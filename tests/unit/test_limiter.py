"""One limit asked directly decides as the pure rule does, and follows the limits in force."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate import Capacity, Claim, Gate, Quota, RateLimit
from tidegate.domain.admission import EMPTY, Row, decide
from tidegate.domain.limit import Limit, SlidingWindow
from tidegate.domain.overrides import Override
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim
from tidegate.testing import START_US, FakeClock

LIMITS: list[Limit] = [
    RateLimit("requests", units=7, period_s=2, burst=5, per=("tenant",)),
    RateLimit("calls", units=3, period_s=1, per=("tenant", "host")),
    RateLimit("all", units=300_000, period_s=1, burst=9),
    Quota("operations", units=6, period="minute", per=("user",)),
    SlidingWindow("mails", units=4, period_s=3, per=("region",)),
    RateLimit("pages", units=2, period_s=60, per=("cohort",)),
    SlidingWindow("views", units=2, period_s=60, per=("cohort", "tenant")),
    Capacity("browsers", units=1),
]
COHORTS = {"gold": ("x", "y"), "empty": ()}
KEYS: dict[str, list[Any]] = {
    "requests": ["x", "y"],
    "calls": [("x", "h"), ("x", "i")],
    "all": [""],
    "operations": ["ann", "bob"],
    "mails": ["eu"],
}
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 200_000, 666_667, 3_000_000, 61_000_000]),
        st.sampled_from([(name, key) for name, keys in KEYS.items() for key in keys]),
        st.integers(1, 3),
    ),
    max_size=80,
)


@given(steps=STEPS)
@settings(deadline=None)
def test_takes_agree_with_the_rule(steps: list[tuple[int, tuple[str, Any], int]]) -> None:
    clock, policy, levels = FakeClock(), Policy(LIMITS), dict[Any, Any]()
    gate = Gate(LIMITS, clock=clock)
    limiters = {name: gate.limiter(name) for name in KEYS}
    for step_us, cell, units in steps:
        clock.advance(us=step_us)
        rule = policy.rule(cell[0], ("",), clock.now_us())
        verdict = decide([Row(rule, units, levels.get(cell, EMPTY))], clock.now_us())
        wait_us = limiters[cell[0]].take(cell[1], units)
        if verdict.levels is None:
            assert wait_us == verdict.wait_us
        else:
            assert wait_us == 0
            levels[cell] = verdict.levels[0]


def test_it_shares_its_cells_with_claims_and_refusals_are_counted() -> None:
    gate = Gate(LIMITS, clock=FakeClock())
    limiter = gate.limiter("requests")
    assert [limiter.take("x", 2), limiter.take("x", 2)] == [0, 0]
    assert limiter.take("x", 2) == 2_000_000 // 7 + 1
    assert gate.limits_touched(Claim(tenant="x", take={"requests": 1}))[0].remaining == 1
    assert gate.decisions == {"rate_limited": 1}
    assert (limiter.name, gate.leases_active) == ("requests", 0)


@pytest.mark.parametrize(
    ("name", "key", "units", "field"),
    [
        ("requests", "", 1, "tenant"),
        ("requests", ("x", "y"), 1, "key"),
        ("calls", "x", 1, "key"),
        ("calls", ("x", ""), 1, "host"),
        ("all", "x", 1, "key"),
        ("mails", "", 1, "attributes.region"),
        ("pages", "x", 1, "key"),
        ("pages", "", 1, "key"),
        ("views", ("default", "x"), 1, "key"),
        ("requests", "x", 0, "units"),
        ("requests", "x", -1, "units"),
        ("requests", "x", 6, "units"),
    ],
)
def test_what_does_not_fit_the_limit_is_refused_by_name(
    name: str, key: Any, units: int, field: str
) -> None:
    limiter = Gate(LIMITS, clock=FakeClock(), cohorts=COHORTS).limiter(name)
    for _ in range(2):
        with pytest.raises(InvalidClaim) as raised:
            limiter.take(key, units)
        assert raised.value.field == field


def test_a_cohort_is_asked_by_its_name() -> None:
    gate = Gate(LIMITS, clock=FakeClock(), cohorts=COHORTS)
    pages, views = gate.limiter("pages"), gate.limiter("views")
    assert [pages.take("gold"), pages.take("gold"), pages.take("default")] == [0, 0, 0]
    assert pages.take("gold") == 30_000_000
    assert gate.explain(Claim(tenant="x", take={"pages": 1})) is not None
    assert gate.explain(Claim(tenant="z", take={"pages": 1})) is None
    assert views.take(("gold", "x"), 2) == views.take(("default", "z"), 2) == 0
    assert views.take(("gold", "x")) == 60_000_000


@pytest.mark.parametrize("name", ["browsers", "nothing"])
def test_only_limits_that_are_taken_from_have_a_limiter(name: str) -> None:
    with pytest.raises(InvalidClaim, match=r"limit=.*all \| calls \| mails"):
        Gate(LIMITS).limiter(name)


def test_it_follows_changed_limits() -> None:
    clock = FakeClock()
    overrides: Any = {"vip": {"requests": Override(units=7, burst=2)}}
    gate = Gate(LIMITS, clock=clock, overrides=overrides)
    limiter = gate.limiter("requests")
    assert [limiter.take("vip"), limiter.take("vip"), limiter.take("x")] == [0, 0, 0]
    assert limiter.take("vip") > 0
    gate.set_policy(Policy([RateLimit("requests", units=1, period_s=1, per=("tenant",))]))
    assert limiter.take("y") == 0
    assert limiter.take("y") == 1_000_000
    gate.set_policy(Policy([]))
    with pytest.raises(InvalidClaim, match="still in force"):
        limiter.take("y")


def test_shadows_refuse_nothing_and_near_limits_are_told() -> None:
    heard: list[tuple[Any, ...]] = []
    limits = [
        RateLimit("r", units=1, period_s=60, shadow=True),
        RateLimit("s", units=5, period_s=60, per=("tenant",)),
    ]
    gate = Gate(limits, clock=FakeClock(START_US), on_near=lambda *event: heard.append(event))
    shadow, near = gate.limiter("r"), gate.limiter("s")
    assert [shadow.take(), shadow.take(), near.take("x", 3), near.take("x")] == [0, 0, 0, 0]
    assert gate.counted["shadowed:r"] == 1
    assert heard[-1] == ("s", ("x",), 1)
