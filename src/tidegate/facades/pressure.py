"""Whether memory is scarce, from what is really used as well as from what was promised.

Promises alone never reach the limit while work stays within its slots, and measurements alone
come too late for a burst of grants; so the larger of the two decides. Reading the memory of a
tree of browsers takes milliseconds and can hang, so it runs in a thread, one at a time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.health import PressureLimits
from tidegate.ports.clock import Clock
from tidegate.ports.host import Host

MISSES_MAX = 15
"""Readings that may fail in a row before the last good one is forgotten: a machine that swaps is
slow to tell and must not be flooded for it; a broken reader must not keep the gate shut."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySample:
    """What was measured at `at_us`: `measured_bytes`, or None and the reason why not."""

    at_us: int
    measured_bytes: int | None = None
    reason: str | None = None


class MemoryPressure:
    """Measures the process tree each second and says whether new work must be refused.

    Args:
        relieve: Gives freed memory back to the system; called in a thread while under pressure.
        tracked: Bytes promised to running work now. Asked at every judgement: must be cheap.
        interval_us: Pause between readings, and how long one may take before it counts as hung.
    """

    def __init__(
        self,
        host: Host,
        *,
        clock: Clock,
        tracked: Callable[[], int],
        limits: PressureLimits | None = None,
        relieve: Callable[[], None] | None = None,
        interval_us: int = 1_000_000,
    ) -> None:
        self.limits = limits if limits is not None else PressureLimits()
        self._host, self._clock, self._tracked = host, clock, tracked
        self._relieve = relieve
        self._interval_s = interval_us / 1e6
        self._sample = MemorySample(at_us=clock.now_us(), reason="not measured yet")
        self._measured_bytes = self._misses = self._events = 0
        self._pressed = False
        self._reading: asyncio.Future[int | None] | None = None
        self._sampler: asyncio.Task[None] | None = None

    @property
    def sample(self) -> MemorySample:
        """The latest reading, or why there is none."""
        return self._sample

    @property
    def events(self) -> int:
        """How many times pressure began."""
        self._judge()
        return self._events

    @property
    def under_pressure(self) -> bool:
        """Whether memory is scarce, by the latest reading and the promises of this moment."""
        return self._judge()

    @property
    def used_bytes(self) -> int:
        """The larger of measured and promised memory."""
        return max(self._measured_bytes, self._tracked())

    async def start(self) -> None:
        """Begin to sample. Idempotent."""
        if self._sampler is None:
            self._sampler = asyncio.create_task(self._run(), name="memory-pressure")

    async def stop(self) -> None:
        """End sampling; the answers stay what they were. Idempotent.

        A reading that hangs in its thread cannot be ended; the next one waits for it.
        """
        sampler, self._sampler = self._sampler, None
        if sampler is not None:
            sampler.cancel()
            await asyncio.gather(sampler, return_exceptions=True)

    async def measure(self) -> MemorySample:
        """Take one reading now, or look again at the one under way; its failure is a sample too."""
        if self._reading is None:
            # A future and no task: it may outlast `stop`, and hold back a second reading.
            loop = asyncio.get_running_loop()
            self._reading = loop.run_in_executor(None, self._host.tree_memory_bytes)
            self._reading.add_done_callback(lambda reading: reading.exception())
        reading = self._reading
        await asyncio.wait({reading}, timeout=self._interval_s)
        if not reading.done():
            self._miss("the reading has not come back")
        elif self._reading is reading:
            # Several callers may have waited for it; the first one settles it.
            self._reading = None
            self._settle(reading)
        return self._sample

    def _settle(self, reading: asyncio.Future[int | None]) -> None:
        error = reading.exception()
        if error is not None:
            self._miss(f"the reading failed: {error}")
        elif (measured_bytes := reading.result()) is None:
            self._miss("the system does not tell")
        else:
            self._misses, self._measured_bytes = 0, measured_bytes
            self._sample = MemorySample(at_us=self._clock.now_us(), measured_bytes=measured_bytes)
            self._judge()

    def _miss(self, reason: str) -> None:
        self._misses += 1
        if self._misses >= MISSES_MAX:
            self._measured_bytes = 0
        self._sample = MemorySample(at_us=self._clock.now_us(), reason=reason)
        self._judge()

    def _judge(self) -> bool:
        pressed = self.limits.pressed(self.used_bytes, was=self._pressed)
        if pressed and not self._pressed:
            self._events += 1
            _log.warning(
                "memory pressure: %d of %d bytes", self.used_bytes, self.limits.limit_bytes
            )
        self._pressed = pressed
        return pressed

    async def _run(self) -> None:
        while True:
            try:
                await self.measure()
            except Exception:
                # `tracked` is another's code: its bug must not end the sampling.
                _log.exception("memory could not be judged")
            if self._pressed and self._relieve is not None:
                await asyncio.to_thread(self._relieve)
            await asyncio.sleep(self._interval_s)
