"""One of many processes on one key: tries as fast as it can, and tells when it was let in.

`python -m admitting.contender SUBJECT URL KEY SKEW_S` says `ready`, reads the instants to begin
and to end from its input, and prints what it got as JSON. Its wall clock is SKEW_S ahead: that is
done before any library is imported, since libraries keep references to the clock. The instants are
of the monotonic clock, which the processes of a machine share and nobody sets.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

UNITS = 100
"""A second, and as many at once."""

Attempt = Callable[[str], Awaitable[bool]]


def set_ahead(skew_s: float) -> None:
    """Let the wall clock of this process go ahead of the others'."""
    real_s, real_ns = time.time, time.time_ns
    time.time = lambda: real_s() + skew_s
    time.time_ns = lambda: real_ns() + round(skew_s * 1e9)


@asynccontextmanager
async def ours(url: str, _key: str) -> AsyncIterator[Attempt]:
    from admitting import own
    from tidegate import RateLimit

    limit = RateLimit("requests", units=UNITS, period_s=1, burst=UNITS, per=("tenant",))
    async with own.gate_on((limit,), url) as gate:

        async def attempt(key: str) -> bool:
            return own.granted(await gate.admit(own.one_rate_claim(key)))

        yield attempt


@asynccontextmanager
async def limits_moving_window(url: str, _key: str) -> AsyncIterator[Attempt]:
    from limits import RateLimitItemPerSecond
    from limits.storage import RedisStorage
    from limits.strategies import MovingWindowRateLimiter

    limiter, item = MovingWindowRateLimiter(RedisStorage(url)), RateLimitItemPerSecond(UNITS)

    async def attempt(key: str) -> bool:
        return limiter.hit(item, key)

    yield attempt


@asynccontextmanager
async def throttled_gcra(url: str, _key: str) -> AsyncIterator[Attempt]:
    from throttled import RateLimiterType, RedisStore, Throttled, per_sec

    throttle = Throttled(
        using=RateLimiterType.GCRA.value,
        quota=per_sec(UNITS, burst=UNITS),
        store=RedisStore(server=url),
    )

    async def attempt(key: str) -> bool:
        return not throttle.limit(key).limited

    yield attempt


@asynccontextmanager
async def pyrate_log(url: str, key: str) -> AsyncIterator[Attempt]:
    import redis
    from pyrate_limiter import Limiter, Rate, RedisBucket
    from pyrate_limiter.limiter import SingleBucketFactory

    with redis.Redis.from_url(url) as client:
        limiters = {
            name: Limiter(
                SingleBucketFactory(
                    RedisBucket.init([Rate(UNITS, 1000)], client, name), schedule_leak=False
                )
            )
            for name in (key, warm(key))
        }

        async def attempt(name: str) -> bool:
            return limiters[name].try_acquire("item", blocking=False) is True

        yield attempt
        client.delete(*limiters)


SUBJECTS = {
    "ours": ours,
    "limits moving window": limits_moving_window,
    "throttled-py GCRA": throttled_gcra,
    "pyrate-limiter log": pyrate_log,
}


def warm(key: str) -> str:
    """Return the key that is tried first, so that connections are there when it counts."""
    return f"{key}-warm"


def begun() -> float:
    """Wait for the common beginning; return when the end is."""
    print("ready", flush=True)
    begin_s, end_s = map(float, sys.stdin.readline().split())
    time.sleep(max(0.0, begin_s - time.monotonic()))
    return end_s


async def contend(attempt: Attempt, key: str) -> dict[str, object]:
    """Try from the one instant to the other."""
    await attempt(warm(key))
    end_s = begun()
    granted_at_s: list[float] = []
    heard_s = refused_s = None
    tries, first_s = 0, time.monotonic()
    now_s = first_s
    while now_s < end_s:
        asked_s = now_s
        admitted = await attempt(key)
        now_s = time.monotonic()
        tries += 1
        heard_s = heard_s or now_s
        if admitted:
            granted_at_s.append(now_s)
        else:
            refused_s = asked_s
    return {
        "tries": tries,
        "first_s": first_s,
        "heard_s": heard_s or now_s,
        "refused_s": refused_s,
        "last_s": now_s,
        "granted_at_s": granted_at_s,
    }


async def main() -> None:
    subject, url, key, skew_s = sys.argv[1:]
    set_ahead(float(skew_s))
    async with SUBJECTS[subject](url, key) as attempt:
        print(json.dumps(await contend(attempt, key)))


if __name__ == "__main__":
    asyncio.run(main())
