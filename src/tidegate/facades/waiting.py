"""Claims that wait their turn, first in first out, without barging and without a wake-up storm.

Whoever frees something serves the queue in the same step and hands the grant over, so nobody is
woken in vain. A waiter keeps its place at the cell that refused it last; a later claim that needs
that cell stays behind it, all others pass. Only waiters that were tried carry a timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from tidegate.domain.policy import Ask, Cell
from tidegate.errors import TidegateError
from tidegate.ports.admission_store import AdmissionInspect, AdmissionStore, Grant, Refusal

Answer = Grant | Refusal

Stopwatch = Callable[[Callable[[], Answer]], Answer]
"""Calls what it is given and returns its answer, noting how long that took."""

Refresh = Callable[[Ask], Ask]
"""Resolves an ask anew under the limits and the calendar of this moment, or raises why not."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiter:
    """A claim in the queue.

    `ask` is resolved anew at each try; `answered` is the one that `refusal` and `answer` are about.
    `wake` is called under the queue's lock, once `answer` is set or the timer must be set anew;
    it must not block or call back. `retry_us` is how long to wait, from that moment on, before
    asking again; None while an earlier waiter stands before this one.
    """

    ask: Ask
    answered: Ask
    wake: Callable[[], object]
    capacities_only: bool
    behind: Cell
    refusal: Refusal
    retry_us: int | None = None
    answer: Answer | TidegateError | None = None


class WaitQueue:
    """Every waiter of one gate, in order of arrival."""

    def __init__(
        self,
        store: AdmissionStore,
        inspect: AdmissionInspect,
        *,
        refresh: Refresh,
        waiters_max: int,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._store = store
        self._refresh = refresh
        self._stopwatch = stopwatch
        self._inspect = inspect
        self._waiters_max = waiters_max
        self._waiters: list[Waiter] = []
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._waiters)

    def admit(self, ask: Ask) -> Answer:
        """Decide a claim that does not wait. It does not overtake those that do."""
        if not self._waiters:
            return self._decide(ask)
        with self._lock:
            return self._try(ask)

    def join(
        self, ask: Ask, wake: Callable[[], object], *, capacities_only: bool
    ) -> Answer | Waiter:
        """Decide a claim, or put it into the queue.

        Args:
            ask: The claim.
            wake: See `Waiter`.
            capacities_only: Wait for capacities, and be refused by rates and quotas at once.

        Returns:
            A waiter if the claim waits; a refusal also when the queue is full.
        """
        with self._lock:
            answer = self._try(ask)
            if isinstance(answer, Grant) or (capacities_only and answer.timed):
                return answer
            if not self._has_room_for(ask.claim.tenant):
                return answer
            waiter = Waiter(
                ask=ask,
                answered=ask,
                wake=wake,
                capacities_only=capacities_only,
                behind=ask.cells[answer.row],
                refusal=answer,
                retry_us=answer.wait_us,
            )
            self._waiters.append(waiter)
            return waiter

    def leave(self, waiter: Waiter) -> Answer | TidegateError | None:
        """Give up. Return the answer if one came first; a grant in it must be given back."""
        with self._lock:
            if waiter.answer is None:
                self._waiters.remove(waiter)
                self._serve({waiter.behind})
            return waiter.answer

    def serve(self, freed: Collection[Cell]) -> None:
        """Hand what became free in `freed` to those who wait for it, in order."""
        if freed:
            # Under the lock also to see whether anybody waits: one may be joining just now.
            with self._lock:
                self._serve(freed)

    def serve_all(self) -> None:
        """Try every waiter in order: after limits changed, or leases were reclaimed."""
        with self._lock:
            self._serve({waiter.behind for waiter in self._waiters})

    def dismiss(self) -> None:
        """Give every waiter the refusal it last got, and let nobody wait any more."""
        with self._lock:
            self._waiters_max = 0
            for waiter in self._waiters:
                waiter.answer = waiter.refusal
                self._wake(waiter)
            self._waiters.clear()

    def _has_room_for(self, tenant: str) -> bool:
        """Leave as many places free as a tenant takes: no one tenant can fill the queue."""
        if not self._waiters:
            return self._waiters_max > 0
        own = sum(waiter.ask.claim.tenant == tenant for waiter in self._waiters)
        return own < self._waiters_max - len(self._waiters)

    def _try(self, ask: Ask) -> Answer:
        """Decide the ask unless somebody who came earlier waits for one of its cells."""
        earlier = self._inspect.granted_before(ask.claim)
        if earlier is not None:
            return earlier
        ahead = {waiter.behind for waiter in self._waiters}
        for row, cell in enumerate(ask.cells):
            if cell in ahead:
                # A rate that would refuse anyway is the better answer: its wait is exact.
                refusal = self._inspect.explain(ask)
                if refusal is not None and refusal.timed:
                    return refusal
                return Refusal(row=row, remaining=0, wait_us=None, timed=False)
        return self._decide(ask)

    def _decide(self, ask: Ask) -> Answer:
        if self._stopwatch is None:
            return self._store.admit(ask)
        return self._stopwatch(lambda: self._store.admit(ask))

    def _serve(self, freed: Collection[Cell]) -> None:
        blocked: set[Cell] = set()
        for waiter in list(self._waiters):
            if waiter.behind in freed:
                self._serve_one(waiter, blocked)
            if waiter.answer is None:
                blocked.add(waiter.behind)
            else:
                self._waiters.remove(waiter)
                self._hand_over(waiter)

    def _serve_one(self, waiter: Waiter, blocked: Collection[Cell]) -> None:
        """Try one waiter unless it stands behind an earlier one; give it its answer if it has one.

        What its claim raises is the waiter's to hear, not that of whoever freed a unit.
        """
        try:
            waiter.ask = self._refresh(waiter.ask)
            ahead = next((cell for cell in waiter.ask.cells if cell in blocked), None)
            if ahead is not None:
                # Its place is there now: nothing need ever be freed again where it waited before.
                waiter.behind, waiter.retry_us = ahead, None
                return
            waiter.answered = waiter.ask
            answer = self._decide(waiter.ask)
        except TidegateError as error:
            waiter.answer = error
            return
        if isinstance(answer, Refusal) and not (waiter.capacities_only and answer.timed):
            waiter.refusal, waiter.behind = answer, waiter.ask.cells[answer.row]
            waiter.retry_us = answer.wait_us
            self._wake(waiter)
        else:
            waiter.answer = answer

    def _hand_over(self, waiter: Waiter) -> None:
        answer = waiter.answer
        if not self._wake(waiter) and isinstance(answer, Grant) and not answer.repeated:
            self._store.release(answer.lease_id, void=True)

    def _wake(self, waiter: Waiter) -> bool:
        """Wake a waiter; False if its event loop has ended and nobody is there."""
        try:
            waiter.wake()
        except RuntimeError:
            return False
        return True
