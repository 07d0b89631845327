"""Claims that wait their turn: fairly between tenants, without barging, without a wake-up storm.

Whoever frees something serves the queues in the same step and hands the grant over, so nobody is
woken in vain. A waiter stands behind the cell that refused it last; a newcomer that needs that cell
stays behind it, all others pass. Who is next at a cell, `domain/fairness` says; if its claim does
not fit yet, the cell is kept for it, so that wide claims do not starve. Only waiters that were
tried carry a timer.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from msgspec.structs import replace

from tidegate.domain.ask import Cell
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.fairness import Standing
from tidegate.domain.lease import Lease
from tidegate.errors import TidegateError
from tidegate.facades.desk import Desk
from tidegate.facades.lines import Line, Lines, Waiter
from tidegate.facades.shares import Shares

QUEUE = "queue"
"""How the queue itself is called in a refusal, when it has no place left."""


class WaitQueue:
    """Every waiter of one gate.

    Args:
        desk: Decides.
        shares: Knows what tenants hold.
        waiters_max: Claims that may wait at once.
        lock: Surrounds each step; a plain one if none is given.
    """

    def __init__(
        self,
        desk: Desk,
        shares: Shares,
        *,
        waiters_max: int,
        lock: AbstractContextManager[object] | None = None,
    ) -> None:
        self._desk, self._shares = desk, shares
        self._waiters_max = waiters_max
        self._lines = Lines(shares.lane)
        self._arrived = 0
        # Entered again where a grant that nobody takes goes back while the queues are served.
        self._lock = lock or threading.RLock()

    def __len__(self) -> int:
        return len(self._lines)

    def admit(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Decide a claim that does not wait. It does not overtake those that do."""
        with self._lock:
            return self._try(claim, lease_us, holder)

    def join(
        self,
        claim: Claim,
        lease_us: int,
        holder: str,
        wake: Callable[[], object],
        *,
        capacities_only: bool,
    ) -> Decision | Waiter:
        """Decide a claim, or put it into the queue.

        Args:
            claim: The claim.
            lease_us: How long its lease shall last.
            holder: Who takes it.
            wake: See `Waiter`.
            capacities_only: Wait for capacities, and be refused by rates and quotas at once.

        Returns:
            A waiter if the claim waits; a denial of its own when the queue is full.
        """
        with self._lock:
            # Before the claim is decided: what is freed from then on must not be missed.
            self._desk.attend(True)
            try:
                answer = self._try(claim, lease_us, holder)
                if isinstance(answer, Granted) or (capacities_only and answer.timed):
                    return answer
                if not self._has_room_for(claim.tenant):
                    return replace(answer, limit=QUEUE, scope=(), reason="exhausted", remaining=0)
                self._arrived += 1
                waiter = Waiter(
                    claim=claim,
                    lease_us=lease_us,
                    holder=holder,
                    wake=wake,
                    capacities_only=capacities_only,
                    order=self._arrived,
                    behind=Cell(answer.limit, answer.scope),
                    denied=answer,
                    retry_us=answer.retry_after_us,
                )
                self._lines.add(waiter)
                return waiter
            finally:
                self._rest()

    def leave(self, waiter: Waiter) -> Decision | TidegateError | None:
        """Give up. Return the answer if one came first; a grant in it must be given back."""
        with self._lock:
            if waiter.answer is None:
                self._lines.remove(waiter)
                self._serve(self._lines.on([waiter.behind.limit]))
                self._rest()
            return waiter.answer

    def serve(self, limits: Iterable[str]) -> None:
        """Hand what became free at these limits to those who wait for it, in order."""
        with self._lock:
            self._serve(self._lines.on(limits))
            self._rest()

    def released(self, lease: Lease, limits: Iterable[str]) -> None:
        """Take note that a lease ended, and serve what it held at these limits."""
        with self._lock:
            self._shares.remove(lease)
            self._serve(self._lines.on(limits))
            self._rest()

    def serve_all(self) -> None:
        """Try every queue: after limits changed, or leases were reclaimed."""
        with self._lock:
            self._shares.forget()
            for waiter in self._lines:
                self._check(waiter)
            self._serve(self._lines.everywhere())
            self._rest()

    def dismiss(self) -> None:
        """Give every waiter the denial it last got, and let nobody wait any more."""
        with self._lock:
            self._waiters_max = 0
            for waiter in self._lines:
                waiter.answer = waiter.denied
                self._lines.remove(waiter)
                self._wake(waiter)
            self._rest()

    def _rest(self) -> None:
        if not self._lines:
            self._shares.forget()
            self._desk.attend(False)

    def _has_room_for(self, tenant: str) -> bool:
        """Leave as many places free as a tenant takes: no one tenant can fill the queue."""
        if not self._lines:
            return self._waiters_max > 0
        return self._lines.of_tenant(tenant) < self._waiters_max - len(self._lines)

    def _try(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Decide the claim unless somebody who goes before it waits for one of its cells."""
        if self._lines:
            earlier = self._desk.granted_before(claim)
            if earlier is not None:
                return earlier
            line = self._ahead_of(claim, self._arrived + 1, None)
            if line is not None:
                # A rate that would refuse anyway is the better answer: its wait is exact.
                denied = self._desk.explain(claim)
                if denied is not None and denied.timed:
                    return denied
                return Denied(next(iter(line)).denied.reason, line.cell.limit, line.cell.scope)
        return self._desk.decide(claim, lease_us, holder)

    def _ahead_of(self, claim: Claim, order: int, behind: Cell | None) -> Line | None:
        """Return a queue, other than the one at `behind`, where somebody goes before the claim."""
        for cell in self._desk.cells(claim):
            line = self._lines.at(cell)
            if line is None or cell == behind:
                continue

            def newcomer(served: float, cell: Cell = cell) -> Standing:
                return self._standing(claim, order, cell, served)

            if line.precedes(claim, order, self._standing_at(cell), newcomer):
                return line
        return None

    def _serve(self, lines: list[Line]) -> None:
        """Serve the queues, and those that others move to, until nobody who is next can be."""
        tries = 4 * len(self._lines) + len(lines)
        while lines and tries:
            line = lines[-1]
            waiter = line.first(self._standing_at(line.cell))
            if waiter is None:
                lines.pop()
                continue
            tries -= 1
            moved_to = self._serve_one(waiter)
            if waiter.answer is not None:
                self._take_out(waiter)
            elif moved_to is None:
                lines.pop()
            else:
                lines.insert(0, moved_to)

    def _take_out(self, waiter: Waiter) -> None:
        """Hand its answer to a waiter, and count what it got."""
        if isinstance(waiter.answer, Granted):
            tenant = waiter.claim.tenant
            units = sum(waiter.claim.hold.values()) or sum(waiter.claim.take.values())
            line = self._lines.at(waiter.behind)
            assert line is not None
            line.served(waiter, units / self._shares.weight(tenant))
            self._shares.add(waiter.answer)
        self._lines.remove(waiter)
        self._hand_over(waiter)

    def _serve_one(self, waiter: Waiter) -> Line | None:
        """Try one waiter; give it its answer if it has one, or let it stand where it is refused.

        What its claim raises is the waiter's to hear, not that of whoever freed a unit.

        Returns:
            The queue it moved to, if it stands behind another cell now.
        """
        try:
            waiter.answer = self._desk.precheck(waiter.claim)
            if waiter.answer is not None:
                return None
            ahead = self._ahead_of(waiter.claim, waiter.order, waiter.behind)
            if ahead is not None:
                # Its place is there now: nothing need be freed again where it waited before.
                waiter.retry_us = None
                self._lines.move(waiter, ahead.cell)
                return ahead
            answer = self._desk.decide(waiter.claim, waiter.lease_us, waiter.holder)
        except TidegateError as error:
            waiter.answer = error
            return None
        if isinstance(answer, Granted) or (waiter.capacities_only and answer.timed):
            waiter.answer = answer
            return None
        waiter.denied, waiter.retry_us = answer, answer.retry_after_us
        cell, before = Cell(answer.limit, answer.scope), waiter.behind
        self._lines.move(waiter, cell)
        self._wake(waiter)
        # Where it has just been refused nothing changes by trying it again.
        return None if cell == before else self._lines.at(before)

    def _check(self, waiter: Waiter) -> None:
        """Tell a waiter at once whose claim the limits of today can never grant."""
        try:
            self._desk.cells(waiter.claim)
        except TidegateError as error:
            waiter.answer = error
            self._lines.remove(waiter)
            self._wake(waiter)

    def _standing_at(self, cell: Cell) -> Callable[[Waiter, float], Standing]:
        def standing(first: Waiter, served: float) -> Standing:
            return self._standing(first.claim, first.order, cell, served)

        return standing

    def _standing(self, claim: Claim, order: int, cell: Cell, served: float) -> Standing:
        return Standing(
            tenant=self._shares.lane(claim, cell),
            weight=self._shares.weight(claim.tenant),
            share=self._shares.dominant(claim.tenant),
            served=served,
            borrows=self._shares.borrows(claim, cell),
            arrived=order,
        )

    def _hand_over(self, waiter: Waiter) -> None:
        answer = waiter.answer
        if not self._wake(waiter) and isinstance(answer, Granted) and not answer.repeated:
            self._desk.void(answer)

    def _wake(self, waiter: Waiter) -> bool:
        """Wake a waiter; False if its event loop has ended and nobody is there."""
        try:
            waiter.wake()
        except RuntimeError:
            return False
        return True
