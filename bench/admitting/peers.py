"""The peers in memory: one decision of each on one key, at a limit that is never reached.

limits counts in fixed windows, its cheapest strategy. Its storage leaves a timer to a thread of
its own while hits come; a slice waits for it, so that nobody else pays. throttled-py and
pyrate-limiter run GCRA, which is what a rate of ours is.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

from admitting.own import AMPLE
from admitting.table import NotMeasured
from admitting.timing import Subject

KEY = "acme"
PACKAGES = {
    "limits": "limits",
    "throttled": "throttled-py",
    "pyrate_limiter": "pyrate-limiter",
    "aiolimiter": "aiolimiter",
    "redis": "redis",
    "hiredis": "hiredis",
    "psycopg": "psycopg",
}
"""Modules and the distributions they come in."""

FIXED_WINDOW = "limits fixed window"
THROTTLED = "throttled-py GCRA"
PYRATE = "pyrate-limiter GCRA"
AIO_FIXED_WINDOW = "limits.aio fixed window"
AIOLIMITER = "aiolimiter"


def versions() -> dict[str, str]:
    return {
        package: importlib.metadata.version(package) if importlib.util.find_spec(module) else "-"
        for module, package in PACKAGES.items()
    }


def require(module: str) -> None:
    """Say that a peer is missing before its import would."""
    if importlib.util.find_spec(module) is None:
        raise NotMeasured(f"{PACKAGES[module]} is not installed")


def was_true(result: object) -> None:
    if result is not True:
        raise AssertionError(f"a peer refused at an ample limit: {result}")


def fixed_window() -> Subject:
    require("limits")
    from limits import RateLimitItemPerMinute
    from limits.storage import MemoryStorage
    from limits.strategies import FixedWindowRateLimiter

    storage = MemoryStorage()
    hit = FixedWindowRateLimiter(storage).hit
    item = RateLimitItemPerMinute(AMPLE)

    def run(items: Iterable[Any]) -> bool:
        last = False
        for _ in items:
            last = hit(item, KEY)
        storage.timer.join()
        return last

    return Subject(name=FIXED_WINDOW, run=run, check=was_true)


def throttled_gcra() -> Subject:
    require("throttled")
    from throttled import MemoryStore, RateLimiterType, Throttled, per_min

    throttle = Throttled(
        using=RateLimiterType.GCRA.value, quota=per_min(AMPLE, burst=AMPLE), store=MemoryStore()
    )
    limit = throttle.limit

    def run(items: Iterable[Any]) -> bool:
        limited = True
        for _ in items:
            limited = limit(KEY).limited
        return not limited

    return Subject(name=THROTTLED, run=run, check=was_true)


def pyrate_gcra() -> Subject:
    require("pyrate_limiter")
    from pyrate_limiter import GCRA, InMemoryStateStore, Limiter, Rate, StateBucket
    from pyrate_limiter.limiter import SingleBucketFactory

    bucket = StateBucket([Rate(AMPLE, 60_000)], store=InMemoryStateStore(), algorithm=GCRA())
    acquire = Limiter(SingleBucketFactory(bucket, schedule_leak=False)).try_acquire

    def run(items: Iterable[Any]) -> object:
        last: object = False
        for _ in items:
            last = acquire(KEY, blocking=False)
        return last

    return Subject(name=PYRATE, run=run, check=was_true)


def aio_fixed_window(runner: asyncio.Runner) -> Subject:
    require("limits")
    from limits import RateLimitItemPerMinute
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import FixedWindowRateLimiter

    hit = FixedWindowRateLimiter(MemoryStorage()).hit
    item = RateLimitItemPerMinute(AMPLE)

    async def hits(items: Iterable[Any]) -> bool:
        last = False
        for _ in items:
            last = await hit(item, KEY)
        return last

    return Subject(name=AIO_FIXED_WINDOW, run=lambda items: runner.run(hits(items)), check=was_true)


def leaky_bucket(runner: asyncio.Runner) -> Subject:
    require("aiolimiter")
    from aiolimiter import AsyncLimiter

    acquire = AsyncLimiter(AMPLE, 60).acquire

    async def acquires(items: Iterable[Any]) -> None:
        for _ in items:
            await acquire()

    return Subject(name=AIOLIMITER, run=lambda items: runner.run(acquires(items)))


def present(*makers: Callable[[], Subject]) -> tuple[list[Subject], list[str]]:
    """Return the peers that are installed, and of the others why not."""
    subjects, absent = [], []
    for make in makers:
        try:
            subjects.append(make())
        except NotMeasured as why:
            absent.append(str(why))
    return subjects, absent
