"""Rows 7 and 8: many tasks of one process at one Redis; whole claims, many tenants, leased tokens.

All contestants take turns on one server. The p50 of the whole claim is that of admission and
release together.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from functools import partial
from itertools import count
from typing import Any

from admitting import own, redis_peers
from admitting.crowd import Act, Contestant, Results, compete
from admitting.effort import Effort
from admitting.redis_peers import FIXED_WINDOW, RUN, THROTTLED
from admitting.servers import Servers
from admitting.table import Bar, NotMeasured, Row, significant
from tidegate import Granted, RateLimit
from tidegate.domain.limit import Limit

GROUP = "redis"
LEASED_GROUP = "leased"
TENANTS = 100
HOSTS = 50
LEASED = 100
ONE = "one rate"
FOUR = "four limits + release"
BATCHED = f"one rate, leased by {LEASED}"
P50_MS = Bar(at_most=8, unit="ms")


def measure(effort: Effort, servers: Servers) -> list[Row]:
    url = servers.redis()
    many = f"{FOUR}, {effort.tenants:,} tenants"
    contestants = [
        rates(ONE, url),
        whole_claims(FOUR, url, tenants=TENANTS),
        whole_claims(many, url, tenants=effort.tenants),
        redis_peers.limits_aio(url),
        redis_peers.throttled_aio(url),
    ]
    results = competed(contestants, effort, url)
    bars = {ONE: 15.0, FOUR: 8.0, many: 6.0}
    rows = [against_limits(GROUP, name, effort, results, bar) for name, bar in bars.items()]
    p50_ms = results.middle(FOUR, "p50_ms")
    waits = Row(
        group=GROUP,
        what=f"{FOUR}, {effort.tasks} tasks: p50",
        ours=results.absent.get(FOUR, f"p99 {significant(results.middle(FOUR, 'p99_ms') or 0)} ms"),
        value=p50_ms,
        unit="ms",
        bar=P50_MS,
    )
    peer = Row(
        group=GROUP,
        what=f"{ONE}, {effort.tasks} tasks",
        ours=results.said(ONE),
        peer=f"{THROTTLED}: {results.said(THROTTLED)}",
        value=results.faster(ONE, THROTTLED),
    )
    return [*rows, waits, peer]


def measure_leased(effort: Effort, servers: Servers) -> list[Row]:
    url = servers.redis()
    results = competed([leased(url), redis_peers.limits_aio(url)], effort, url)
    return [against_limits(LEASED_GROUP, BATCHED, effort, results, 60.0)]


def competed(contestants: Sequence[Contestant], effort: Effort, url: str) -> Results:
    with redis_peers.looking_at(url) as server_cpu_s:
        return asyncio.run(compete(contestants, effort, server_cpu_s))


def against_limits(group: str, name: str, effort: Effort, results: Results, at_least: float) -> Row:
    return Row(
        group=group,
        what=f"{name}, {effort.tasks} tasks",
        ours=results.said(name),
        peer=f"{FIXED_WINDOW}: {results.said(FIXED_WINDOW)}",
        value=results.faster(name, FIXED_WINDOW),
        bar=Bar(at_least=at_least),
        figures=results.figures(name, "ours") | results.figures(FIXED_WINDOW, "peer"),
    )


def rates(name: str, url: str, limits: Sequence[Limit] = own.ONE_RATE) -> Contestant:
    """One rate a claim; each task has a claim of its own and uses it again."""

    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        async with own.gate_on(limits, url) as gate:
            yield [
                partial(gate.admit, own.one_rate_claim(tenant(task % TENANTS)))
                for task in range(tasks)
            ]

    return Contestant(name=name, open=opened, right=own.granted)


def whole_claims(name: str, url: str, *, tenants: int) -> Contestant:
    """Four limits and the release; the tasks go through all the tenants, over and over."""

    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        claims = [
            own.four_limits_claim(tenant(number), f"host-{number % HOSTS}.example")
            for number in range(tenants)
        ]
        numbers = count()
        async with own.gate_on(own.FOUR_LIMITS, url) as gate:

            async def act() -> object:
                decision = await gate.admit(claims[next(numbers) % tenants])
                assert isinstance(decision, Granted), decision
                decision.lease.release()
                return decision

            yield [act] * tasks

    return Contestant(name=name, open=opened, right=own.granted)


def leased(url: str) -> Contestant:
    """One rate whose tokens this process takes from the store a hundred at a time."""

    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        async with rates(BATCHED, url, (leased_rate(),)).open(tasks) as acts:
            yield acts

    return Contestant(name=BATCHED, open=opened, right=own.granted)


def leased_rate() -> RateLimit:
    if "leased" not in {field.name for field in fields(RateLimit)}:
        raise NotMeasured("not built: RateLimit(leased=...)")
    options: dict[str, Any] = {"leased": LEASED}
    return RateLimit("requests", units=own.AMPLE, period_s=1, per=("tenant",), **options)


def tenant(number: int) -> str:
    return f"{RUN}-{number}"
