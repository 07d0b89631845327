"""The workers of one pool: which are idle, lent, starting, closing. Here the cap is kept.

Starts and closes are tasks of the roster, never of the job that waits for them: a cancelled job
can neither lose a worker nor leave one half started. A worker counts from the moment its start
begins until its close has returned. There is no lock: between two awaits the books are right.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from tidegate.domain.pooling import Backoff, PoolLimits, WorkerHealth
from tidegate.errors import Unavailable, WorkerCrashed
from tidegate.ports.clock import Clock
from tidegate.ports.pooled import Pooled

T = TypeVar("T", bound=Pooled)

CLOSE_MAX_S = 15.0
"""How long the end waits for closing workers. Their processes are killed long before that."""

PROVEN_US = 1_000_000
"""A worker that lives this long, or served a job, shows that starting workers works."""

BACKOFF_START_US = 30_000_000
"""Longest pause after failed starts, which cost the machine the most when it has least."""

BACKOFF_DEATH_US = 1_000_000
"""Longest pause after early deaths, so that a pool heals within two seconds."""

_log = logging.getLogger(__name__)


class Worker(Generic[T]):
    """One item and its books. `memory_bytes` is the latest reading."""

    def __init__(self, worker_id: str, item: T, *, now_us: int) -> None:
        self.worker_id, self.item = worker_id, item
        self.started_us = self.idle_since_us = now_us
        self.operations = 0
        self.memory_bytes: int | None = None
        self.proven = False

    def health(self, now_us: int, *, in_use: bool) -> WorkerHealth:
        """Return what is known of it. A clock that was set back makes it young, not negative."""
        return WorkerHealth(
            worker_id=self.worker_id,
            healthy=self.item.alive,
            operations=self.operations,
            memory_bytes=self.memory_bytes,
            age_us=max(0, now_us - self.started_us),
            idle_us=0 if in_use else max(0, now_us - self.idle_since_us),
            in_use=in_use,
        )


class RosterListener(Protocol):
    """Who is told of changes."""

    def roster_changed(self) -> None:
        """A worker or a place became free."""
        ...

    def start_failed(self, error: BaseException) -> None:
        """A start ended without a living worker. `roster_changed` follows."""
        ...


class Roster(Generic[T]):
    """At most `limits.size` workers. Whoever launches asks `room` first."""

    def __init__(
        self,
        name: str,
        *,
        start: Callable[[], Awaitable[T]],
        clock: Clock,
        limits: PoolLimits,
        listener: RosterListener,
    ) -> None:
        self.idle: list[Worker[T]] = []
        self.busy: set[Worker[T]] = set()
        self.failed = 0
        self.backoff = Backoff()
        self._name, self._start, self._clock = name, start, clock
        self._limits, self._listener = limits, listener
        self._launches: set[asyncio.Task[T]] = set()
        self._closes: set[asyncio.Task[None]] = set()
        self._made = 0
        self._ending = False

    @property
    def starting(self) -> int:
        """How many workers are about to exist."""
        return len(self._launches)

    @property
    def alive(self) -> int:
        """How many workers serve, can serve, or are about to."""
        return len(self.idle) + len(self.busy) + len(self._launches)

    @property
    def room(self) -> int:
        """How many more may be launched."""
        return self._limits.size - self.alive - len(self._closes)

    def launch(self) -> None:
        """Start one worker in the background. It becomes idle, or `start_failed` is told."""
        assert self.room > 0
        launch = asyncio.create_task(self._launch(), name=f"start-{self._name}")
        self._launches.add(launch)
        launch.add_done_callback(self._launched)

    def take(self) -> Worker[T] | None:
        """Make the newest idle worker busy, so that surplus ones stay idle and can be closed."""
        self.sort_out()
        if not self.idle:
            return None
        worker = self.idle.pop()
        self.busy.add(worker)
        return worker

    def put(self, worker: Worker[T]) -> None:
        """Take back what `take` gave: idle if alive and fresh, closed in the background if not."""
        if worker not in self.busy:
            return  # `abandon` had closed it under its job.
        self.busy.remove(worker)
        worker.idle_since_us = self._clock.now_us()
        if worker.item.alive:
            self._prove(worker)
        self.idle.append(worker)
        self.sort_out()

    def sort_out(self) -> None:
        """Close idle workers that are dead or worn, all of them once the end has begun."""
        now_us = self._clock.now_us()
        for worker in list(self.idle):
            if not worker.item.alive:
                self.idle.remove(worker)
                self._bury(worker, now_us)
            elif self._ending or self._worn(worker, now_us):
                self.idle.remove(worker)
                self._retire(worker)

    def close_idle(self, idle_us: int, *, keep: int = 0) -> int:
        """Close what was idle for `idle_us` or longer, but leave `keep` alive; say how many."""
        now_us = self._clock.now_us()
        most = max(0, len(self.idle) + len(self.busy) - keep)
        stale = [worker for worker in self.idle if now_us - worker.idle_since_us >= idle_us][:most]
        for worker in stale:
            self.idle.remove(worker)
            self._retire(worker)
        return len(stale)

    def prove(self) -> None:
        """Take note of workers that have lived long enough to end a pause."""
        now_us = self._clock.now_us()
        for worker in (*self.idle, *self.busy):
            if now_us - worker.started_us >= PROVEN_US and worker.item.alive:
                self._prove(worker)

    async def measure(self) -> None:
        """Read every worker's memory, in a thread because it may come from /proc."""
        workers = [*self.idle, *self.busy]
        try:
            readings = await asyncio.to_thread(lambda: [w.item.memory_bytes for w in workers])
        except Exception:
            _log.exception("memory of the %s pool could not be read", self._name)
            return
        for worker, memory_bytes in zip(workers, readings, strict=True):
            worker.memory_bytes = memory_bytes

    def end(self) -> None:
        """Begin the end: no start completes any more, no worker stays idle."""
        self._ending = True
        for launch in self._launches:
            launch.cancel()
        self.sort_out()

    async def abandon(self) -> None:
        """Close also what is still lent, and wait until every worker is gone."""
        busy, self.busy = self.busy, set()
        for worker in busy:
            self._retire(worker)
        try:
            async with asyncio.timeout(CLOSE_MAX_S):
                while tasks := {*self._launches, *self._closes}:
                    await asyncio.wait(tasks)
        except TimeoutError:
            _log.error(
                "%d of the %s pool would not close", self.alive + len(self._closes), self._name
            )
            for task in (*self._launches, *self._closes):
                task.cancel()
            await asyncio.gather(*self._launches, *self._closes, return_exceptions=True)

    async def _launch(self) -> T:
        return await self._start()

    def _launched(self, launch: asyncio.Task[T]) -> None:
        self._launches.discard(launch)
        error: BaseException | None
        if launch.cancelled():
            error = Unavailable(f"starting a {self._name} was cancelled")
        else:
            error = launch.exception() or self._welcome(launch.result())
        if error is not None and not self._ending:
            self.failed += 1
            self.backoff.fail(self._clock.now_us(), wait_max_us=BACKOFF_START_US)
            self._listener.start_failed(error)
        self._listener.roster_changed()

    def _welcome(self, item: T) -> WorkerCrashed | None:
        self._made += 1
        worker = Worker(f"{self._name}-{self._made}", item, now_us=self._clock.now_us())
        if item.alive and not self._ending:
            self.idle.append(worker)
            return None
        # Kept out of the idle ones, else a waiter would have one start after the other.
        self._retire(worker)
        return WorkerCrashed(f"a {self._name} died as it started")

    def _worn(self, worker: Worker[T], now_us: int) -> bool:
        return self._limits.worn(
            uses=worker.operations,
            age_us=now_us - worker.started_us,
            memory_bytes=worker.memory_bytes,
        )

    def _prove(self, worker: Worker[T]) -> None:
        if not worker.proven:
            worker.proven = True
            self.backoff.reset()

    def _bury(self, worker: Worker[T], now_us: int) -> None:
        self.failed += 1
        if not worker.proven:
            self.backoff.fail(now_us, wait_max_us=BACKOFF_DEATH_US)
        self._retire(worker)

    def _retire(self, worker: Worker[T]) -> None:
        close = asyncio.create_task(self._close(worker), name=f"close-{worker.worker_id}")
        self._closes.add(close)
        close.add_done_callback(self._closed)

    async def _close(self, worker: Worker[T]) -> None:
        try:
            await worker.item.close()
        except Exception:
            _log.exception("%s could not be closed", worker.worker_id)

    def _closed(self, close: asyncio.Task[None]) -> None:
        self._closes.discard(close)
        self._listener.roster_changed()
