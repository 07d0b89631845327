"""Every admission store against the pure rule, on random scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.gates import EVERY_STORE, NOW_US, ONE_TIME, granted, open_gate, refused
from tidegate import Claim, Gate, Lease
from tidegate.domain.admission import EMPTY, Level, Row, aged, decide, fallen, risen
from tidegate.domain.ask import Ask, Cell
from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.overrides import Override
from tidegate.domain.policy import Policy
from tidegate.domain.rule import STOCK
from tidegate.testing import FakeClock

SECOND_US = 1_000_000
LIMITS: list[Limit] = [
    RateLimit("requests", units=5, period_s=1, burst=8, per=("tenant",)),
    RateLimit("requests", units=300_000, period_s=1, burst=6, name="all_requests"),
    RateLimit("host_requests", units=3, period_s=2, burst=3, per=("tenant", "host")),
    Quota("operations", units=7, period="minute", per=("tenant",)),
    Quota("operations", units=12, every_s=7, name="operations_7s"),
    Quota("operations", units=9, every_s=30, per=("cohort",), name="cohort_operations"),
    RateLimit("host_requests", units=4, period_s=2, per=("cohort", "host"), name="cohort_hosts"),
    SlidingWindow("mails", units=4, period_s=3, per=("tenant",)),
    SlidingWindow("calls", units=5, period_s=3, exact=False),
    Capacity("browsers", units=3),
    Capacity("sessions", units=2, per=("tenant",), shadow=True),
    Capacity("gpus", units=2, per=("tenant",), lend=1, borrow=2),
]
OPTIONS: dict[str, Any] = {
    "overrides": {"y": {"requests": Override(units=7, burst=3), "gpus": Override(units=3)}},
    "cohorts": {"lab": ("x", "y")},
}
TAKES = ["requests", "host_requests", "operations", "mails", "calls"]
CLAIMS = st.builds(
    Claim,
    tenant=st.sampled_from(["x", "y", "z"]),
    host=st.sampled_from(["h", "i"]),
    take=st.dictionaries(st.sampled_from(TAKES), st.integers(1, 3)),
    hold=st.dictionaries(st.sampled_from(["browsers", "sessions", "gpus"]), st.integers(1, 2)),
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 200_000, 666_667, 2 * SECOND_US, 61 * SECOND_US, -3 * SECOND_US]),
        st.one_of(
            CLAIMS,
            CLAIMS,
            st.tuples(st.just("release"), st.integers(0, 20)),
            st.tuples(st.just("settle"), st.integers(0, 20)),
        ),
    ),
    max_size=60,
)


@dataclass
class Model:
    """Cells in a plain dict, never forgotten, moved by the pure rule alone."""

    policy: Policy
    cells: dict[Cell, Level] = field(default_factory=dict)

    def rows(self, ask: Ask) -> list[Row]:
        rows = ask.fresh_rows()
        for cell, row in zip(ask.cells, rows, strict=True):
            row.level = self.cells.get(cell, EMPTY)
        for index, siblings in ask.siblings.items():
            rows[index].siblings = [(self.cells.get(cell, EMPTY), kept) for cell, kept in siblings]
        return rows

    def release(self, ask: Ask, costs: list[int]) -> None:
        for cell, (rule, _, via), cost in zip(ask.cells, ask.rows, costs, strict=True):
            if rule.kind == STOCK and via < 0:
                self.cells[cell] = Level(self.cells[cell].amount - cost, NOW_US)

    def settle(self, ask: Ask, costs: list[int], actual: int, taken_us: int, now_us: int) -> None:
        fresh = self.policy.ask(ask.claim, lease_us=1, now_us=now_us)
        for cell, (rule, cost, _) in zip(fresh.cells, fresh.rows, strict=True):
            if rule.kind == STOCK:
                continue
            level = self.cells[cell]
            if actual < cost:
                level = fallen(rule, level, cost - actual, taken_us, now_us)
            else:
                level = risen(rule, aged(rule, level, now_us), actual - cost)
            self.cells[cell] = level


@dataclass
class Script:
    """A store and the model, driven by the same steps."""

    gate: Gate
    model: Model
    clock: FakeClock
    one_time: bool
    now_us: int = NOW_US
    leases: list[tuple[Lease, Ask, list[int]]] = field(default_factory=list)

    def do(self, step_us: int, action: Claim | tuple[str, int]) -> None:
        self.clock.set(self.clock.now_us() + step_us)
        if isinstance(action, Claim):
            self.admit(action)
        elif self.leases:
            name, number = action
            index = number % len(self.leases)
            lease, ask, costs = self.leases[index]
            if name == "release":
                del self.leases[index]
                # What a shadow let pass is not held, so there may be nothing to give back.
                lease.release()
                self.model.release(ask, costs)
            elif lease.settle(dict.fromkeys(lease.claim.take, number % 5)):
                self.see_time()
                self.model.settle(ask, costs, number % 5, lease.granted_us, self.now_us)

    def see_time(self) -> None:
        now_us = self.clock.now_us()
        self.now_us = max(self.now_us, now_us) if self.one_time else now_us

    def admit(self, claim: Claim) -> None:
        self.see_time()
        ask = self.model.policy.ask(claim, lease_us=1, now_us=self.now_us)
        rows = self.model.rows(ask)
        verdict = decide(rows, self.now_us)
        decision = self.gate.admit_sync(claim, lease_s=86_400)
        if verdict.levels is None:
            denied = refused(decision)
            cell, row = ask.cells[verdict.refused], rows[verdict.refused]
            assert (denied.limit, denied.scope) == (cell.limit, cell.scope)
            assert denied.remaining == verdict.remaining
            assert denied.timed == (row.rule.kind != STOCK)
            assert not denied.timed or denied.retry_after_us == verdict.wait_us
            return
        lease = granted(decision)
        for cell, row, level in zip(ask.cells, rows, verdict.levels, strict=True):
            if row.via < 0:
                self.model.cells[cell] = level
        self.leases.append((lease, ask, verdict.costs))


@pytest.mark.parametrize("name", EVERY_STORE)
@given(steps=STEPS)
@settings(deadline=None)
def test_random_scripts_agree_with_the_rule(
    name: str, steps: list[tuple[int, Claim | tuple[str, int]]]
) -> None:
    clock = FakeClock(NOW_US)
    with open_gate(name, LIMITS, clock, **OPTIONS) as gate:
        model = Model(Policy(LIMITS, **OPTIONS))
        script = Script(gate, model, clock, name in ONE_TIME)
        for step_us, action in steps:
            script.do(step_us, action)
        for lease, _, _ in script.leases:
            lease.release()
        everything = Claim(tenant="x", hold={"browsers": 3, "gpus": 3})
        assert gate.explain(everything) is None


@given(
    units=st.integers(1, 10**6),
    period_us=st.integers(1, 10**7),
    burst=st.integers(1, 50),
    costs=st.lists(st.tuples(st.integers(1, 50), st.integers(0, 10**6)), max_size=40),
)
def test_a_rate_is_never_exceeded_and_its_wait_is_exact(
    units: int, period_us: int, burst: int, costs: list[tuple[int, int]]
) -> None:
    policy = Policy([RateLimit("r", units=units, period_s=period_us / 1e6, burst=burst)])
    rule = policy.rule("r", (), 0)
    level, now_us = Level(0, NOW_US), NOW_US
    taken: list[tuple[int, int]] = []
    for cost, step_us in costs:
        now_us += step_us
        verdict = decide([Row(rule, min(cost, burst), level)], now_us)
        if verdict.levels is None:
            assert verdict.wait_us is not None
            ready_us = now_us + verdict.wait_us
            assert decide([Row(rule, min(cost, burst), level)], ready_us).levels
            early = decide([Row(rule, min(cost, burst), level)], ready_us - 1)
            assert early.levels is None
        else:
            level = verdict.levels[0]
            taken.append((now_us, min(cost, burst)))
        for index, (start_us, _) in enumerate(taken):
            spent = sum(cost for _, cost in taken[index:])
            assert (spent - burst) * period_us <= (taken[-1][0] - start_us) * units
        assert aged(rule, level, now_us).amount >= 0
