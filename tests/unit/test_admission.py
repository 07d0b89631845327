"""The rule of admission, kind by kind and in the order it reports refusals."""

from __future__ import annotations

import pytest

from tidegate.domain.admission import Level, Row, aged, decide
from tidegate.domain.limit import Capacity, Quota, RateLimit
from tidegate.domain.rule import COUNTER, LOG, STOCK, Rule, rule_of

NOW_US = 1_795_000_000_000_000  # 2026-11-18T11:06:40Z
SECOND_US = 1_000_000

HOST = rule_of(RateLimit("host", units=3, period_s=2, burst=3), NOW_US)
MINUTE = rule_of(Quota("operations", units=10, period="minute"), NOW_US)
MONTH = rule_of(Quota("operations", units=10, period="month"), NOW_US)
BROWSERS = rule_of(Capacity("browsers", units=3), NOW_US)


def full(rule: Rule, cost: int = 1) -> Row:
    return Row(rule, cost, Level(rule.ceiling, NOW_US, (), rule.unit))


@pytest.mark.parametrize(
    ("row", "wait_us", "remaining"),
    [
        pytest.param(full(HOST), 666_667, 0, id="a rate waits for one unit, rounded up"),
        pytest.param(full(HOST, 3), 2 * SECOND_US, 0, id="and for three"),
        pytest.param(full(MINUTE), 20 * SECOND_US, 0, id="a quota waits for its minute to turn"),
        pytest.param(full(MONTH), 1_083_200 * SECOND_US, 0, id="or its month"),
        pytest.param(full(BROWSERS), None, 0, id="nobody knows when a capacity comes back"),
        pytest.param(Row(BROWSERS, 2, Level(2, NOW_US)), None, 1, id="what is left is reported"),
    ],
)
def test_refusals(row: Row, wait_us: int | None, remaining: int) -> None:
    verdict = decide([row], NOW_US)
    assert (verdict.levels, verdict.wait_us, verdict.remaining) == (None, wait_us, remaining)


def test_burst_three_admits_three_single_units_and_no_fourth() -> None:
    level = Level()
    for _ in range(3):
        verdict = decide([Row(HOST, 1, level)], NOW_US)
        assert verdict.levels is not None
        level = verdict.levels[0]
    assert decide([Row(HOST, 1, level)], NOW_US).levels is None


@pytest.mark.parametrize(
    ("rows", "refused"),
    [
        pytest.param([full(BROWSERS), full(HOST)], 1, id="a known wait before an unknown one"),
        pytest.param([full(HOST), full(MINUTE)], 1, id="the longest wait"),
        pytest.param([full(HOST), full(HOST)], 0, id="among equals the first"),
        pytest.param([full(BROWSERS), full(BROWSERS)], 0, id="also among capacities"),
    ],
)
def test_which_refusal_is_reported(rows: list[Row], refused: int) -> None:
    assert decide(rows, NOW_US).refused == refused


def test_a_refusal_charges_nothing_and_a_grant_charges_all() -> None:
    free = Row(HOST, 1)
    assert decide([free, full(BROWSERS)], NOW_US).levels is None
    levels = decide([free, Row(BROWSERS, 1, Level(2, NOW_US))], NOW_US).levels
    assert levels == [Level(HOST.unit, NOW_US, (), HOST.unit), Level(3, NOW_US)]


@pytest.mark.parametrize(
    ("rule", "later_us", "level"),
    [
        pytest.param(HOST, 2 * SECOND_US, 1, id="a rate has leaked after its burst's time"),
        pytest.param(MINUTE, 20 * SECOND_US, 1, id="a quota begins anew with its window"),
        pytest.param(BROWSERS, 10**15, None, id="a capacity never comes back by itself"),
    ],
)
def test_ageing(rule: Rule, later_us: int, level: int | None) -> None:
    verdict = decide([full(rule)], NOW_US + later_us)
    expected = (
        None if level is None else [Level(level * rule.unit, NOW_US + later_us, (), rule.unit)]
    )
    assert verdict.levels == expected


def test_a_clock_that_steps_back_only_pauses_leaking() -> None:
    earlier_us = NOW_US - 10 * SECOND_US
    verdict = decide([full(HOST)], earlier_us)
    assert verdict.wait_us is not None
    assert decide([full(HOST)], earlier_us + verdict.wait_us).levels is not None
    assert decide([full(HOST)], earlier_us + verdict.wait_us - 1).levels is None


def test_a_stale_rule_never_grants_above_its_ceiling() -> None:
    later_us = NOW_US + 3600 * SECOND_US
    row = Row(MINUTE, 1, Level(MINUTE.ceiling, later_us))
    assert decide([row], later_us).levels is None


def test_a_quota_rule_is_stale_after_the_next_window() -> None:
    assert not MINUTE.is_stale(NOW_US + 79 * SECOND_US)
    assert MINUTE.is_stale(NOW_US + 80 * SECOND_US)
    assert MINUTE.is_stale(NOW_US - 41 * SECOND_US)


def test_a_level_of_another_kind_of_limit_keeps_its_amount_alone() -> None:
    log = Rule(kind=LOG, ceiling=5, length_us=10)
    counter = Rule(kind=COUNTER, ceiling=50, unit=10, length_us=10)
    taken, counted = Level(2, 100, (99, 1, 100, 1)), Level(3, 100, (4,), 10)
    assert aged(log, counted, 105) == Level(0, 105)
    assert aged(counter, taken, 105) == Level(2, 105, (), 10)
    assert aged(Rule(kind=STOCK, ceiling=5), taken, 100) == Level(2, 100)
