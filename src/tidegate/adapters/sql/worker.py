"""One thread that owns one connection and works off a queue.

A daemon thread: a program that forgets to close its database still ends. Nothing acknowledged is
lost by that, because callers hear of a write only after its commit.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future

from tidegate.adapters.sql.job_queue import Job, JobQueue, deliver
from tidegate.errors import StoreUnavailable

Connect = Callable[[], sqlite3.Connection]
Handle = Callable[[sqlite3.Connection, list[Job]], None]


class Worker:
    """Takes up to `batch_max` jobs at a time and hands their outcomes back together."""

    def __init__(self, name: str, queue: JobQueue, *, batch_max: int) -> None:
        self._name, self._queue, self._batch_max = name, queue, batch_max
        self._thread: threading.Thread | None = None
        self._ended: Future[None] = _uncancellable()

    async def start(self, connect: Connect, handle: Handle) -> None:
        """Start the thread and wait until `connect` has returned in it.

        Raises:
            TidegateError: whatever `connect` raised; the thread has ended.
        """
        started: Future[None] = _uncancellable()
        arguments = (connect, handle, started)
        self._thread = threading.Thread(
            target=self._main, args=arguments, name=self._name, daemon=True
        )
        self._thread.start()
        await asyncio.wrap_future(started)

    async def join(self) -> None:
        """Wait until the thread has ended; its queue must have been closed."""
        if self._thread is not None:
            await asyncio.wrap_future(self._ended)
            self._thread.join()

    def _main(self, connect: Connect, handle: Handle, started: Future[None]) -> None:
        try:
            connection = connect()
        except BaseException as error:
            self._ended.set_result(None)
            started.set_exception(error)
            return
        started.set_result(None)
        try:
            while batch := self._queue.take(self._batch_max):
                self._run(connection, handle, batch)
        finally:
            connection.close()
            self._ended.set_result(None)

    def _run(self, connection: sqlite3.Connection, handle: Handle, batch: list[Job]) -> None:
        try:
            handle(connection, batch)
        except BaseException as error:
            for job in batch:
                job.error = StoreUnavailable(f"{self._name} failed: {error!r}")
        deliver(batch)


def _uncancellable() -> Future[None]:
    """Return a future that a cancelled waiter leaves alone, so that the thread can set it."""
    future: Future[None] = Future()
    future.set_running_or_notify_cancel()
    return future
