"""A bounded queue of work, from event loops to the threads that own connections.

A thread is woken at the end of the loop turn that submitted, not by the first submission: when
one commit frees many callers, they all come back in the same turn, and waking early would split
them in two. With 512 callers that cost twice as many commits.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tidegate.errors import StoreUnavailable


@dataclass(slots=True, kw_only=True)
class Job:
    """Work for a connection, who waits for it, and what came of it.

    The work may run twice, so it changes nothing but the database.
    """

    work: Callable[[sqlite3.Connection], Any]
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]
    size_bytes: int
    value: Any = None
    error: BaseException | None = None


class JobQueue:
    """First in, first out. Full means refused at once; closed means drained, then empty."""

    def __init__(self, name: str, *, jobs_max: int, bytes_max: int) -> None:
        self._name, self._jobs_max, self._bytes_max = name, jobs_max, bytes_max
        self._jobs: deque[Job] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._ready = self._closed = False

    def submit(
        self, work: Callable[[sqlite3.Connection], Any], size_bytes: int
    ) -> asyncio.Future[Any]:
        """Queue the work for the running loop.

        Raises:
            StoreUnavailable: the queue is full or closed; the work will not run.
        """
        loop = asyncio.get_running_loop()
        job = Job(work=work, loop=loop, future=loop.create_future(), size_bytes=size_bytes)
        with self._changed:
            if self._closed:
                raise StoreUnavailable(f"{self._name} is closed")
            if len(self._jobs) >= self._jobs_max or self._bytes + size_bytes > self._bytes_max:
                raise StoreUnavailable(f"{self._name} is busy: {len(self._jobs)} calls wait for it")
            self._jobs.append(job)
            self._bytes += size_bytes
        loop.call_soon(self._wake)
        return job.future

    def take(self, jobs_max: int) -> list[Job]:
        """Block until there is work; return at most `jobs_max` jobs, none once closed."""
        with self._changed:
            while not (self._ready and self._jobs) and not self._closed:
                self._changed.wait()
            batch = [self._jobs.popleft() for _ in range(min(jobs_max, len(self._jobs)))]
            self._bytes -= sum(job.size_bytes for job in batch)
            self._ready = bool(self._jobs)
            return batch

    def close(self) -> None:
        """Accept nothing more. What is queued is still handed out."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._ready = bool(self._jobs)
            self._changed.notify()


def deliver(jobs: list[Job]) -> None:
    """Hand the outcomes back, with one wake-up per event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
    for job in jobs:
        by_loop.setdefault(job.loop, []).append(job)
    for loop, done in by_loop.items():
        # A closed loop has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, done)


def _resolve(jobs: list[Job]) -> None:
    for job in jobs:
        if job.future.done():
            continue
        if job.error is None:
            job.future.set_result(job.value)
        else:
            job.future.set_exception(job.error)
