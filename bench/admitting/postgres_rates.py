"""Row 9: many tasks at one PostgreSQL, with a row that every claim needs.

Four timed limits a claim, one of them common to all; nothing is held, so that both sides do the
same. What the server says of deadlocks and of transactions rolled back is read before and after.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, LiteralString

from admitting import own, postgres_peer
from admitting.crowd import Act, Contestant, Results, compete
from admitting.effort import FULL, Effort
from admitting.redis_rates import HOSTS, TENANTS, tenant
from admitting.servers import Servers
from admitting.table import Bar, Row
from tidegate import Claim, Granted, Quota
from tidegate.bootstrap.sharing import MEMBER_TTL_US

GROUP = "postgres"
FOUR = "four timed limits, one common to all"
HOT = Quota("calls", units=own.AMPLE, period="month", name=f"calls-{tenant(0)}")
LIMITS = (*own.FOUR_LIMITS[:3], HOT)
TAKE = {**own.TAKE, "calls": 1}
SETTLE_S = 1.5
"""Backends tell their statistics at most once a second."""
DURABLE: tuple[LiteralString, ...] = ("fsync", "synchronous_commit")
TROUBLE = "SELECT sum(deadlocks), sum(xact_rollback) FROM pg_stat_database"


def measure(effort: Effort, servers: Servers) -> list[Row]:
    url = servers.postgresql()
    durable = " ".join(f"{name}={setting(url, name)}" for name in DURABLE)
    if effort.tasks >= FULL.tasks:
        asyncio.run(forget_others(url))
    before = trouble(url)
    ours = hot_claims(url)
    results = asyncio.run(compete([ours], effort))
    after = trouble(url)
    # Ours once more, now in turns with the peer, whose transactions would hide ours above.
    turns = asyncio.run(compete([hot_claims(url), postgres_peer.row_locks(url)], effort))
    faster = Row(
        group=GROUP,
        what=f"{FOUR}, {effort.tasks} tasks, {durable}",
        ours=turns.said(FOUR),
        peer=f"{postgres_peer.NAME}, {postgres_peer.CONNECTIONS} connections:"
        f" {turns.said(postgres_peer.NAME)}",
        value=turns.faster(FOUR, postgres_peer.NAME),
        bar=Bar(at_least=25),
        figures=turns.figures(FOUR, "ours") | turns.figures(postgres_peer.NAME, "peer"),
    )
    return [faster, undisturbed(results, before, after)]


async def forget_others(url: str) -> None:
    """Let the store take back what earlier gates held; for that it rolls back, and reads again."""
    await asyncio.sleep(MEMBER_TTL_US / 1e6 + 1)
    async with hot_claims(url).open(1) as (claim,):
        await claim()


def undisturbed(results: Results, before: Sequence[int], after: Sequence[int]) -> Row:
    what, bar = "deadlocks and rollbacks meanwhile", Bar(at_most=0, unit="")
    if FOUR not in results.bursts:
        return Row(group=GROUP, what=what, ours=results.absent[FOUR], unit="", bar=bar)
    deadlocks, rollbacks = (late - early for early, late in zip(before, after, strict=True))
    return Row(
        group=GROUP,
        what=what,
        ours=f"{deadlocks} deadlocks, {rollbacks} rollbacks",
        value=deadlocks + rollbacks,
        unit="",
        bar=bar,
        figures={"deadlocks": deadlocks, "rollbacks": rollbacks},
    )


def hot_claims(url: str) -> Contestant:
    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        async with own.gate_on(LIMITS, url) as gate:
            yield [
                partial(
                    gate.admit,
                    Claim(tenant=tenant(task % TENANTS), host=f"h{task % HOSTS}", take=TAKE),
                )
                for task in range(tasks)
            ]

    return Contestant(name=FOUR, open=opened, right=lambda answer: isinstance(answer, Granted))


def trouble(url: str) -> tuple[int, int]:
    """Return deadlocks and rollbacks so far, once every backend has had time to tell."""
    time.sleep(SETTLE_S)
    deadlocks, rollbacks = ask(url, TROUBLE)
    return int(deadlocks), int(rollbacks)


def setting(url: str, name: LiteralString) -> str:
    return str(ask(url, f"SHOW {name}")[0])


def ask(url: str, statement: LiteralString) -> tuple[Any, ...]:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(statement).fetchone()
    assert found is not None
    return found
