"""Long queues on a real server against the rule in Python: more tickets than are looked at at once.

Random batches of a few members and tenants never fill a queue. Here it is all they do.
"""

from __future__ import annotations

from random import Random

import pytest

from tests.conformance.worlds import WorldStore
from tests.integration.redis_admission import NOW_US, named
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import (
    Adjust,
    Admit,
    Adopt,
    Batch,
    Call,
    Check,
    End,
    GiveBack,
    Leave,
    Look,
    Touch,
    Wait,
    Write,
)
from tidegate.domain.rule import RATE, STOCK, WINDOW, Rule
from tidegate.domain.world import DEDUP_US, STANDING_US

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = pytest.mark.needs("valkey")

MEMBERS = [f"m{number}" for number in range(8)]
TENANTS = [f"t{number}" for number in range(40)]
WEIGHTS = {tenant: 1 + number % 3 for number, tenant in enumerate(TENANTS)}
RULES = (
    Rule(kind=STOCK, ceiling=4),
    Rule(kind=RATE, ceiling=5_000, unit=1_000, drain=7, forget_us=715),
    Rule(
        kind=WINDOW,
        ceiling=300,
        starts_us=(NOW_US - 10**9, NOW_US + 10**9, NOW_US + 2 * 10**9),
        forget_us=3 * 10**9,
    ),
)
CELLS = ("room", "rate", "quota")


class Crowd:
    """Members whose tenants wait at three cells."""

    def __init__(self, seed: int) -> None:
        self._rng = Random(seed)
        self._seqs = dict.fromkeys(MEMBERS, 0)
        self._tickets: list[tuple[int, str]] = [(0, "nobody's")]

    def batch(self, now_us: int) -> Batch:
        rng = self._rng
        member = rng.choice(MEMBERS)
        self._seqs[member] += 1
        calls = tuple(self._call(member) for _ in range(rng.choice([1, 4, 12])))
        ttl_us = rng.choice([5_000] + 60 * [10**9])
        seq = self._seqs[member]
        return Batch(member, seq, ttl_us, True, now_us, RULES, CELLS, calls)

    def _call(self, member: str) -> Call:
        rng = self._rng
        tenant, priority = rng.choice(TENANTS), rng.choice([100, 500, 500, 900])
        cell = rng.randrange(3)
        match rng.choices("wtnglc", [50, 25, 10, 12, 5, 3])[0]:
            case "w":
                ticket = f"{member}:{rng.randrange(10**6)}"
                self._tickets.append((cell, ticket))
                cost = rng.choice([1, 1, 2, 5])
                return Wait(cell, cell, cost, ticket, tenant, WEIGHTS[tenant], priority)
            case "t" | "n" as kind:
                at, ticket = rng.choice(self._tickets[-300:])
                cells = {at, cell} if rng.random() < 0.3 else {at}
                each = ((c, c, rng.choice([1, 1, 2])) for c in sorted(cells))
                rows = tuple(word for row in each for word in row)
                asked = ticket if kind == "t" else ""
                return Admit(rows, tenant, WEIGHTS[tenant], priority, ticket=asked)
            case "g":
                return GiveBack((0, rng.randrange(1, 5)))
            case "l":
                return Leave(*rng.choice(self._tickets[-300:]))
            case _:
                return Check(*rng.choice(self._tickets[-300:]))


@pytest.mark.parametrize("seed", range(6))
def test_long_queues_get_the_replies_of_the_rule(redis_url: str, seed: int) -> None:
    world, crowd, rng = WorldStore(), Crowd(seed), Random(seed)
    store = RedisBlockingStore(named(redis_url, "crowd", seed), timeout_s=60)
    store.connect()
    now_us, longest = NOW_US, 0
    for number in range(400):
        now_us += rng.choice([0, 0, 1, 150, 150, 2_000])
        sent = crowd.batch(now_us)
        assert store.apply(sent) == world.apply(sent), (seed, number)
        longest = max(longest, *(len(queue.places) for queue in world.world.queues.values()), 0)
    store.close()
    assert longest > 100


def adopt(units: int, token: int) -> Adopt:
    return Adopt((0, units), "x:1", "d", token, 1_000)


def admit(claim_id: str = "", ticket: str = "", units: int = 1) -> Admit:
    return Admit((0, 0, units), "x", 1, 500, claim_id, "d", 1_000, ticket)


def two_wait() -> list[Call]:
    return [Wait(0, 0, 1, "t", "x", 1, 500), Wait(0, 0, 1, "u", "y", 3, 500)]


@pytest.mark.parametrize(
    "scene",
    [
        pytest.param(
            [("a", 0, [adopt(3, 7)]), ("b", 1, [End("x:1", 7), admit(units=4)])],
            id="an adopted lease is ended by its id",
        ),
        pytest.param(
            [("a", 0, [admit("x:1")]), ("b", 0, [End("x:1", NOW_US + 1, True), admit("x:1")])],
            id="a forgotten id is granted anew",
        ),
        pytest.param(
            [
                ("a", 0, [admit("x:1")]),
                ("a", 1_000 + DEDUP_US - 1, [Touch("x:1", NOW_US + 1, 1_000)]),
                ("a", 2_000 + 2 * DEDUP_US - 2, [admit("x:1")]),
                ("a", 2_000 + 2 * DEDUP_US - 1, [admit("x:1")]),
            ],
            id="an id is known until the very microsecond it expires",
        ),
        pytest.param(
            [
                ("a", 0, [admit("x:1", units=2)]),
                ("b", 10**6, [Look((0,))]),
                ("a", 10**6, [admit("x:1"), End("x:1", NOW_US + 1)]),
            ],
            id="what a dead member held by an id came back when it died",
        ),
        pytest.param(
            [
                ("a", 0, [admit(units=4), Wait(0, 0, 1, "t", "x", 1, 500)]),
                ("b", 0, [Wait(0, 0, 1, "u", "y", 1, 900), Wait(0, 0, 4, "v", "z", 1, 100)]),
                ("c", 10**6, [Check(0, "t"), Check(0, "u"), Check(0, "v")]),
            ],
            id="tickets of the dead make room for those of the living",
        ),
        pytest.param(
            [
                ("a", 0, [admit(units=3), Wait(0, 0, 1, "t", "x", 1, 500)]),
                ("b", 0, [Wait(0, 0, 1, "u", "y", 1, 500)]),
                ("a", 1, [admit(ticket="t")]),
                ("b", 1, [admit(ticket="u"), Leave(0, "u"), Leave(0, "u")]),
            ],
            id="whoever is served wakes the next",
        ),
        pytest.param(
            [
                ("b", 0, [admit(units=3)]),
                ("a", 0, [Wait(0, 0, 2, "t", "x", 1, 900)]),
                ("b", 0, [Wait(0, 0, 1, "u", "y", 1, 500)]),
                ("c", 10**6, []),
            ],
            id="a ticket of the dead is in nobody's way",
        ),
        pytest.param(
            [
                ("b", 0, [Adjust(1, 1, 5, 0), Wait(1, 1, 1, "t", "x", 1, 500)]),
                ("c", 1, [Adjust(1, 1, -1, NOW_US)]),
                ("c", 2, [Write(1, 1, 9), Adjust(1, 1, -9, NOW_US + 2)]),
            ],
            id="what is put back makes room for who waits",
        ),
        pytest.param(
            [
                ("b", 0, [admit(units=4), *two_wait()]),
                ("b", 0, [GiveBack((0, 4)), admit(ticket="t"), admit(ticket="u")]),
                ("b", STANDING_US - 1, [admit(units=2), *two_wait()]),
                ("b", STANDING_US - 1, [Check(0, "t"), Check(0, "u"), GiveBack((0, 1))]),
                ("b", STANDING_US, [Leave(0, "t"), Leave(0, "u")]),
                ("b", 2 * STANDING_US - 1, [*two_wait(), admit(ticket="t"), admit(ticket="u")]),
                ("b", 2 * STANDING_US, [GiveBack((0, 4))]),
                ("b", 4 * STANDING_US, [admit(units=3), *two_wait(), Check(0, "t"), Check(0, "u")]),
            ],
            id="an empty queue remembers for a while who was served",
        ),
        *(
            pytest.param([("b", after_us, [Look((2,))])], id=f"stale or not after {after_us} us")
            for after_us in (-(10**9) - 1, -(10**9), 2 * 10**9 - 1, 2 * 10**9)
        ),
        pytest.param(
            [("a", 0, [Write(0, 0, 9), Look((0,)), GiveBack((0, 2)), Look((0, 1))])],
            id="a level that was written is given back by none",
        ),
    ],
)
def test_scenes(redis_url: str, scene: list[tuple[str, int, list[Call]]]) -> None:
    world, store = WorldStore(), RedisBlockingStore(named(redis_url, str(scene)), timeout_s=60)
    store.connect()
    for seq, (member, after_us, calls) in enumerate(scene, 1):
        at_us = NOW_US + after_us
        ttl_us = 10**6 if member == "a" else 10**9
        sent = Batch(member, seq, ttl_us, True, at_us, RULES, CELLS, (*calls, Look((0,))))
        assert store.apply(sent) == world.apply(sent)
    store.close()
