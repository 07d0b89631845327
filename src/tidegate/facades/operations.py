"""One running operation, reported once however it ends, and cleaned up after at its cap.

The first of `finish` and `cleanup_on_timeout` counts; what comes later changes nothing. What an
operation holds is given back by a task of the tracker, so a caller that is cancelled meanwhile,
as a client that hangs up does, leaves nothing behind. Single event loop.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
from collections.abc import Awaitable, Callable

from tidegate.domain.health import MIB
from tidegate.facades.performance import PerformanceMonitor
from tidegate.ports.clock import Clock

RELEASE_MAX_S = 5.0
"""How long one release may take before it is given up; a page or a worker is gone well before."""

GC_PAUSE_US = 1_000_000
"""At most one collection a second: each stops the event loop, and tenants can provoke them."""

Release = Callable[[], Awaitable[None] | None]

_log = logging.getLogger(__name__)


class Operation:
    """One running operation and what it still holds. Made by `OperationTracker.begin`."""

    def __init__(self, operation_type: str, *, started_us: int, full_cap: bool) -> None:
        self.operation_type, self.started_us, self.full_cap = operation_type, started_us, full_cap
        self.ended = False
        self.releases: list[Release] = []
        self.cleanup: asyncio.Task[None] | None = None

    def holds(self, release: Release) -> None:
        """Remember what gives something back. It must bear being called after a normal release."""
        self.releases.append(release)


class OperationTracker:
    """Reports each operation to the monitor once, and cleans up after those that timed out.

    Args:
        memory_bytes: Answers at once with the latest measurement; None where there is none.
        gc_threshold_bytes: From this much memory on, a cleanup also collects garbage.
    """

    def __init__(
        self,
        monitor: PerformanceMonitor,
        *,
        clock: Clock,
        memory_bytes: Callable[[], int | None],
        gc_threshold_bytes: int = 1024 * MIB,
    ) -> None:
        self._monitor, self._clock = monitor, clock
        self._memory_bytes, self._gc_threshold_bytes = memory_bytes, gc_threshold_bytes
        self._collected_us: int | None = None
        self._cleanups: set[asyncio.Task[None]] = set()

    def begin(self, operation_type: str, *, full_cap: bool = True) -> Operation:
        """Start the stopwatch of an operation. `full_cap`: it has all the time there is."""
        return Operation(operation_type, started_us=self._clock.now_us(), full_cap=full_cap)

    def finish(self, operation: Operation, *, success: bool, judged: bool = True) -> bool:
        """Report an operation that ended by itself. False if it had been reported before.

        `judged`: the end says something about the service, not only about what was asked for.
        """
        if operation.ended:
            return False
        operation.ended = True
        operation.releases.clear()
        duration_us = self._clock.now_us() - operation.started_us
        self._monitor.record_operation(
            operation.operation_type, duration_us, success, judged=judged
        )
        return True

    async def cleanup_on_timeout(self, operation: Operation) -> bool:
        """End what the operation still holds, newest first, and report its timeout.

        A cancelled caller does not stop the cleaning. Returns, once all is released, False if
        the operation had been reported before; then nothing is counted again.
        """
        first = not operation.ended
        if first:
            operation.ended = True
            duration_us = self._clock.now_us() - operation.started_us
            self._monitor.record_timeout(
                operation.operation_type, duration_us, full_cap=operation.full_cap
            )
            self._monitor.counters.cleanup_operations += 1
            operation.cleanup = asyncio.create_task(self._clean(operation))
            self._cleanups.add(operation.cleanup)
            operation.cleanup.add_done_callback(self._cleanups.discard)
        if operation.cleanup is not None:
            await asyncio.shield(operation.cleanup)
        return first

    async def stop(self) -> None:
        """Wait for cleanups whose callers went away. Each release is bounded in time."""
        if self._cleanups:
            await asyncio.wait(self._cleanups)

    async def _clean(self, operation: Operation) -> None:
        while operation.releases:
            release = operation.releases.pop()
            try:
                async with asyncio.timeout(RELEASE_MAX_S):
                    pending = release()
                    if inspect.isawaitable(pending):
                        await pending
            except Exception:
                # The others must still be released, and the caller has its timeout to report.
                _log.exception("a timed-out %s could not let go", operation.operation_type)
        self._collect_garbage()

    def _collect_garbage(self) -> None:
        used_bytes, now_us = self._memory_bytes(), self._clock.now_us()
        if used_bytes is None or used_bytes < self._gc_threshold_bytes:
            return
        if self._collected_us is not None and 0 <= now_us - self._collected_us < GC_PAUSE_US:
            return
        self._collected_us = now_us
        self._monitor.counters.gc_triggers += 1
        gc.collect()
