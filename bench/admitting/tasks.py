"""Row 5: one rate in memory from a task, awaited: what a web application's middleware does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Any

from admitting import own, peers
from admitting.effort import Effort
from admitting.one_rate import faster
from admitting.table import Row
from admitting.timing import Subject, cpu_ns

GROUP = "async"
AWAITED = "one rate, await gate.admit, claim reused"
BARS = {peers.AIO_FIXED_WINDOW: (4.0, 7.0), peers.AIOLIMITER: (1.0, 1.8)}


def measure(effort: Effort) -> list[Row]:
    with asyncio.Runner() as runner:
        rivals, _ = peers.present(
            partial(peers.aio_fixed_window, runner), partial(peers.leaky_bucket, runner)
        )
        timings = cpu_ns([awaited(runner), *rivals], calls=effort.calls, repeats=effort.repeats)
    return [
        faster(GROUP, AWAITED, timings, rival, own.must(at_least=bar))
        for rival, bar in BARS.items()
    ]


def awaited(runner: asyncio.Runner) -> Subject:
    admit = own.open_gate(own.ONE_RATE).admit
    claim = own.one_rate_claim()

    async def admits(items: Iterable[Any]) -> object:
        decision: object = None
        for _ in items:
            decision = await admit(claim)
        return decision

    return Subject(name=AWAITED, run=lambda items: runner.run(admits(items)), check=own.all_granted)
