"""Who carries the batches of a session: a task of its event loop, or whichever thread is waiting.

One batch is under way at a time; what is asked for meanwhile travels with the next, so a crowd is
carried together. When the store cannot be reached for `patience_us`, everybody who waits is told
so, and from then on at once, until it answers again.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import suppress

from tidegate.domain.batch import Batch
from tidegate.errors import StoreUnavailable, TidegateError
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.session import Session
from tidegate.ports.shared_store import BlockingStore, SharedStore

TICK_S = 0.05
BACKOFF_MAX_S = 1.0

_log = logging.getLogger(__name__)


class Breaker:
    """Whether the store is down, since when, and when to try it again."""

    def __init__(self, elapsed_us: Callable[[], int], patience_us: int) -> None:
        self._elapsed_us, self._patience_us = elapsed_us, patience_us
        self._failing_since_us: int | None = None
        self.down = False
        self.outages = 0

    def failed(self) -> bool:
        """Note a failure; return whether those who wait should be told now."""
        now_us = self._elapsed_us()
        if self._failing_since_us is None:
            self._failing_since_us = now_us
        if not self.down and now_us - self._failing_since_us >= self._patience_us:
            self.down = True
            self.outages += 1
            return True
        return self.down

    def succeeded(self) -> None:
        """Note that the store answered."""
        self._failing_since_us, self.down = None, False


class AsyncDriver:
    """Carries for the tasks of one event loop."""

    def __init__(self, session: Session, store: SharedStore, breaker: Breaker) -> None:
        self._session, self._store, self.breaker = session, store, breaker
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected = False

    def kick(self) -> None:
        """Get the wire going; from any thread."""
        try:
            if threading.get_ident() == self._thread:
                self._start()
            else:
                self._loop.call_soon_threadsafe(self._start)
        except RuntimeError:
            # The loop has ended: nobody is left to carry for.
            return

    async def close(self, clerk: Clerk) -> None:
        """Give back everything, as far as the store can be told, and let go of it."""
        for lease in clerk.session.holdings.all():
            clerk.release(lease, "cancelled")
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                while self._session.has_work and not self.breaker.down:
                    self._start()
                    await asyncio.sleep(0.001)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._store.close()

    def _start(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._carry())
        self._work.set()

    async def _carry(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            while (batch := self._next()) is not None:
                try:
                    if not self._connected:
                        await self._store.connect()
                        self._connected = True
                    reply = await self._store.apply(batch)
                except Exception as error:
                    # Whatever it was: those who wait must hear of it, and the next batch must go.
                    self._connected = False
                    await self._failed(_known(error))
                    continue
                self.breaker.succeeded()
                self._session.took(batch, reply)
                if self._session.waiting:
                    # The next batch leaves at the end of the next turn; what this one's answers
                    # bring about is done after that, while the store is at work.
                    self._loop.call_soon(self._loop.call_soon, self._session.tell)
                else:
                    self._session.tell()

    def _next(self) -> Batch | None:
        """Return what to carry: while the store is down, at least a question whether it is back."""
        life = self.breaker.down or self._session.is_quiet
        return self._session.batch(sign_of_life=life)

    async def _failed(self, error: TidegateError) -> None:
        if self.breaker.failed() or not isinstance(error, StoreUnavailable):
            self._session.given_up(error)
        await asyncio.sleep(BACKOFF_MAX_S / 10)


class SyncDriver:
    """Carries for threads: whoever gets the wire takes along what all others asked."""

    def __init__(self, session: Session, store: BlockingStore, breaker: Breaker) -> None:
        self._session, self._store, self.breaker = session, store, breaker
        self._wire = threading.Lock()
        self._carrier = 0
        self._connected = False

    def kick(self) -> None:
        """Leave it to whoever waits for an answer, or to the pulse."""

    def carry(self, done: Callable[[], bool] = lambda: False) -> None:
        """Carry until there is nothing left to carry, or `done`."""
        while self._session.has_work and not done():
            if self._carrier == threading.get_ident():
                # What an answer brings about travels after it.
                return
            with self._wire:
                self._carrier = threading.get_ident()
                try:
                    if not done() and not self._carry_once():
                        return
                finally:
                    self._carrier = 0

    def pulse(self) -> None:
        """Carry one batch, unless somebody else is at it."""
        if not self._wire.acquire(blocking=False):
            return
        self._carrier = threading.get_ident()
        try:
            self._carry_once()
        finally:
            self._carrier = 0
            self._wire.release()

    def _carry_once(self) -> bool:
        """Carry one batch; False if the store failed. The wire is held."""
        life = self.breaker.down or self._session.is_quiet
        batch = self._session.batch(sign_of_life=life)
        if batch is None:
            return True
        try:
            if not self._connected:
                self._store.connect()
                self._connected = True
            reply = self._store.apply(batch)
        except Exception as failure:
            error = _known(failure)
            self._connected = False
            if self.breaker.failed() or not isinstance(error, StoreUnavailable):
                self._session.given_up(error)
            return False
        self.breaker.succeeded()
        self._session.replied(batch, reply)
        return True

    def close(self, clerk: Clerk) -> None:
        """Give back everything, as far as the store can be told, and let go of it."""
        for lease in clerk.session.holdings.all():
            clerk.release(lease, "cancelled")
        self.carry()
        with self._wire:
            self._store.close()


def _known(error: Exception) -> TidegateError:
    """Return an error that callers expect; what a store should not have raised is logged."""
    if isinstance(error, TidegateError):
        return error
    _log.error("the store failed as it should not", exc_info=error)
    return StoreUnavailable(f"the store failed: {type(error).__name__}")
