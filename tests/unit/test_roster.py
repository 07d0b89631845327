"""Upkeep: dead, worn, surplus and stale workers, pauses after failures, health."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.unit.pool_doubles import DEADLINE_S, FakeWorker, scene_of, until
from tidegate.domain.pooling import Backoff, PoolLimits
from tidegate.errors import InvalidLimit, WorkerCrashed
from tidegate.testing import START_US

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("field", "limits"),
    [
        ("size", {"size": 0}),
        ("keep_warm", {"size": 2, "keep_warm": 3}),
        ("keep_warm", {"size": 2, "keep_warm": -1}),
        ("uses_max", {"size": 2, "uses_max": 0}),
        ("age_max_us", {"size": 2, "age_max_us": 0}),
        ("idle_max_us", {"size": 2, "idle_max_us": -1}),
        ("memory_max_bytes", {"size": 2, "memory_max_bytes": 0}),
    ],
)
async def test_limits_that_make_no_sense_are_refused(field: str, limits: dict[str, int]) -> None:
    with pytest.raises(InvalidLimit) as caught:
        PoolLimits(**limits)
    assert caught.value.field == field


@pytest.mark.parametrize("lent", [False, True])
async def test_a_killed_worker_is_replaced_within_two_seconds(lent: bool) -> None:
    async with scene_of(keep_warm=3, interval_us=250_000) as scene:
        await scene.pool.start()
        await until(lambda: scene.pool.stats().idle == 3)
        scene.clock.advance(seconds=60)
        await asyncio.sleep(0.3)
        killed_s = time.monotonic()
        if lent:
            with pytest.raises(WorkerCrashed):
                async with scene.pool.lend() as worker:
                    worker.alive = False
                    raise WorkerCrashed("kill -9")
        else:
            scene.factory.workers[0].alive = False
        await until(lambda: scene.factory.starts == 4 and scene.pool.stats().idle == 3)
        assert time.monotonic() - killed_s < 2
        assert scene.pool.stats().failed == 1
        assert all(worker.healthy for worker in scene.pool.health())


async def test_warm_keeping_pauses_longer_and_longer_while_starts_fail() -> None:
    async with scene_of(keep_warm=3, interval_us=1_000) as scene:
        scene.factory.failing = 10**6
        await scene.pool.start()
        await until(lambda: scene.pool.stats().failed >= 1)
        seen = []
        for _ in range(5):
            starts, waited_us = scene.factory.starts, 0
            while scene.factory.starts == starts:
                scene.clock.advance(us=500_000)
                waited_us += 500_000
                await asyncio.sleep(0.004)
            seen.append(waited_us)
        # Three starts fail together, so each pause is eight times the one before.
        assert 1_000_000 <= seen[0] < seen[1]
        assert seen[-1] >= 30_000_000
        scene.factory.failing = 0
        # A job does not wait for the pause.
        async with scene.pool.lend():
            pass
        await until(lambda: scene.pool.stats().idle == 3)


async def test_workers_that_die_at_once_are_not_replaced_in_a_spin() -> None:
    async with scene_of(size=1, keep_warm=1, interval_us=1_000) as scene:
        await scene.pool.start()
        for starts in range(1, 6):
            await until(lambda: scene.pool.stats().idle == 1)
            assert scene.factory.starts == starts
            scene.factory.workers[-1].alive = False
            await until(lambda: scene.pool.stats().failed == len(scene.factory.workers))
            await asyncio.sleep(0.01)
            assert scene.factory.starts == starts
            scene.clock.advance(seconds=1)
        await until(lambda: scene.pool.stats().idle == 1)


def test_a_clock_set_back_ends_a_pause_and_a_reset_forgets() -> None:
    backoff = Backoff()
    assert backoff.over(START_US)
    waits = []
    for _ in range(4):
        backoff.fail(START_US, wait_max_us=1_000_000)
        waits.append(next(w for w in range(0, 9_000_000, 250_000) if backoff.over(START_US + w)))
    assert waits == [250_000, 500_000, 1_000_000, 1_000_000]
    assert backoff.over(START_US - 1)
    assert not backoff.over(START_US)
    backoff.reset()
    assert backoff.over(START_US)


@pytest.mark.parametrize("limit", ["uses_max", "age_max_us", "memory_max_bytes"])
async def test_a_worn_worker_is_closed_and_replaced(limit: str) -> None:
    async with scene_of(size=1, keep_warm=1, **{limit: 2}) as scene:
        await scene.pool.start()
        await until(lambda: scene.pool.stats().idle == 1)
        async with scene.pool.lend() as first:
            first.memory_bytes = 1
            scene.clock.advance(us=1)
        async with scene.pool.lend() as again:
            assert again is first
            first.memory_bytes = 2
            scene.clock.advance(us=1)
            await until(
                lambda: limit != "memory_max_bytes" or scene.pool.health()[0].memory_bytes == 2
            )
        await until(lambda: first.closed and scene.pool.stats().idle == 1)
        async with scene.pool.lend() as second:
            assert second is not first
        assert scene.pool.stats().failed == 0


async def test_surplus_idle_workers_are_closed_and_warm_ones_kept() -> None:
    async with scene_of(keep_warm=1, idle_max_us=1_000_000) as scene:
        async with scene.pool.lend(), scene.pool.lend(), scene.pool.lend():
            pass
        await scene.pool.start()
        await asyncio.sleep(0.05)
        assert scene.pool.stats().idle == 3
        scene.clock.advance(seconds=1)
        await until(lambda: scene.pool.stats().idle == 1)
        await asyncio.sleep(0.05)
        assert scene.pool.stats().idle == 1
        assert scene.factory.starts == 3


async def test_lent_workers_count_as_warm() -> None:
    async with scene_of(keep_warm=1, interval_us=1_000) as scene, scene.pool.lend():
        await scene.pool.start()
        await asyncio.sleep(0.05)
        assert scene.factory.starts == 1


async def test_recycle_stale_spares_what_is_in_use_and_what_is_fresh() -> None:
    async with scene_of() as scene:
        async with scene.pool.lend() as held:
            async with scene.pool.lend() as used:
                async with scene.pool.lend() as stale:
                    pass
                scene.clock.advance(seconds=10)
            assert scene.pool.recycle_stale(10_000_001) == 0
            assert scene.pool.recycle_stale(10_000_000) == 1
            await until(lambda: stale.closed)
            assert (used.closed, held.closed) == (False, False)
            assert scene.pool.recycle_stale(0) == 1
            assert scene.pool.recycle_stale(0) == 0
            await until(lambda: used.closed)
            assert held.alive
            assert scene.pool.stats().in_use == 1
        assert scene.pool.stats().idle == 1


async def test_health_tells_ages_operations_and_memory() -> None:
    async with scene_of() as scene:
        async with scene.pool.lend() as first:
            first.memory_bytes = 77
            scene.clock.advance(seconds=2)
            async with scene.pool.lend():
                scene.clock.advance(seconds=3)
            scene.clock.advance(seconds=4)
            await scene.pool.start()
            await until(lambda: scene.pool.health()[0].memory_bytes == 77)
            rows = [
                (
                    w.worker_id,
                    w.healthy,
                    w.operations,
                    w.memory_bytes,
                    w.age_us,
                    w.idle_us,
                    w.in_use,
                )
                for w in scene.pool.health()
            ]
        assert rows == [
            ("browser-1", True, 1, 77, 9_000_000, 0, True),
            ("browser-2", True, 1, None, 7_000_000, 4_000_000, False),
        ]


class Unreadable(FakeWorker):
    """Hangs, then fails, where its memory is read."""

    let_go = threading.Event()
    readers = 0

    @property
    def memory_bytes(self) -> int | None:
        if threading.current_thread() is not threading.main_thread():
            type(self).readers += 1
            type(self).let_go.wait(DEADLINE_S)
        raise OSError("no /proc here")

    @memory_bytes.setter
    def memory_bytes(self, value: int | None) -> None:
        """Nothing to keep."""


async def test_memory_that_cannot_be_read_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with scene_of(size=1, keep_warm=1, interval_us=1_000) as scene:
        worker = Unreadable(scene.factory, 0)
        scene.factory.existing += 1

        async def start() -> FakeWorker:
            return worker if not worker.closed else await scene.factory.start()

        scene.pool._roster._start = start
        await scene.pool.start()
        await until(lambda: Unreadable.readers == 1)
        await asyncio.sleep(0.05)
        assert Unreadable.readers == 1
        worker.alive = False
        await until(lambda: worker.closed)
        Unreadable.let_go.set()
        await until(lambda: "could not be read" in caplog.text)


async def test_maintenance_outlives_a_worker_that_breaks_its_promise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene_of(size=2, keep_warm=2, interval_us=1_000) as scene:
        await scene.pool.start()
        await until(lambda: scene.pool.stats().idle == 2)

        class Broken:
            def __bool__(self) -> bool:
                raise RuntimeError("alive must not raise")

        scene.factory.workers[0].alive = Broken()  # type: ignore[assignment]
        await until(lambda: "maintenance of the browser pool failed" in caplog.text)
        scene.factory.workers[0].alive = False
        await until(lambda: scene.factory.workers[0].closed)


async def test_a_dead_idle_worker_is_never_lent() -> None:
    async with scene_of() as scene:
        async with scene.pool.lend() as first:
            pass
        first.alive = False
        assert [worker.healthy for worker in scene.pool.health()] == [False]
        async with scene.pool.lend() as second:
            assert second is not first
        await until(lambda: first.closed)
        assert scene.pool.stats().failed == 1
