"""One report per operation; releases and garbage after a timeout."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from tidegate.facades import operations as module
from tidegate.facades.operations import Operation, OperationTracker
from tidegate.facades.performance import PerformanceMonitor
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio

THRESHOLD_BYTES = 1024 * 2**20


class Scene:
    """A tracker, its clock, and what its memory and its releases did."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock, self.monitor = FakeClock(), PerformanceMonitor()
        self.used_bytes: int | None = THRESHOLD_BYTES
        self.released: list[str] = []
        self.collections = 0
        self.tracker = OperationTracker(
            self.monitor, clock=self.clock, memory_bytes=lambda: self.used_bytes
        )
        collect = gc.collect

        def counted(*args: Any) -> int:
            self.collections += 1
            return collect(*args)

        monkeypatch.setattr(gc, "collect", counted)

    def running(self, *, full_cap: bool = True) -> Operation:
        operation = self.tracker.begin("render", full_cap=full_cap)
        operation.holds(lambda: self.released.append("page"))
        operation.holds(self.release_slowly)
        return operation

    async def release_slowly(self) -> None:
        await asyncio.sleep(0.02)
        self.released.append("browser")

    def moved(self) -> tuple[int, int, int, int]:
        counters = self.monitor.counters
        return (
            counters.timeouts_count,
            counters.cleanup_operations,
            counters.gc_triggers,
            counters.failed_renders,
        )


@pytest.fixture
def scene(monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(monkeypatch)


async def test_a_cleanup_releases_newest_first_and_counts_once(scene: Scene) -> None:
    operation = scene.running()
    scene.clock.advance(seconds=3)
    firsts = await asyncio.gather(
        *(scene.tracker.cleanup_on_timeout(operation) for _ in range(3)),
    )
    assert sorted(firsts) == [False, False, True]
    assert not await scene.tracker.cleanup_on_timeout(operation)
    assert not scene.tracker.finish(operation, success=True)
    assert scene.released == ["browser", "page"]
    assert scene.moved() == (1, 1, 1, 1)
    assert scene.collections == 1
    stats = scene.monitor.get_stats()
    assert (stats.total_operations, stats.total_timeouts, stats.p95_us) == (1, 1, 3_000_000)


async def test_what_finished_is_not_cleaned_up_again(scene: Scene) -> None:
    operation = scene.running()
    scene.clock.advance(seconds=1)
    assert scene.tracker.finish(operation, success=True)
    assert not scene.tracker.finish(operation, success=False)
    assert not await scene.tracker.cleanup_on_timeout(operation)
    assert (scene.released, scene.moved()) == ([], (0, 0, 0, 0))
    assert scene.monitor.get_stats().successful_operations == 1
    assert scene.monitor.get_stats().average_us == 1_000_000


async def test_a_cancelled_caller_does_not_stop_the_cleaning(scene: Scene) -> None:
    caller = asyncio.create_task(scene.tracker.cleanup_on_timeout(scene.running()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert scene.released == []
    await scene.tracker.stop()
    assert scene.released == ["browser", "page"]
    await scene.tracker.stop()


async def test_one_release_that_fails_or_hangs_does_not_keep_the_others(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RELEASE_MAX_S", 0.05)
    operation = scene.running()

    def broken() -> None:
        raise OSError("gone already")

    operation.holds(broken)
    operation.holds(lambda: asyncio.sleep(3600))
    assert await scene.tracker.cleanup_on_timeout(operation)
    assert scene.released == ["browser", "page"]
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("used_bytes", "collections"),
    [(None, 0), (THRESHOLD_BYTES - 1, 0), (THRESHOLD_BYTES, 1)],
)
async def test_garbage_is_collected_from_the_threshold_on(
    scene: Scene, used_bytes: int | None, collections: int
) -> None:
    scene.used_bytes = used_bytes
    await scene.tracker.cleanup_on_timeout(scene.running(full_cap=False))
    assert scene.collections == scene.monitor.counters.gc_triggers == collections
    assert scene.monitor.get_stats().total_timeouts == 0


async def test_garbage_is_collected_at_most_once_a_second(scene: Scene) -> None:
    for wait_us, collections in ((0, 1), (999_999, 1), (1, 2), (-5_000_000, 3)):
        scene.clock.set(scene.clock.now_us() + wait_us)
        await scene.tracker.cleanup_on_timeout(scene.running())
        assert scene.collections == collections
