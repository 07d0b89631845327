"""A pool of fake workers, and the check that whatever was done to it, nothing is left."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from tidegate.domain.pooling import PoolLimits
from tidegate.facades.pools import Pool
from tidegate.testing import FakeClock

DEADLINE_S = 20


class FakeWorker:
    """A worker that dies and grows on demand."""

    def __init__(self, factory: Factory, number: int) -> None:
        self._factory, self.number = factory, number
        self.alive = True
        self.closed = False
        self.memory_bytes: int | None = None

    async def close(self) -> None:
        if self.closed:
            return
        self.alive, self.closed = False, True
        await self._factory.closing.wait()
        self._factory.existing -= 1
        if self._factory.close_error is not None:
            raise self._factory.close_error


class Factory:
    """Starts workers, counts how many exist, and stalls, or fails its next `failing` starts."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        self.existing = self.existing_most = self.starts = 0
        self.failing = 0
        self.close_error: Exception | None = None
        self.stillborn = False
        self.starting, self.closing = asyncio.Event(), asyncio.Event()
        self.starting.set()
        self.closing.set()

    async def start(self) -> FakeWorker:
        self.starts += 1
        self.existing += 1
        self.existing_most = max(self.existing_most, self.existing)
        try:
            await self.starting.wait()
            self.fail_if_told()
        except BaseException:
            self.existing -= 1
            raise
        worker = FakeWorker(self, len(self.workers))
        worker.alive = not self.stillborn
        self.workers.append(worker)
        return worker

    def fail_if_told(self) -> None:
        if self.failing:
            self.failing -= 1
            raise OSError("no memory")


class Scene:
    """A pool of three with its clock and factory."""

    def __init__(self, interval_us: int = 5_000, size: int = 3, **limits: Any) -> None:
        self.clock, self.factory = FakeClock(), Factory()
        self.pool: Pool[FakeWorker] = Pool(
            "browser",
            start=self.factory.start,
            clock=self.clock,
            limits=PoolLimits(size=size, **limits),
            interval_us=interval_us,
        )

    async def job(self, log: list[str], name: str, release: asyncio.Event) -> None:
        async with self.pool.lend():
            log.append(name)
            await release.wait()


@asynccontextmanager
async def scene_of(**options: Any) -> AsyncIterator[Scene]:
    """Whatever a test does to a pool, afterwards nothing is alive and no task is left."""
    before = asyncio.all_tasks()
    scene = Scene(**options)
    yield scene
    scene.factory.starting.set()
    scene.factory.closing.set()
    async with asyncio.timeout(DEADLINE_S):
        await scene.pool.stop(grace_us=1_000_000)
    assert scene.factory.existing == 0
    assert scene.pool.stats().in_use == scene.pool.stats().idle == 0
    assert asyncio.all_tasks() == before
    assert scene.factory.existing_most <= scene.pool.limits.size


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.002)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)
