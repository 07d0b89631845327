"""Lending browsers, WASM instances and PDF workers: one job each, first come, first served.

The pool decides who gets a worker and when one is wanted; `roster` keeps the cap. A job that is
cancelled while it waits leaves no trace: the worker that was being started for it serves the
next one. Maintenance finds dead idle workers without lending them. Single event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Generic, TypeVar

from tidegate.domain.pooling import PoolLimits, PoolStats, WorkerHealth
from tidegate.errors import Unavailable
from tidegate.facades.roster import Roster, Worker
from tidegate.ports.clock import Clock
from tidegate.ports.pooled import Pooled

T = TypeVar("T", bound=Pooled)

MEMORY_ROUNDS = 4
"""Memory is read in every fourth round of maintenance, each second by default: it costs more."""

_log = logging.getLogger(__name__)


class Pool(Generic[T]):
    """Up to `limits.size` workers, lent to one job at a time, replaced when dead or worn.

    Args:
        name: What is lent, in the singular: part of worker ids and messages.
        start: Makes one worker. Must bear cancellation, which only `stop` uses.
        interval_us: Pause between two rounds of maintenance.
    """

    def __init__(
        self,
        name: str,
        *,
        start: Callable[[], Awaitable[T]],
        clock: Clock,
        limits: PoolLimits,
        interval_us: int = 250_000,
    ) -> None:
        self.name, self.limits = name, limits
        self._clock, self._interval_s = clock, interval_us / 1e6
        self._roster = Roster(name, start=start, clock=clock, limits=limits, listener=self)
        self._waiters: deque[asyncio.Future[Worker[T]]] = deque()
        self._maintenance: asyncio.Task[None] | None = None
        self._measuring: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        self._drained = asyncio.Event()

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[T]:
        """Lend a worker for one job, starting it or waiting for it where none is idle.

        Whatever ends the job, the worker is back before this returns: kept while alive and
        fresh, closed in the background otherwise.

        Raises:
            Unavailable: the pool is stopped.
            Exception: what `start` raised, if a worker had to be started for this job.
        """
        worker = await self._acquire()
        worker.operations += 1
        try:
            yield worker.item
        finally:
            self._give_back(worker)

    async def start(self) -> None:
        """Begin to keep `limits.keep_warm` workers alive, without waiting for them. Idempotent."""
        self._refuse_if_stopped()
        if self._maintenance is None:
            self._maintenance = asyncio.create_task(self._maintain(), name=f"pool-{self.name}")

    async def stop(self, *, grace_us: int = 10_000_000) -> None:
        """Refuse new jobs, give lent workers `grace_us` to come back, close all. Idempotent."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._shut(grace_us / 1e6))
        await asyncio.shield(self._stopping)

    def recycle_stale(self, idle_us: int) -> int:
        """Close, in the background, what has been idle for `idle_us` or longer; say how many."""
        return self._roster.close_idle(idle_us)

    def stats(self) -> PoolStats:
        """Return how much of the pool is in use."""
        in_use = len(self._roster.busy)
        return PoolStats(
            total=self.limits.size,
            available=0 if self._stopping else self.limits.size - in_use,
            in_use=in_use,
            failed=self._roster.failed,
            idle=len(self._roster.idle),
        )

    def health(self) -> list[WorkerHealth]:
        """Return the state of every worker that is idle or lent, oldest first."""
        now_us, busy = self._clock.now_us(), self._roster.busy
        workers = sorted((*self._roster.idle, *busy), key=lambda worker: worker.started_us)
        return [worker.health(now_us, in_use=worker in busy) for worker in workers]

    def start_failed(self, error: BaseException) -> None:
        """Tell the job that waited longest. Called by the roster."""
        waiter = self._next_waiter()
        if waiter is None:
            _log.warning("a %s could not be started: %s", self.name, error)
            return
        self._waiters.popleft()
        waiter.set_exception(error)

    def roster_changed(self) -> None:
        """Hand idle workers to waiters, then launch what is wanted and has room."""
        roster = self._roster
        if self._stopping is not None:
            if not roster.busy:
                self._drained.set()
            return
        while (waiter := self._next_waiter()) and (worker := roster.take()):
            self._waiters.popleft()
            waiter.set_result(worker)
        waiting = (waiter for waiter in self._waiters if not waiter.done())
        wanted = sum(1 for _ in islice(waiting, self.limits.size)) - roster.starting
        if self._maintenance is not None and roster.backoff.over(self._clock.now_us()):
            wanted = max(wanted, self.limits.keep_warm - roster.alive)
        for _ in range(min(wanted, roster.room)):
            roster.launch()

    def _refuse_if_stopped(self) -> None:
        if self._stopping is not None:
            raise Unavailable(f"the {self.name} pool is stopped")

    async def _acquire(self) -> Worker[T]:
        self._refuse_if_stopped()
        waiter: asyncio.Future[Worker[T]] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.roster_changed()
        try:
            return await waiter
        except BaseException:
            if waiter.cancel() or waiter.cancelled():
                with suppress(ValueError):
                    self._waiters.remove(waiter)
            elif waiter.exception() is None:
                # Cancelled in the very moment a worker was handed over.
                self._give_back(waiter.result())
            raise

    def _give_back(self, worker: Worker[T]) -> None:
        self._roster.put(worker)
        self.roster_changed()

    def _next_waiter(self) -> asyncio.Future[Worker[T]] | None:
        while self._waiters and self._waiters[0].done():
            self._waiters.popleft()
        return self._waiters[0] if self._waiters else None

    async def _maintain(self) -> None:
        rounds = 0
        while True:
            try:
                self._sweep(measure=rounds % MEMORY_ROUNDS == 0)
            except Exception:
                # A worker that breaks its port's promises must not end the care for the others.
                _log.exception("maintenance of the %s pool failed", self.name)
            rounds += 1
            await asyncio.sleep(self._interval_s)

    def _sweep(self, *, measure: bool) -> None:
        self._roster.sort_out()
        self._roster.prove()
        if self.limits.idle_max_us is not None:
            self._roster.close_idle(self.limits.idle_max_us, keep=self.limits.keep_warm)
        self.roster_changed()
        # A reading that hangs is never joined by a second one.
        if measure and (self._measuring is None or self._measuring.done()):
            self._measuring = asyncio.create_task(self._roster.measure())

    async def _shut(self, grace_s: float) -> None:
        while waiter := self._next_waiter():
            self._waiters.popleft()
            waiter.set_exception(Unavailable(f"the {self.name} pool is stopped"))
        ending = [task for task in (self._maintenance, self._measuring) if task is not None]
        for task in ending:
            task.cancel()
        self._roster.end()
        self.roster_changed()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                await self._drained.wait()
        await self._roster.abandon()
        await asyncio.gather(*ending, return_exceptions=True)
