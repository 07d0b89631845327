"""Many tasks at one store: decisions a second, how long one takes, and the CPU it costs.

Each task makes one decision after the other. Contestants take turns, a burst each, and a ratio is
the median of the ratios burst by burst. The time of every fourth decision is taken, which is
cheap enough to disturb no one. A burst ends by a timer, and by a look at the clock as well, since
decisions that need no store never let a timer in.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from admitting.effort import Effort
from admitting.table import NotMeasured, a_second

Act = Callable[[], Awaitable[Any]]
ServerCpu = Callable[[], float]
"""Returns the CPU seconds that the server has used so far."""

LOOK_EVERY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Burst:
    """What a crowd got done. CPU is microseconds a decision, of the clients and of the server."""

    rate: float
    p50_ms: float
    p99_ms: float
    client_us: float
    server_us: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """Opened once; gives one act for each task, and says whether an answer is what it should be."""

    name: str
    open: Callable[[int], AbstractAsyncContextManager[Sequence[Act]]]
    right: Callable[[Any], bool]


@dataclass(slots=True, kw_only=True)
class Results:
    """Bursts by contestant, and why others have none."""

    bursts: dict[str, list[Burst]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def middle(self, name: str, what: str) -> float | None:
        bursts = self.bursts.get(name)
        return statistics.median(getattr(burst, what) for burst in bursts) if bursts else None

    def faster(self, name: str, other: str) -> float | None:
        """How many times the other's rate this one's is."""
        if name not in self.bursts or other not in self.bursts:
            return None
        pairs = zip(self.bursts[name], self.bursts[other], strict=True)
        return statistics.median(mine.rate / its.rate for mine, its in pairs)

    def said(self, name: str) -> str:
        """Say what was measured, or why nothing was."""
        rate = self.middle(name, "rate")
        if rate is None:
            return self.absent.get(name, "-")
        parts = [a_second(rate)]
        parts.append(f"p50 {self.middle(name, 'p50_ms'):.2f} ms")
        parts.append(f"CPU {self.middle(name, 'client_us'):.1f}")
        server_us = self.middle(name, "server_us")
        return " ".join(parts) + (f"+{server_us:.1f} us" if server_us else " us")

    def figures(self, name: str, prefix: str) -> dict[str, float]:
        whats = ("rate", "p50_ms", "p99_ms", "client_us", "server_us")
        found = {f"{prefix}_{what}": self.middle(name, what) for what in whats}
        return {key: value for key, value in found.items() if value is not None}


async def compete(
    contestants: Sequence[Contestant], effort: Effort, server_cpu_s: ServerCpu = lambda: 0.0
) -> Results:
    """Let them take turns; whoever cannot be opened is absent."""
    results = Results()
    async with AsyncExitStack() as stack:
        opened: dict[Contestant, Sequence[Act]] = {}
        for contestant in contestants:
            try:
                acts = await stack.enter_async_context(contestant.open(effort.tasks))
            except NotMeasured as why:
                results.absent[contestant.name] = str(why)
                continue
            opened[contestant] = acts
            # Connections are made and scripts are loaded before anything is measured.
            await _burst(acts, contestant.right, effort.burst_s / 4, server_cpu_s)
        for number in range(effort.bursts):
            turns = list(opened.items())
            first = number % max(1, len(turns))
            for contestant, acts in (*turns[first:], *turns[:first]):
                burst = await _burst(acts, contestant.right, effort.burst_s, server_cpu_s)
                results.bursts.setdefault(contestant.name, []).append(burst)
    return results


class _Crowd:
    """One burst while it goes on."""

    def __init__(self, right: Callable[[Any], bool], seconds: float) -> None:
        self.right = right
        self.end_s = time.perf_counter() + seconds
        self.ended = False
        self.done = 0
        self.waits_s: list[float] = []

    def end(self) -> None:
        self.ended = True

    async def work(self, act: Act) -> None:
        clock, number, answer = time.perf_counter, 0, None
        while not self.ended:
            if number % LOOK_EVERY:
                answer = await act()
            else:
                begun_s = clock()
                answer = await act()
                now_s = clock()
                self.waits_s.append(now_s - begun_s)
                self.ended = self.ended or now_s >= self.end_s
            number += 1
        self.done += number
        if number and not self.right(answer):
            raise AssertionError(f"not what it should be: {answer}")


async def _burst(
    acts: Sequence[Act], right: Callable[[Any], bool], seconds: float, server_cpu_s: ServerCpu
) -> Burst:
    gc.collect()
    before_server_s, before_s = server_cpu_s(), time.process_time()
    crowd, begun_s = _Crowd(right, seconds), time.perf_counter()
    ender = asyncio.get_running_loop().call_later(seconds, crowd.end)
    try:
        async with asyncio.TaskGroup() as group:
            for act in acts:
                group.create_task(crowd.work(act))
    finally:
        ender.cancel()
    took_s = time.perf_counter() - begun_s
    client_s, server_s = time.process_time() - before_s, server_cpu_s() - before_server_s
    waits_s = sorted(crowd.waits_s)
    return Burst(
        rate=crowd.done / took_s,
        p50_ms=1000 * statistics.median(waits_s),
        p99_ms=1000 * waits_s[min(len(waits_s) - 1, int(0.99 * len(waits_s)))],
        client_us=1e6 * client_s / crowd.done,
        server_us=1e6 * server_s / crowd.done,
    )
