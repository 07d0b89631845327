"""What the tests of the admission store on Redis share."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import msgspec

from tidegate.adapters.redis.address import RedisAddress, parse_address
from tidegate.adapters.redis.blocking_admission_store import RedisBlockingStore
from tidegate.domain.batch import Admit, Batch, Call, Levels, Reply, levels_of
from tidegate.domain.rule import STOCK, Rule
from tidegate.errors import StoreUnavailable

NOW_US = 1_900_000_000_000_000
TTL_US = 600_000_000
ROOM = Rule(kind=STOCK, ceiling=2**50)
HOLD = Admit((0, 0, 1), "x")
PREFIX = "tidegate:ratelimit:v1:{default}:"
PATIENT_S = 60.0


def store_at(url: str, timeout_s: float = PATIENT_S) -> RedisBlockingStore:
    """Return a connected store; whoever opens it closes it."""
    store = RedisBlockingStore(parse_address(url), timeout_s=timeout_s)
    store.connect()
    return store


def named(url: str, *words: Any) -> RedisAddress:
    """Return the address of a store of its own on a server that others use, too."""
    name = hashlib.sha256(repr(words).encode()).hexdigest()[:12]
    return parse_address(f"{url}?name=t{name}")


def batch(seq: int, *calls: Call, member: str = "m", **fields: Any) -> Batch:
    """Return a batch about one capacity, by the server's own clock."""
    whole = Batch(member, seq, TTL_US, True, 0, (ROOM,), ("room",), calls)
    return msgspec.structs.replace(whole, **fields)


def timeless(reply: Reply) -> Reply:
    """Return a reply without the instant of the server."""
    return msgspec.structs.replace(reply, now_us=0)


def held(reply: Reply) -> int:
    """Return the amount that the last call of a batch looked at."""
    answer = reply.answers[-1]
    assert isinstance(answer, Levels)
    return levels_of(answer)[0].amount


def carried(store: RedisBlockingStore, sent: Batch) -> Reply:
    """Send a batch until there is a reply, as a session does."""
    for _ in range(300):
        try:
            store.connect()
            return store.apply(sent)
        except StoreUnavailable:
            time.sleep(0.001)
    raise AssertionError("no reply after many attempts")
