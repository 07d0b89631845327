"""The SQL stores on real databases against the rule: the same batches, the same replies."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.conformance.batches import comparable, random_batches
from tests.conformance.worlds import WorldStore
from tests.integration.sql_admission import batch, connected, sqlite_url
from tidegate.adapters.sql.shared import reach
from tidegate.adapters.sql.shared.names import NAME_MAX
from tidegate.adapters.sql.shared.sweeping import Sweep
from tidegate.domain.batch import Admit, Batch, End, GiveBack, Levels, Look, Reply, Wait, Yes

pytest_plugins = ["tests.servers.fixtures"]

URLS = ["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))]


@pytest.fixture(params=URLS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield sqlite_url(tmp_path)
    else:
        yield request.getfixturevalue("postgres_url")


def seen(sent: Batch, reply: Reply) -> Reply:
    return comparable(sent, reply) if reply.answers else reply


def assert_equal_on(url: str, seed: int, count: int) -> None:
    world = WorldStore()
    with connected(url) as store:
        for number, sent in enumerate(random_batches(Random(seed), count)):
            expected, reply = world.apply(sent), store.apply(sent)
            assert seen(sent, reply) == seen(sent, expected), (seed, number, sent)


@pytest.mark.parametrize("seed", range(8))
def test_random_batches_get_the_replies_of_the_rule(url: str, seed: int) -> None:
    assert_equal_on(url, seed, 300)


@pytest.mark.parametrize("seed", range(8, 12))
def test_what_is_swept_away_is_not_missed(
    url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sweep, "rows", lambda sweep, new: 5)
    assert_equal_on(url, seed, 300)


def test_names_may_be_long_and_strange(url: str) -> None:
    world = WorldStore()
    long = "x" * (5 * NAME_MAX)
    names = (long, f"{long}y", "\0", "é" * NAME_MAX, "'; DROP TABLE tidegate_cells", "", "\ud800")
    every = tuple(range(len(names)))
    admits = [
        Admit((index, 0, index + 1), name, claim_id=name, digest="d")
        for index, name in enumerate(names)
    ]
    sent = batch(1, *admits, Wait(0, 0, 1, "t", "\udfff", 1, 500), Look(every))
    sent = msgspec.structs.replace(sent, cells=names, now_us=10**15)
    again = msgspec.structs.replace(sent, seq=2, hello=False)
    with connected(url) as store:
        for each in (sent, sent, again):
            assert store.apply(each) == world.apply(each)
        ends = [End(name, 10**15 + 1 + n) for n, name in enumerate(names)]
        end = msgspec.structs.replace(sent, seq=3, calls=(*ends, Look(every)))
        assert store.apply(end) == world.apply(end)


def test_a_dead_member_with_much_is_taken_back_in_portions(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reach, "STAKES_MAX", 10)
    for module in ("sqlite.tables", "postgres.loading"):
        monkeypatch.setattr(f"tidegate.adapters.sql.shared.{module}.STAKES_MAX", 10)
    cells = tuple(f"cell-{index:02}" for index in range(45))
    takes = [Admit((index, 0, 1), "x") for index in range(45)]
    start_us = 10**15
    dying = batch(1, *takes, cells=cells, ttl_us=5, now_us=start_us)
    look = batch(1, Look(tuple(range(45))), member="n", cells=cells, now_us=start_us + 10)
    with connected(url) as store:
        assert all(isinstance(answer, Yes) for answer in store.apply(dying).answers)
        left = []
        for seq in range(1, 8):
            (levels,) = store.apply(msgspec.structs.replace(look, seq=seq)).answers
            assert isinstance(levels, Levels)
            left.append(sum(levels.levels[::4]))
        assert left == [35, 25, 15, 5, 0, 0, 0]
        # What has come back is not given back once more.
        back = batch(8, GiveBack((0, 1)), member="n", cells=cells, now_us=start_us + 10)
        store.apply(back)
        again = msgspec.structs.replace(look, seq=9)
        (levels,) = store.apply(again).answers
        assert isinstance(levels, Levels)
        assert sum(levels.levels[::4]) == 0
