"""Who carries the batches of a session: a task of its event loop, or whichever thread is waiting.

One batch is under way at a time; what is asked for meanwhile travels with the next, so a crowd is
carried together. When the store cannot be reached for `patience_us`, everybody who waits is told
so, and from then on at once, until it answers again.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress

from tidegate.domain.batch import Batch
from tidegate.errors import StoreUnavailable, TidegateError
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.outbox import known_error
from tidegate.facades.sharing.session import Session
from tidegate.ports.shared_store import BlockingStore, SharedStore

TICK_S = 0.05
RETRY_S = 0.1
"""How long a task waits before it tries the store again."""


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
    """Carries for the tasks of one event loop.

    A loop that ends in an orderly way closes the asynchronous generators that were begun in it: by
    one of them this learns of the end while there still is a loop to say the last things in.
    """

    def __init__(self, session: Session, store: SharedStore, breaker: Breaker) -> None:
        self._session, self._store, self.breaker = session, store, breaker
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._connected = False
        self._end = self._until_the_end()
        with suppress(StopIteration):
            self._end.__anext__().send(None)

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
        clerk.give_up_all()
        await self._end.aclose()
        self._session.given_up(StoreUnavailable("the gate was closed"))

    async def _until_the_end(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
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
        if self._task is None or self._task.done():
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
                except TidegateError as error:
                    self._connected = False
                    await self._failed(error)
                    continue
                except Exception as error:
                    # Whatever it was: those who wait must hear of it, and the next batch must go.
                    self._connected = False
                    self._session.poisoned(batch, known_error(error))
                    continue
                self.breaker.succeeded()
                self._session.took(batch, reply)
                if self._session.waiting:
                    # The next batch leaves at the end of the next turn; what this one's answers
                    # bring about is done after that, while the store is at work.
                    self._loop.call_soon(self._loop.call_soon, self._tell)
                else:
                    self._tell()

    def _tell(self) -> None:
        self._session.tell()
        self._session.tell_near()

    def _next(self) -> Batch | None:
        """Return what to carry: while the store is down, at least a question whether it is back."""
        life = self.breaker.down or self._session.is_quiet
        return self._session.batch(sign_of_life=life)

    async def _failed(self, error: TidegateError) -> None:
        if self.breaker.failed() or not isinstance(error, StoreUnavailable):
            self._session.given_up(error)
        await asyncio.sleep(RETRY_S)


class SyncDriver:
    """Carries for threads: whoever gets the wire takes along what all others asked."""

    def __init__(self, session: Session, store: BlockingStore, breaker: Breaker) -> None:
        self._session, self._store, self.breaker = session, store, breaker
        self._wire = threading.Lock()
        self._carrier = 0
        self._connected = False
        self._standing: dict[threading.Event, None] = {}

    def kick(self) -> None:
        """Leave it to whoever waits for an answer, or to the pulse."""

    def carry_until(self, heard: Callable[[], bool], poked: threading.Event) -> None:
        """Carry, or let others carry, until an answer was `heard`; then tell what came near.

        Who finds the wire taken waits for its answer, and not for the wire: whoever leaves the wire
        with work left pokes one of those who wait, to go on.

        Args:
            heard: Whether the answer is there. It comes even if the store does not.
            poked: Set with the answer, too.
        """
        while not heard():
            if self._session.has_work and self._wire.acquire(blocking=False):
                if self._carry_while(lambda: not heard()):
                    continue
            else:
                self._standing[poked] = None
            poked.wait(TICK_S)
            poked.clear()
        self._standing.pop(poked, None)
        self._session.tell_near()

    def _carry_while(self, wanted: Callable[[], bool]) -> bool:
        """Carry one batch after the other; False if the store failed. Leaves the wire."""
        self._carrier = threading.get_ident()
        try:
            while wanted() and self._session.has_work:
                if not self._carry_once():
                    return False
        finally:
            self._carrier = 0
            self._wire.release()
        if self._session.has_work and self._standing:
            with suppress(KeyError):
                self._standing.popitem()[0].set()
        return True

    def carry_next(self, *, wait_s: float) -> None:
        """Carry the next batch, which has what was asked last unless there is a crowd.

        Not while the store is down: then it is the pulse's to try it. Whoever has the wire is
        waited for at most for `wait_s`; then the next batch is its, or the pulse's.
        """
        if self.breaker.down or self._carrier == threading.get_ident():
            return
        if not self._wire.acquire(timeout=wait_s):
            return
        self._carrier = threading.get_ident()
        try:
            if self._session.has_work:
                self._carry_once()
        finally:
            self._carrier = 0
            self._wire.release()
        self._session.tell_near()

    def pulse(self) -> None:
        """Carry one batch, unless somebody else is at it.

        Who is waiting for its answers tells which limits are near: a listener may take its time.
        """
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
        except TidegateError as error:
            self._connected = False
            if self.breaker.failed() or not isinstance(error, StoreUnavailable):
                self._session.given_up(error)
            return False
        except Exception as error:
            self._connected = False
            self._session.poisoned(batch, known_error(error))
            return False
        self.breaker.succeeded()
        self._session.replied(batch, reply)
        return True

    def close(self, clerk: Clerk) -> None:
        """Give back everything, as far as the store can be told, and let go of it."""
        clerk.give_up_all()
        with self._wire:
            while self._session.has_work and self._carry_once():
                pass
        self._session.given_up(StoreUnavailable("the gate was closed"))
        with self._wire:
            self._store.close()
