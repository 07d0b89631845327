"""A store for threads, used by the tasks of an event loop: one thread of its own makes its calls.

The rule is applied there, too, between reading and writing, while rows are locked: on the event
loop everyone else would wait for whatever that loop is busy with. And there is one text of each
store, not one for each colour.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from tidegate.domain.batch import Batch, Reply
from tidegate.errors import StoreUnavailable, TidegateError
from tidegate.ports.shared_store import BlockingStore

T = TypeVar("T")


class ThreadedStore:
    """`SharedStore` by a `BlockingStore`, except for `listen`.

    Args:
        store: Makes the calls. It gives up by itself after `timeout_s`.
        name: The store, as the reader of an error knows it.
        timeout_s: How long one call may take.
    """

    def __init__(self, store: BlockingStore, name: str, timeout_s: float) -> None:
        self._store, self._name = store, name
        # A call may wait for one before it; and names are looked up without a limit of time.
        self._patience_s = 2 * timeout_s + 1
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0

    async def connect(self) -> None:
        """See `SharedStore`."""
        if self._executor is None or self._pid != os.getpid():
            # Of a parent process no thread is here.
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="tidegate-store")
            self._pid = os.getpid()
        await self._run(self._store.connect)

    async def apply(self, batch: Batch) -> Reply:
        """See `SharedStore`."""
        return await self._run(lambda: self._store.apply(batch))

    async def close(self) -> None:
        """See `SharedStore`."""
        executor = self._executor
        if executor is None or self._pid != os.getpid():
            return
        idle = False
        with suppress(TidegateError):
            await self._run(self._store.close)
            idle = True
        self._executor = None
        # A thread that is stuck ends when its call does.
        executor.shutdown(wait=idle)

    async def _run(self, call: Callable[[], T]) -> T:
        if self._executor is None or self._pid != os.getpid():
            raise StoreUnavailable(f"{self._name}: not connected")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._patience_s):
                return await loop.run_in_executor(self._executor, call)
        except TimeoutError:
            raise StoreUnavailable(f"{self._name}: no answer in time") from None
