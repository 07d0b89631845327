"""The peers on Redis from tasks, and how the server is looked at.

Each task hits a key of its own; the limit is never reached. Both peers need `max_connections`:
by default redis-py's pool refuses the hundred-and-first task. The keys carry the name of the run
and expire.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

from admitting.crowd import Act, Contestant, ServerCpu
from admitting.own import AMPLE
from admitting.peers import require

CONNECTIONS = 600
FIXED_WINDOW = "limits.aio fixed window"
THROTTLED = "throttled-py GCRA"
RUN = secrets.token_hex(4)
"""Part of every key, so that no run meets what another one left."""


def limits_aio(url: str) -> Contestant:
    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        require("limits")
        from limits import RateLimitItemPerMinute
        from limits.aio.storage import RedisStorage
        from limits.aio.strategies import FixedWindowRateLimiter
        from redis.asyncio import ConnectionPool

        pool = ConnectionPool.from_url(url, max_connections=CONNECTIONS)
        options: dict[str, Any] = {"implementation": "redispy", "connection_pool": pool}
        storage = RedisStorage(f"async+{url}", **options)
        hit, item = FixedWindowRateLimiter(storage).hit, RateLimitItemPerMinute(AMPLE)
        try:
            yield [partial(hit, item, f"{RUN}-{task}") for task in range(tasks)]
        finally:
            await pool.disconnect()

    return Contestant(name=FIXED_WINDOW, open=opened, right=bool)


def throttled_aio(url: str) -> Contestant:
    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        require("throttled")
        from throttled.asyncio import RateLimiterType, RedisStore, Throttled, per_min

        store = RedisStore(
            server=url, options={"CONNECTION_POOL_KWARGS": {"max_connections": CONNECTIONS}}
        )
        throttle = Throttled(
            using=RateLimiterType.GCRA.value, quota=per_min(AMPLE, burst=AMPLE), store=store
        )
        client: Any = store._backend.get_client()
        try:
            yield [partial(throttle.limit, f"{RUN}-{task}") for task in range(tasks)]
        finally:
            await client.aclose()
            await client.connection_pool.disconnect()

    return Contestant(name=THROTTLED, open=opened, right=lambda result: not result.limited)


@contextmanager
def looking_at(url: str) -> Iterator[ServerCpu]:
    """Give the CPU seconds of the server, over a connection of its own."""
    require("redis")
    import redis

    with redis.Redis.from_url(url) as client:

        def used_s() -> float:
            info = client.info("cpu")
            return float(info["used_cpu_user"]) + float(info["used_cpu_sys"])

        yield used_s
