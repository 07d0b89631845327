"""Which driver the next browser uses: the same for all, until it died or served its share.

A driver that was followed by another is stopped when the last of its browsers ended.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tidegate.adapters.chromium.driver import Driver, start_driver
from tidegate.adapters.chromium.workdir import WorkDir
from tidegate.errors import TidegateError


class Succession:
    """The drivers of one launcher, in a folder that is acquired with the first of them."""

    def __init__(self, work: WorkDir) -> None:
        self._work = work
        self._current: asyncio.Task[Driver] | None = None

    async def enter(self) -> Driver:
        """The driver for one more browser, which is counted in. Undo with `leave`.

        Raises:
            ExtraMissing: playwright is not installed.
            BrowserUnavailable: no driver can be started here.
        """
        current = self._current
        if current is None or (current.done() and not _is_fresh(current)):
            self._current = current = asyncio.create_task(self._follow(current))
        # Shielded, for others may be waiting for the same one.
        driver = await asyncio.shield(current)
        driver.enter()
        return driver

    async def leave(self, driver: Driver) -> None:
        """Count one browser out."""
        driver.browsers -= 1
        current = self._current
        if driver.browsers == 0 and (current is None or _driver_of(current) is not driver):
            await driver.stop()

    async def stop(self) -> None:
        """Stop the current driver. The browsers must be gone."""
        current, self._current = self._current, None
        if current is not None:
            with suppress(TidegateError):
                await (await current).stop()

    async def _follow(self, last: asyncio.Task[Driver] | None) -> Driver:
        await asyncio.to_thread(self._work.acquire)
        old = None if last is None else _driver_of(last)
        if old is not None and old.browsers == 0:
            await old.stop()
        return await start_driver(self._work)


def _driver_of(task: asyncio.Task[Driver]) -> Driver | None:
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _is_fresh(task: asyncio.Task[Driver]) -> bool:
    driver = _driver_of(task)
    return driver is not None and driver.fresh
