"""Random scripts of jobs, cancellations, deaths and failing starts against a pool of fakes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.domain.pooling import PoolLimits
from tidegate.errors import Unavailable
from tidegate.facades.pools import Pool
from tidegate.testing import FakeClock

DEADLINE_S = 30


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Start:
    """How the next start goes: how long it takes, whether it fails, whether it comes up dead."""

    turns: int
    fails: bool
    dead: bool
    close_turns: int


@dataclass(frozen=True)
class Job:
    """One job: when it comes, how long it takes, how it ends. `cancel_turns` 0 is never."""

    pause_turns: int
    work_turns: int
    cancel_turns: int
    raises: bool
    kills: bool


class World:
    """Counts what exists and what is being used, by the workers' own account."""

    def __init__(self, size: int, starts: list[Start]) -> None:
        self.size, self.starts = size, starts
        self.made = self.existing = 0
        self.workers: list[ScriptedWorker] = []

    async def start(self) -> ScriptedWorker:
        script = self.starts[self.made % len(self.starts)]
        self.made += 1
        self.existing += 1
        assert self.existing <= self.size
        try:
            await turns(script.turns)
            if script.fails:
                raise OSError("scripted")  # noqa: TRY301  # Fails where a real start does.
        except BaseException:
            self.existing -= 1
            raise
        worker = ScriptedWorker(self, script)
        self.workers.append(worker)
        return worker


class ScriptedWorker:
    """Serves one job at a time, or the test fails."""

    memory_bytes = None

    def __init__(self, world: World, script: Start) -> None:
        self._world, self._script = world, script
        self.alive, self._closed, self.serving = not script.dead, False, False

    async def serve(self, job: Job) -> None:
        assert self.alive
        assert not self.serving
        self.serving = True
        try:
            await turns(job.work_turns)
            if job.kills:
                self.alive = False
            if job.raises:
                raise ValueError("scripted")
        finally:
            self.serving = False

    async def close(self) -> None:
        assert not self.serving
        assert not self._closed
        self.alive, self._closed = False, True
        await turns(self._script.close_turns)
        self._world.existing -= 1


STARTS = st.builds(
    Start,
    turns=st.integers(0, 6),
    fails=st.sampled_from([False, False, False, True]),
    dead=st.sampled_from([False] * 7 + [True]),
    close_turns=st.integers(0, 6),
)
JOBS = st.builds(
    Job,
    pause_turns=st.integers(0, 5),
    work_turns=st.integers(0, 8),
    cancel_turns=st.sampled_from([0, 0, 0, 1, 2, 3, 5, 8, 12]),
    raises=st.booleans(),
    kills=st.sampled_from([False, False, True]),
)
LIMITS = st.integers(1, 4).flatmap(
    lambda size: st.builds(
        PoolLimits,
        size=st.just(size),
        keep_warm=st.integers(0, size),
        uses_max=st.sampled_from([None, 1, 3]),
        age_max_us=st.sampled_from([None, 700_000]),
        idle_max_us=st.sampled_from([None, 400_000]),
    )
)


async def work(pool: Pool[ScriptedWorker], job: Job) -> str:
    try:
        async with pool.lend() as worker:
            await worker.serve(job)
    except ValueError:
        return "raised"
    except (OSError, Unavailable):
        return "refused"
    except Exception as error:
        return type(error).__name__
    return "done"


async def cancel_after(task: asyncio.Task[str], count: int) -> None:
    if count:
        await turns(count)
        task.cancel()


async def play(limits: PoolLimits, starts: list[Start], jobs: list[Job], *, early: bool) -> None:
    before = asyncio.all_tasks()
    clock, world = FakeClock(), World(limits.size, starts)
    pool = Pool("fake", start=world.start, clock=clock, limits=limits, interval_us=0)
    await pool.start()
    tasks, cancels = [], []
    for number, job in enumerate(jobs):
        await turns(job.pause_turns)
        clock.advance(us=100_000)
        tasks.append(asyncio.create_task(work(pool, job)))
        cancels.append(asyncio.create_task(cancel_after(tasks[-1], job.cancel_turns)))
        if number % 4 == 3 and pool.stats().in_use == 0:
            for worker in world.workers[-1:]:
                worker.alive = False
        if number % 5 == 4:
            pool.recycle_stale(0)
        assert pool.stats().in_use == sum(worker.in_use for worker in pool.health())
    async with asyncio.timeout(DEADLINE_S):
        if not early:
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert "TimeoutError" not in results
            assert pool.stats().in_use == 0
        await pool.stop()
        await asyncio.gather(*tasks, *cancels, return_exceptions=True)
    assert not [task for task in tasks if not task.cancelled() and "Error" in task.result()]
    assert world.existing == 0
    assert pool.stats().in_use == pool.stats().idle == 0
    assert asyncio.all_tasks() == before


@settings(max_examples=150, deadline=None)
@given(
    limits=LIMITS,
    starts=st.lists(STARTS, min_size=1, max_size=12),
    jobs=st.lists(JOBS, min_size=1, max_size=30),
    early=st.booleans(),
)
def test_no_worker_too_many_no_waiter_lost_nothing_left(
    limits: PoolLimits, starts: list[Start], jobs: list[Job], early: bool
) -> None:
    asyncio.run(play(limits, starts, jobs, early=early))
