"""Lending: who gets a worker, who waits, who is told of a failed start, and the end."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from tests.unit.pool_doubles import DEADLINE_S, FakeWorker, Scene, scene_of, settle, until
from tidegate.domain.pooling import PoolLimits, PoolStats
from tidegate.errors import Unavailable, WorkerCrashed
from tidegate.facades import roster as roster_module
from tidegate.facades.pools import Pool
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio


async def test_the_newest_idle_worker_is_lent_again() -> None:
    async with scene_of() as scene:
        async with scene.pool.lend() as first, scene.pool.lend() as second:
            assert first is not second
            assert scene.pool.stats() == PoolStats(total=3, available=1, in_use=2, failed=0, idle=0)
        async with scene.pool.lend() as again:
            assert again is first
        assert scene.factory.starts == 2
        assert scene.pool.stats() == PoolStats(total=3, available=3, in_use=0, failed=0, idle=2)


async def test_a_pool_of_one_survives_a_thousand_jobs_good_and_bad() -> None:
    async with scene_of(size=1) as scene:
        for number in range(1_000):
            with suppress(ZeroDivisionError):
                async with scene.pool.lend():
                    assert number / (number % 2) == number
        assert scene.factory.starts == 1
        assert scene.pool.health()[0].operations == 1_000


async def test_waiters_are_served_in_order_and_a_cancelled_one_leaves_no_trace() -> None:
    async with scene_of(size=1) as scene:
        log: list[str] = []
        release = asyncio.Event()
        jobs = []
        for name in "abcd":
            jobs.append(asyncio.create_task(scene.job(log, name, release)))
            await settle()
        jobs[1].cancel()
        await settle()
        assert log == ["a"]
        assert len(scene.pool._waiters) == 2
        release.set()
        await asyncio.gather(*jobs, return_exceptions=True)
        assert log == ["a", "c", "d"]
        assert scene.factory.starts == 1


async def test_a_worker_handed_over_in_the_moment_of_cancellation_is_not_lost() -> None:
    async with scene_of(size=1) as scene:
        log: list[str] = []
        release = asyncio.Event()
        async with scene.pool.lend():
            late = asyncio.create_task(scene.job(log, "late", release))
            await settle()
        # The worker is assigned to `late`, which has not run since.
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        assert log == []
        assert scene.pool.stats().idle == 1
        assert scene.pool.health()[0].operations == 1


async def test_a_job_cancelled_during_the_start_leaves_the_worker_to_the_next() -> None:
    async with scene_of() as scene:
        scene.factory.starting.clear()
        log: list[str] = []
        job = asyncio.create_task(scene.job(log, "a", asyncio.Event()))
        await settle()
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)
        scene.factory.starting.set()
        async with scene.pool.lend() as worker:
            assert worker.number == 0
        assert scene.factory.starts == 1


async def test_starting_and_closing_workers_count_towards_the_size() -> None:
    async with scene_of(size=2, uses_max=1) as scene:
        scene.factory.closing.clear()
        for _ in range(2):
            async with scene.pool.lend():
                pass
        assert scene.pool.stats() == PoolStats(total=2, available=2, in_use=0, failed=0, idle=0)
        job = asyncio.create_task(scene.job([], "late", asyncio.Event()))
        await settle()
        assert (scene.factory.existing, scene.factory.starts) == (2, 2)
        scene.factory.closing.set()
        await until(lambda: scene.pool.stats().in_use == 1)
        assert scene.factory.starts == 3
        job.cancel()
        await asyncio.gather(job, return_exceptions=True)


async def test_a_failed_start_reaches_one_job_and_frees_its_slot() -> None:
    async with scene_of(size=1) as scene:
        scene.factory.failing = 1
        log: list[str] = []
        release = asyncio.Event()
        release.set()
        jobs = [scene.job(log, name, release) for name in "ab"]
        results = await asyncio.gather(*jobs, return_exceptions=True)
        assert [type(result) for result in results] == [OSError, type(None)]
        assert log == ["b"]
        assert scene.factory.starts == 2
        assert scene.pool.stats() == PoolStats(total=1, available=1, in_use=0, failed=1, idle=1)


async def test_a_start_that_cancels_itself_fails_the_job() -> None:
    async def start() -> FakeWorker:
        raise asyncio.CancelledError

    pool = Pool("pdf", start=start, clock=FakeClock(), limits=PoolLimits(size=1))
    with pytest.raises(Unavailable, match="starting a pdf was cancelled"):
        async with pool.lend():
            pass
    assert pool.stats().available == 1
    await pool.stop()


async def test_a_stillborn_worker_fails_the_job_instead_of_starting_for_ever() -> None:
    async with scene_of() as scene:
        scene.factory.stillborn = True
        with pytest.raises(WorkerCrashed):
            async with scene.pool.lend():
                pass
        assert scene.factory.starts == 1
        assert scene.pool.stats().failed == 1


async def test_a_close_that_fails_frees_the_slot_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with scene_of(size=1, uses_max=1) as scene:
        scene.factory.close_error = OSError("profile not removed")
        for number in range(3):
            async with scene.pool.lend() as worker:
                assert worker.number == number
        await until(lambda: "browser-3 could not be closed" in caplog.text)


async def test_stop_waits_for_lent_workers_and_refuses_new_jobs() -> None:
    async with scene_of(size=1, keep_warm=1) as scene:
        await scene.pool.start()
        log: list[str] = []
        release = asyncio.Event()
        job = asyncio.create_task(scene.job(log, "a", release))
        await until(lambda: log == ["a"])
        waiting = asyncio.create_task(scene.job(log, "b", release))
        await settle()
        stops = [asyncio.create_task(scene.pool.stop()) for _ in range(2)]
        await settle()
        with pytest.raises(Unavailable):
            await waiting
        with pytest.raises(Unavailable):
            async with scene.pool.lend():
                pass
        with pytest.raises(Unavailable):
            await scene.pool.start()
        assert not any(stop.done() for stop in stops)
        assert not scene.factory.workers[0].closed
        assert scene.pool.stats() == PoolStats(total=1, available=0, in_use=1, failed=0, idle=0)
        release.set()
        await asyncio.gather(job, *stops)
        assert scene.factory.workers[0].closed


async def test_stop_closes_under_a_job_that_does_not_end_within_the_grace() -> None:
    async with scene_of() as scene:
        async with scene.pool.lend() as worker:
            await scene.pool.stop(grace_us=10_000)
            assert worker.closed
            assert scene.factory.existing == 0
        assert scene.pool.stats().in_use == 0


async def test_stop_ends_a_start_under_way_and_also_one_that_comes_up_anyway() -> None:
    async with scene_of(keep_warm=2) as scene:
        scene.factory.starting.clear()
        await scene.pool.start()
        await until(lambda: scene.factory.starts == 2)
        await scene.pool.stop()
        assert scene.factory.existing == 0

    async with scene_of(size=1, keep_warm=1) as scene:

        async def stubborn() -> FakeWorker:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(3600)
            return await scene.factory.start()

        scene.pool._roster._start = stubborn
        await scene.pool.start()
        await asyncio.sleep(0.02)
        scene.factory.closing.clear()
        asyncio.get_running_loop().call_later(0.05, scene.factory.closing.set)
        await scene.pool.stop()
        assert scene.factory.existing == 0
        assert [worker.closed for worker in scene.factory.workers] == [True]


async def test_stop_gives_up_a_close_that_hangs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(roster_module, "CLOSE_MAX_S", 0.05)
    before = asyncio.all_tasks()
    scene = Scene()
    async with scene.pool.lend():
        pass
    scene.factory.closing.clear()
    async with asyncio.timeout(DEADLINE_S):
        await scene.pool.stop()
    assert asyncio.all_tasks() == before
    assert "1 of the browser pool would not close" in caplog.text


async def test_a_hundred_starts_and_stops_leave_nothing() -> None:
    for _ in range(100):
        async with scene_of(keep_warm=2) as scene:
            await scene.pool.start()
            await scene.pool.start()
            async with scene.pool.lend():
                pass
