"""Row 3: a refusal against a grant of the same claim, in memory and on every store.

A flood is made of refusals, so they must not cost more. In memory what was granted is given back
after the clock has stopped; on stores it is the time a decision takes when many tasks ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from typing import Any

from admitting import own
from admitting.crowd import Act, Contestant, compete
from admitting.effort import Effort
from admitting.redis_rates import tenant
from admitting.servers import Servers
from admitting.table import Bar, NotMeasured, Row, nanoseconds
from admitting.timing import Subject, cpu_ns, middle, times
from admitting.whole_claim import ids
from tidegate import Capacity, Claim, Granted
from tidegate.domain.limit import Limit

GROUP = "refusal"
BAR = Bar(at_most=1.3)
GRANT, REFUSAL = "grant", "refusal"
NO_BROWSERS: tuple[Limit, ...] = (*own.FOUR_LIMITS[:3], Capacity("browsers", units=1))
"""The four limits, with a single browser that is held first."""


def measure(effort: Effort, servers: Servers) -> list[Row]:
    rows = [in_memory("one rate", one_rate, effort), in_memory("four limits", four, effort)]
    stores = {"redis": servers.redis, "postgresql": servers.postgresql, "sqlite": servers.sqlite}
    return rows + [on_store(name, url_of, effort) for name, url_of in stores.items()]


def in_memory(what: str, make: Callable[[], list[Subject]], effort: Effort) -> Row:
    timings = cpu_ns(make(), calls=effort.calls, repeats=effort.repeats)
    mine, its = middle(timings, REFUSAL), middle(timings, GRANT)
    return Row(
        group=GROUP,
        what=f"refusal, {what}, memory",
        ours=nanoseconds(mine),
        peer=f"our own grant: {nanoseconds(its)}",
        value=times(timings, REFUSAL, GRANT),
        bar=BAR,
        figures={"refusal_ns": mine, "grant_ns": its},
    )


def one_rate() -> list[Subject]:
    spent = own.open_gate(own.SPENT_RATE).try_admit
    spent(own.one_rate_claim())
    return [
        decided(GRANT, partial(own.open_gate(own.ONE_RATE).try_admit, own.one_rate_claim())),
        decided(REFUSAL, partial(spent, own.one_rate_claim())),
    ]


def decided(name: str, admit: Callable[[], object]) -> Subject:
    def run(items: Iterable[Any]) -> object:
        decision: object = None
        for _ in items:
            decision = admit()
        return decision

    return Subject(name=name, run=run, check=own.all_granted if name == GRANT else own.all_refused)


def four() -> list[Subject]:
    empty = own.open_gate(NO_BROWSERS).try_admit
    empty(own.four_limits_claim(), lease_s=86_400)
    return [kept(GRANT, own.open_gate(own.FOUR_LIMITS).try_admit), kept(REFUSAL, empty)]


def kept(name: str, admit: Callable[[Claim], object]) -> Subject:
    """Decide new claims with ids of their own, and give back what they got outside the clock."""
    numbers = count()

    def run(items: Iterable[Any]) -> list[object]:
        return [
            admit(
                Claim(tenant="acme", host="example.com", take=own.TAKE, hold=own.HOLD, id=claim_id)
            )
            for claim_id in items
        ]

    def check(decisions: list[object]) -> None:
        (own.all_granted if name == GRANT else own.all_refused)(decisions[-1])
        for decision in decisions:
            if isinstance(decision, Granted):
                decision.lease.release()

    return Subject(name=name, run=run, prepare=partial(ids, numbers), check=check)


def on_store(name: str, url_of: Callable[[], str], effort: Effort) -> Row:
    what = f"refusal, one rate, {name}, {effort.tasks} tasks"
    try:
        url = url_of()
    except NotMeasured as why:
        return Row(group=GROUP, what=what, ours=str(why), bar=BAR)
    granting = asked(GRANT, url, own.ONE_RATE, "granted", own.granted)
    refusing = asked(REFUSAL, url, own.SPENT_RATE, "refused", own.refused)
    results = asyncio.run(compete([granting, refusing], effort))
    return Row(
        group=GROUP,
        what=what,
        ours=results.said(REFUSAL),
        peer=f"our own grant: {results.said(GRANT)}",
        value=results.faster(GRANT, REFUSAL),
        bar=BAR,
        figures=results.figures(REFUSAL, "refusal") | results.figures(GRANT, "grant"),
    )


def asked(
    name: str, url: str, limits: Sequence[Limit], whose: str, right: Callable[[Any], bool]
) -> Contestant:
    """Ask for one rate on the store; tenants of the two kinds share no key."""

    @asynccontextmanager
    async def opened(tasks: int) -> AsyncIterator[Sequence[Act]]:
        claims = [own.one_rate_claim(f"{tenant(task)}-{whose}") for task in range(tasks)]
        async with own.gate_on(limits, url) as gate:
            if name == REFUSAL:
                await asyncio.gather(*(gate.admit(claim) for claim in claims))
            yield [partial(gate.admit, claim) for claim in claims]

    return Contestant(name=name, open=opened, right=right)
