"""What the admission store leaves in a server: all of it named, and none of it for ever."""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Iterator
from random import Random
from typing import Any

import msgspec
import pytest
import redis

from tests.conformance.batch_limits import comparable
from tests.conformance.batches import random_batches
from tests.conformance.worlds import WorldStore
from tests.integration.redis_admission import HOLD, NOW_US, PREFIX, batch, store_at
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import APPLIED, Adjust, Admit, Batch, Wait
from tidegate.domain.rule import RATE, Rule

pytest_plugins = ["tests.servers.fixtures"]
pytestmark = pytest.mark.needs("valkey")

HOUR_US = 3_600_000_000
SPARE_MS = 600_000
"""What keys outlive their meaning by, where a test says what time it is."""
UNTOUCHED_MS = 900_000_000
LONGEST_MS = 300_000_000
CELLS = f"{PREFIX}cells"


@pytest.fixture
def server(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def store(redis_url: str) -> Iterator[RedisBlockingStore]:
    store = store_at(redis_url)
    yield store
    store.close()


def lifetimes(server: redis.Redis) -> dict[bytes, int]:
    """Return for how many milliseconds each key will be there; -1: for ever."""
    keys = sorted(server.scan_iter(count=1000))
    with server.pipeline(transaction=False) as pipeline:
        for key in keys:
            pipeline.pttl(key)
        return dict(zip(keys, pipeline.execute(), strict=True))


def test_no_key_is_there_for_ever(server: redis.Redis, store: RedisBlockingStore) -> None:
    kinds: set[bytes] = set()
    for sent in random_batches(Random(3), 400):
        store.apply(sent)
        found = lifetimes(server)
        assert min(found.values(), default=1) > 0, found
        assert all(key.startswith(PREFIX.encode()) for key in found)
        kinds |= {key[len(PREFIX) :].split(b":")[0] for key in found}
    assert kinds == {b"cells", b"h", b"i", b"t", b"q", b"w", b"meta", b"members", b"queues"}


def expired_cells(server: redis.Redis, now_us: int) -> list[bytes]:
    """Return the cells that, as they say themselves, decide nothing any more."""
    found: dict[Any, Any] = server.hgetall(CELLS)
    return [name for name, value in found.items() if name and until_of(value) <= now_us]


def until_of(value: bytes) -> float:
    """Return until when a level decides anything."""
    (until_us,) = struct.unpack_from("<d", value, 24)
    assert isinstance(until_us, float)
    return until_us


@pytest.mark.parametrize("seed", [11, 12, 13])
def test_what_has_expired_would_decide_nothing(
    server: redis.Redis, store: RedisBlockingStore, seed: int
) -> None:
    """Time is moved by hand here, so all is removed by hand when its time has come.

    It only moves on: a clock that steps back finds gone what had expired until then.
    """
    world, until_us = WorldStore(), dict[bytes, int]()
    removed = latest_us = 0
    for number, random in enumerate(random_batches(Random(seed), 300)):
        latest_us = max(latest_us, random.now_us)
        sent = msgspec.structs.replace(random, now_us=latest_us)
        for key in [key for key, end_us in until_us.items() if end_us <= sent.now_us]:
            server.delete(key)
            del until_us[key]
        cells = expired_cells(server, latest_us)
        removed += server.hdel(CELLS, *cells) if cells else 0
        began_s = time.monotonic()
        expected, reply = world.apply(sent), store.apply(sent)
        found = lifetimes(server)
        passed_ms = math.ceil((time.monotonic() - began_s) * 1000)
        if reply.state == APPLIED:
            expected, reply = comparable(sent, expected), comparable(sent, reply)
        assert reply == expected, (seed, number)
        for key, left_ms in found.items():
            if left_ms < LONGEST_MS:
                # It was written just now, and is there for as long as it was, and what has passed.
                until_us[key] = sent.now_us + (left_ms - SPARE_MS + passed_ms) * 1000
                server.pexpire(key, UNTOUCHED_MS)
    assert removed > 100


def rates(count: int, *, apart_us: int) -> list[Batch]:
    """Return batches that take from so many cells of a rate that forgets in ten microseconds."""
    rule = Rule(kind=RATE, ceiling=10, drain=1, forget_us=10)
    claims = tuple(Admit((number, 0, 1), "x") for number in range(100))
    return [
        batch(
            number + 1,
            *claims,
            rules=(rule,),
            cells=tuple(f"c{100 * number + at}" for at in range(100)),
            now_us=NOW_US + number * apart_us,
        )
        for number in range(count // 100)
    ]


def test_levels_that_have_drained_are_removed_as_others_come(
    server: redis.Redis, store: RedisBlockingStore
) -> None:
    for sent in rates(20_000, apart_us=100):
        store.apply(sent)
        assert server.hlen(CELLS) <= 2_000


def test_levels_that_have_drained_are_removed_when_none_come(
    server: redis.Redis, store: RedisBlockingStore
) -> None:
    for sent in rates(5_000, apart_us=0):
        store.apply(sent)
    assert server.hlen(CELLS) == 5_001
    for seq in range(1_000, 3_000):
        store.apply(batch(seq, now_us=NOW_US + 10**6))
    assert server.hlen(CELLS) <= 1_001


def test_levels_of_a_small_store_stay_until_it_is_left(
    server: redis.Redis, store: RedisBlockingStore
) -> None:
    for sent in rates(900, apart_us=1_000):
        store.apply(sent)
    assert server.hlen(CELLS) == 901
    assert server.object("encoding", CELLS) == b"hashtable"
    assert 0 < server.pttl(CELLS) <= 172_800_000


def test_what_a_level_was_charged_beyond_its_ceiling_is_kept_until_it_has_drained(
    server: redis.Redis, store: RedisBlockingStore
) -> None:
    rule = Rule(kind=RATE, ceiling=10, drain=1, forget_us=10)
    store.apply(batch(1, Adjust(0, 0, 5_000_000, 0), rules=(rule,), cells=("c",), now_us=NOW_US))
    value: Any = server.hget(CELLS, "c")
    assert 5_000_000 <= until_of(value) - NOW_US <= 5_000_001


def test_a_living_member_keeps_what_it_holds_from_expiring(
    server: redis.Redis, store: RedisBlockingStore
) -> None:
    long_us = 100 * HOUR_US
    wait = Wait(0, 0, 1, "t", "x", 1, 500)
    store.apply(batch(1, HOLD, wait, now_us=NOW_US, ttl_us=long_us))
    kept = [
        f"{PREFIX}{key}"
        for key in ("cells", "h:m", "t:m", "q:room", "w:room", "meta", "members", "queues")
    ]
    assert server.exists(*kept) == len(kept)
    for hours, touched in ((5, False), (7, True)):
        for key in kept:
            server.pexpire(key, 1_000_000)
        store.apply(batch(0, now_us=NOW_US + hours * HOUR_US, ttl_us=long_us))
        found = lifetimes(server)
        assert {found[key.encode()] > 1_000_000 for key in kept} == {touched}
        # Levels go first: what nobody holds any more is not missed.
        assert not touched or found[kept[0].encode()] < min(found[key.encode()] for key in kept[1:])
