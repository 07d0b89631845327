"""Pressure from measured and promised memory, its hysteresis, and readers that fail or hang."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tidegate.domain.health import PressureLimits
from tidegate.errors import InvalidLimit
from tidegate.facades.pressure import MISSES_MAX, MemoryPressure
from tidegate.testing import START_US, FakeClock, FakeHost

pytestmark = pytest.mark.anyio

LIMITS = PressureLimits(limit_bytes=1_000)
MIB = 2**20


class Scene:
    """A pressure gauge over a host and a ledger that say what they are told to."""

    def __init__(self, limits: PressureLimits = LIMITS) -> None:
        self.clock, self.host, self.tracked_bytes = FakeClock(), FakeHost(0), 0
        self.pressure = MemoryPressure(
            self.host,
            clock=self.clock,
            tracked=lambda: self.tracked_bytes,
            limits=limits,
            interval_us=10_000,
        )


@pytest.mark.parametrize(
    ("used_bytes", "was", "pressed"),
    [
        pytest.param(849, False, False, id="just below the threshold"),
        pytest.param(850, False, True, id="exactly at the threshold"),
        pytest.param(800, True, True, id="within the gap it stays"),
        pytest.param(799, True, False, id="below the gap it clears"),
        pytest.param(800, False, False, id="within the gap it does not begin"),
    ],
)
async def test_the_rule(used_bytes: int, was: bool, pressed: bool) -> None:
    assert LIMITS.pressed(used_bytes, was=was) is pressed


async def test_the_default_threshold_is_exact_where_it_is_no_whole_byte() -> None:
    limits = PressureLimits()
    assert limits.limit_bytes == 2048 * MIB
    assert not limits.pressed(1_825_361_100, was=False)
    assert limits.pressed(1_825_361_101, was=False)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit_bytes", 0),
        ("threshold_percent", 0),
        ("threshold_percent", 101),
        ("clear_percent", 0),
        ("clear_percent", 86),
    ],
)
async def test_limits_that_make_no_sense_are_refused(field: str, value: int) -> None:
    with pytest.raises(InvalidLimit) as caught:
        PressureLimits(**{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("source", ["measured", "tracked"])
async def test_pressure_comes_from_either_source_and_counts_its_beginnings(source: str) -> None:
    scene = Scene()
    seen = []
    for used_bytes in (700, 900, 820, 799, 820, 850, 1_200):
        if source == "measured":
            scene.host.memory_bytes = used_bytes
        else:
            scene.tracked_bytes = used_bytes
        await scene.pressure.measure()
        seen.append(scene.pressure.under_pressure)
    assert seen == [False, True, True, False, False, True, True]
    assert scene.pressure.events == 2
    assert scene.pressure.used_bytes == 1_200


async def test_promises_count_at_once_without_a_sample() -> None:
    scene = Scene()
    scene.tracked_bytes = 900
    assert scene.pressure.under_pressure
    scene.tracked_bytes = 0
    assert not scene.pressure.under_pressure
    assert scene.pressure.events == 1


async def test_a_sample_says_when_and_how_much() -> None:
    scene = Scene()
    assert scene.pressure.sample.measured_bytes is None
    assert scene.pressure.sample.reason == "not measured yet"
    scene.host.memory_bytes = 123
    scene.clock.advance(seconds=5)
    sample = await scene.pressure.measure()
    assert sample == scene.pressure.sample
    assert (sample.at_us, sample.measured_bytes, sample.reason) == (START_US + 5_000_000, 123, None)


class BrokenHost:
    def tree_memory_bytes(self) -> int:
        raise PermissionError("no /proc here")


async def test_a_reader_that_fails_is_unknown_and_no_pressure() -> None:
    pressure = MemoryPressure(BrokenHost(), clock=FakeClock(), tracked=lambda: 0, limits=LIMITS)
    sample = await pressure.measure()
    assert sample.measured_bytes is None
    assert sample.reason == "the reading failed: no /proc here"
    assert not pressure.under_pressure


async def test_pressure_outlives_a_hiccup_of_the_reader_but_not_its_death() -> None:
    scene = Scene()
    scene.host.memory_bytes = 900
    await scene.pressure.measure()
    scene.host.memory_bytes = None
    for _ in range(MISSES_MAX - 1):
        assert (await scene.pressure.measure()).reason == "the system does not tell"
        assert scene.pressure.under_pressure
    await scene.pressure.measure()
    assert not scene.pressure.under_pressure
    assert scene.pressure.events == 1


async def test_hiccups_with_readings_between_do_not_add_up() -> None:
    scene = Scene()
    for memory_bytes in (900, *([None] * (MISSES_MAX - 1) + [900]) * 2, None):
        scene.host.memory_bytes = memory_bytes
        await scene.pressure.measure()
        assert scene.pressure.under_pressure


class SlowHost:
    """Takes a moment, and knows how many were reading at once."""

    def __init__(self) -> None:
        self.reading = self.reading_most = 0

    def tree_memory_bytes(self) -> int:
        self.reading += 1
        self.reading_most = max(self.reading_most, self.reading)
        time.sleep(0.005)
        self.reading -= 1
        return 1


async def test_many_eager_callers_never_read_twice_at_once() -> None:
    host = SlowHost()
    pressure = MemoryPressure(host, clock=FakeClock(), tracked=lambda: 0)

    async def caller() -> None:
        for _ in range(10):
            assert (await pressure.measure()).measured_bytes == 1

    await asyncio.gather(*(caller() for _ in range(4)))
    assert host.reading_most == 1


class StuckHost:
    """Hangs in its reading until it is let go, and counts who is in there."""

    def __init__(self) -> None:
        self.let_go, self.entered = threading.Event(), 0

    def tree_memory_bytes(self) -> int:
        self.entered += 1
        self.let_go.wait(30)
        return 900


async def test_a_stuck_reader_is_waited_for_by_one_thread_only() -> None:
    host = StuckHost()
    pressure = MemoryPressure(
        host, clock=FakeClock(), tracked=lambda: 0, limits=LIMITS, interval_us=10_000
    )
    try:
        for _ in range(5):
            sample = await pressure.measure()
        assert sample.reason == "the reading has not come back"
        assert host.entered == 1
        assert not pressure.under_pressure
    finally:
        host.let_go.set()
    async with asyncio.timeout(20):
        while (await pressure.measure()).measured_bytes != 900:
            await asyncio.sleep(0.01)
    assert pressure.under_pressure
    await pressure.stop()


async def test_several_callers_share_one_reading() -> None:
    host = StuckHost()
    pressure = MemoryPressure(host, clock=FakeClock(), tracked=lambda: 0, interval_us=20_000_000)
    callers = [asyncio.create_task(pressure.measure()) for _ in range(3)]
    await asyncio.sleep(0.01)
    host.let_go.set()
    samples = await asyncio.gather(*callers)
    assert [sample.measured_bytes for sample in samples] == [900, 900, 900]
    assert host.entered == 1


async def test_start_and_stop_leave_no_task_not_even_with_a_stuck_reader() -> None:
    before = asyncio.all_tasks()
    host = StuckHost()
    stuck = MemoryPressure(host, clock=FakeClock(), tracked=lambda: 0, interval_us=1_000)
    scene = Scene()
    try:
        for _ in range(20):
            for pressure in (stuck, scene.pressure):
                await pressure.start()
                await pressure.start()
            await asyncio.sleep(0)
            for pressure in (stuck, scene.pressure):
                await pressure.stop()
                await pressure.stop()
            assert asyncio.all_tasks() == before
        assert host.entered == 1
    finally:
        host.let_go.set()


async def test_sampling_goes_on_after_a_failure_of_the_ledger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = Scene()
    rounds = 0

    def tracked() -> int:
        nonlocal rounds
        rounds += 1
        if rounds < 3:
            raise RuntimeError("a bug elsewhere")
        return 900

    pressure = MemoryPressure(
        scene.host, clock=scene.clock, tracked=tracked, limits=LIMITS, interval_us=1_000
    )
    await pressure.start()
    async with asyncio.timeout(20):
        while rounds < 5:
            await asyncio.sleep(0.005)
    await pressure.stop()
    assert pressure.events == 1
    assert "could not be judged" in caplog.text
