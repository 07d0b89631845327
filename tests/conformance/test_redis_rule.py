"""The script on a real server against the rule in Python: the same batches, the same replies."""

from __future__ import annotations

import itertools
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.batch_limits import comparable
from tests.conformance.batches import random_batches
from tests.conformance.worlds import WorldStore
from tests.integration.redis_admission import NOW_US, TTL_US, named
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import APPLIED, Adjust, Admit, Batch, Call, Reply, Write
from tidegate.domain.rule import COUNTER, LOG, RATE, WINDOW, Rule

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = pytest.mark.needs("valkey")


def seen(batch: Batch, reply: Reply) -> Reply:
    return comparable(batch, reply) if reply.state == APPLIED else reply


def assert_equal_on(url: str, seed: int, count: int) -> None:
    world = WorldStore()
    store = RedisBlockingStore(named(url, seed, count), timeout_s=60)
    store.connect()
    try:
        for number, batch in enumerate(random_batches(Random(seed), count)):
            expected, reply = world.apply(batch), store.apply(batch)
            assert seen(batch, reply) == seen(batch, expected), (seed, number, batch)
    finally:
        store.close()


@pytest.mark.parametrize("seed", range(12))
def test_random_batches_get_the_replies_of_the_rule(redis_url: str, seed: int) -> None:
    assert_equal_on(redis_url, seed, 400)


def rate(unit: int, drain: int, burst: int) -> Rule:
    burst = min(burst, (2**53 - 1) // unit)
    forget_us = -(-burst * unit // drain)
    ceiling = burst * unit
    return Rule(
        kind=RATE,
        ceiling=ceiling,
        unit=unit,
        drain=drain,
        near=ceiling * 4 // 5,
        forget_us=forget_us,
    )


def counter(units: int, length_us: int) -> Rule:
    units = min(units, (2**52 - 1) // length_us)
    ceiling = units * length_us
    near = ceiling * 4 // 5
    return Rule(kind=COUNTER, ceiling=ceiling, unit=length_us, length_us=length_us, near=near)


def window(units: int, length_us: int) -> Rule:
    start_us = NOW_US - NOW_US % length_us
    starts_us = (start_us, start_us + length_us, start_us + 2 * length_us)
    return Rule(kind=WINDOW, ceiling=units, starts_us=starts_us, near=units // 2)


def log(units: int, length_us: int) -> Rule:
    return Rule(kind=LOG, ceiling=units, length_us=length_us, near=units)


SMALL, LARGE = st.integers(1, 20), st.integers(1, 2**50)
LENGTHS = st.integers(1, 10_000) | st.integers(10**6, 2**44)
RULES = st.one_of(
    st.builds(rate, SMALL | st.integers(1, 2**40), SMALL | st.integers(1, 2**20), SMALL | LARGE),
    st.builds(counter, SMALL | st.integers(1, 10**7), LENGTHS),
    st.builds(window, SMALL | LARGE, LENGTHS),
    st.builds(log, SMALL | st.integers(1, 10_000), LENGTHS),
)
"""Rules with numbers up to what doubles hold exactly."""
LAST_US = 2**52
"""In the year 2112. Instants, too, have to be below 2**53, with all that is added to them."""
FRACTIONS = st.sampled_from([0, 0.1, 1 / 3, 0.5, 0.999, 1])
LATELY = st.integers(1, 5_000)
OF_ANY_KIND = st.one_of(
    st.builds(rate, SMALL, SMALL, SMALL),
    st.builds(counter, SMALL, LATELY),
    st.builds(window, SMALL, LATELY),
    st.builds(log, SMALL, LATELY),
)
Steps = list[tuple[str, float, list[tuple[str, float]]]]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["past", "rule", "tiny"]),
        st.floats(0, 1.2),
        st.lists(st.tuples(st.sampled_from("aaaaptw"), FRACTIONS), min_size=1, max_size=4),
    ),
    max_size=12,
)
"""How far time moves, by which measure, and what happens then, in parts of what there is."""


def span_us(rule: Rule) -> int:
    """In about how long the rule forgets."""
    return max(2, rule.forget_us or rule.length_us or rule.starts_us[1] - rule.starts_us[0])


def call_of(kind: str, fraction: float, rule: Rule, now_us: int) -> Call:
    units = max(1, int(rule.units_max * fraction))
    if kind == "a" or rule.ceiling > 2**52:
        return Admit((0, 0, units), "x")
    # Small ones: what is charged on top has no ceiling, and doubles end somewhere.
    units = min(units, max(1, 2**48 // rule.unit // 100))
    if kind == "w":
        return Write(0, 0, units)
    taken_us = now_us - int(span_us(rule) * fraction)
    return Adjust(0, 0, units if kind == "p" else -units, taken_us)


NUMBERS = itertools.count()


@given(rule=RULES, steps=STEPS)
@settings(deadline=None, max_examples=300)
def test_waits_are_exact_up_to_the_largest_numbers(
    shared_valkey: str, rule: Rule, steps: Steps
) -> None:
    assert_equal_steps(shared_valkey, [rule], steps)


@given(
    rules=st.one_of(
        st.lists(st.builds(rate, st.integers(1, 2**26), SMALL, st.integers(1, 2**26)), min_size=2),
        st.lists(st.builds(counter, SMALL, LENGTHS), min_size=2),
        st.lists(st.builds(log, SMALL, LENGTHS), min_size=2),
        st.lists(OF_ANY_KIND, min_size=2),
    ),
    steps=STEPS,
)
@settings(deadline=None, max_examples=150)
def test_a_limit_that_changes_keeps_what_was_taken(
    shared_valkey: str, rules: list[Rule], steps: Steps
) -> None:
    assert_equal_steps(shared_valkey, rules, steps)


def assert_equal_steps(url: str, rules: list[Rule], steps: Steps) -> None:
    """Play the steps on one cell, under each rule in turn."""
    world, now_us = WorldStore(), NOW_US
    store = RedisBlockingStore(named(url, "steps", next(NUMBERS)), timeout_s=60)
    store.connect()
    try:
        for seq, (measure, part, kinds) in enumerate(steps, 1):
            rule = rules[seq % len(rules)]
            now_us += int({"past": -1000, "rule": span_us(rule), "tiny": 3}[measure] * part)
            now_us = min(now_us, LAST_US)
            calls = [call_of(kind, fraction, rule, now_us) for kind, fraction in kinds]
            other = rules[(seq + 1) % len(rules)]
            calls += [Admit((0, 1, max(1, other.units_max // 2)), "x")]
            rules_now = (rule, other)
            batch = Batch("m", seq, TTL_US, True, now_us, rules_now, ("c",), tuple(calls), True)
            assert store.apply(batch) == world.apply(batch)
    finally:
        store.close()
