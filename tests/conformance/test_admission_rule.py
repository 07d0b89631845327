"""Every admission store against the pure rule, on random scripts."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.test_admission_store import (
    NOW_US,
    SECOND_US,
    STORES,
    ask,
    granted,
    refused,
)
from tidegate.domain.admission import STOCK, Row, age, decide
from tidegate.domain.claim import Claim
from tidegate.domain.limit import RateLimit
from tidegate.domain.policy import Ask, Cell, Policy

STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 200_000, 666_667, 2 * SECOND_US, 61 * SECOND_US, -3 * SECOND_US]),
        st.one_of(
            st.builds(
                Claim,
                tenant=st.sampled_from(["x", "y"]),
                host=st.sampled_from(["h", "i"]),
                take=st.dictionaries(
                    st.sampled_from(["requests", "host_requests", "operations"]),
                    st.integers(1, 3),
                ),
                hold=st.dictionaries(st.sampled_from(["browsers", "sessions"]), st.integers(1, 2)),
            ),
            st.integers(0, 20),
        ),
    ),
    max_size=60,
)


@pytest.mark.parametrize("name", STORES)
@given(steps=STEPS)
@settings(deadline=None)
def test_random_scripts_agree_with_the_rule(
    name: str, steps: list[tuple[int, Claim | int]]
) -> None:
    """Drive store and a model that forgets nothing and applies the pure rule to plain dicts."""
    store = STORES[name]()
    pairs: dict[Cell, tuple[int, int]] = {}
    leases: list[tuple[str, Ask]] = []
    now_us = NOW_US
    for step_us, action in steps:
        now_us += step_us
        if isinstance(action, int):
            if leases:
                lease_id, held = leases.pop(action % len(leases))
                assert store.release(lease_id, now_us=now_us) == tuple(c for c, _ in held.holds)
                for cell, cost in held.holds:
                    pairs[cell] = (pairs[cell][0] - cost, now_us)
            continue
        question = ask(action, now_us=now_us, lease_us=10**15)
        rows = [
            Row(rule, cost, *pairs.get(cell, (0, 0)))
            for cell, (rule, cost) in zip(question.cells, question.rows, strict=True)
        ]
        verdict = decide(rows, now_us)
        answer = store.admit(question, now_us=now_us)
        if verdict.levels is None:
            refusal = refused(answer)
            assert (refusal.row, refusal.remaining) == (verdict.refused, verdict.remaining)
            assert refusal.timed == (rows[verdict.refused].rule.kind != STOCK)
            assert not refusal.timed or refusal.wait_us == verdict.wait_us
            continue
        grant = granted(answer)
        for cell, row, level in zip(question.cells, rows, verdict.levels, strict=True):
            pairs[cell] = (level, max(now_us, row.at_us))
        if question.holds:
            leases.append((grant.lease_id, question))
    for lease_id, _ in leases:
        store.release(lease_id, now_us=now_us)
    everything = ask(Claim(hold={"browsers": 3, "sessions": 2}), now_us=now_us)
    assert store.explain(everything, now_us=now_us) is None


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
    rule = policy.rule(policy.limits[0], "", 0)
    level, at_us, now_us = 0, NOW_US, NOW_US
    taken: list[tuple[int, int]] = []
    for cost, step_us in costs:
        now_us += step_us
        verdict = decide([Row(rule, min(cost, burst), level, at_us)], now_us)
        if verdict.levels is None:
            assert verdict.wait_us is not None
            ready_us = now_us + verdict.wait_us
            assert decide([Row(rule, min(cost, burst), level, at_us)], ready_us).levels
            early = decide([Row(rule, min(cost, burst), level, at_us)], ready_us - 1)
            assert early.levels is None
        else:
            level, at_us = verdict.levels[0], now_us
            taken.append((now_us, min(cost, burst)))
        for index, (start_us, _) in enumerate(taken):
            spent = sum(cost for _, cost in taken[index:])
            assert (spent - burst) * period_us <= (taken[-1][0] - start_us) * units
        assert age(rule, level, at_us, now_us) >= 0
