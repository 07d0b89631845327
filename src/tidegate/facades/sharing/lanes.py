"""Claims of one process that wait for a shared store: a lane for each cell and tenant.

The first of a lane has a ticket in the store, which keeps room for it and says when there is some;
who is first between tenants and processes, the store decides. So a crowd costs the store one ticket
for each lane, and nobody is woken in vain. A process that dies takes its tickets along.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from tidegate.domain.ask import Cell
from tidegate.domain.batch import Leave
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.errors import TidegateError
from tidegate.facades.sharing.clerk import Clerk
from tidegate.facades.sharing.outbox import cell_name
from tidegate.facades.sharing.questions import Terms

QUEUE = "queue"
"""How the queue itself is called in a refusal, when it has no place left."""

Place = tuple[str, tuple[str, ...], str]
"""Limit, scope and tenant."""


@dataclass(slots=True, kw_only=True, eq=False)
class Waiting:
    """A claim that waits. `wake` is called once `answer` is set, or `retry_us` has changed."""

    claim: Claim
    terms: Terms
    wake: Callable[[], object]
    capacities_only: bool
    order: int
    lane: Lane | None = None
    denied: Denied | None = None
    answer: Decision | TidegateError | None = None
    retry_us: int | None = None
    gone: bool = False

    def __lt__(self, other: Waiting) -> bool:
        """Within a tenant: the more urgent first, then the older."""
        return (-self.claim.priority, self.order) < (-other.claim.priority, other.order)


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """The claims of one tenant that wait at one cell.

    `asking`: the first is being decided. `poked`: there was news meanwhile, which the answer may
    be older than.
    """

    place: Place
    waiting: list[Waiting] = field(default_factory=list)
    ticket: str = ""
    owner: Waiting | None = None
    asking: bool = False
    poked: bool = False


class Lanes:
    """Everybody of this process who waits; under the lock of its session.

    Args:
        waiting_max: Claims that may wait at once.
    """

    def __init__(self, clerk: Clerk, *, waiting_max: int) -> None:
        self._clerk, self._waiting_max = clerk, waiting_max
        self._lanes: dict[Place, Lane] = {}
        self._order = 0
        self._count = 0
        self._to_ask: deque[Lane] = deque()
        self._is_asking = False

    def __len__(self) -> int:
        return self._count

    def join(
        self, claim: Claim, terms: Terms, wake: Callable[[], object], *, capacities_only: bool
    ) -> Waiting:
        """Ask for a claim, and let it wait if it is refused. Raises InvalidClaim."""
        with self._clerk.session.lock:
            self._order += 1
            waiting = Waiting(
                claim=claim,
                terms=terms,
                wake=wake,
                capacities_only=capacities_only,
                order=self._order,
            )
            lane = self._lane_of(claim)
            if lane is None or not lane.waiting:
                self._clerk.admit(claim, terms, lambda answer: self._heard(waiting, answer))
            elif self._has_room_for(claim.tenant):
                self._enter(waiting, lane)
            else:
                self._answer(waiting, Denied("exhausted", QUEUE))
            return waiting

    def leave(self, waiting: Waiting) -> Decision | TidegateError | None:
        """Give up, unless there is an answer by now: return it. One that comes later is undone."""
        with self._clerk.session.lock:
            if waiting.answer is None:
                waiting.gone = True
                if waiting.lane is not None:
                    self._take_out(waiting)
            return waiting.answer

    def fail(self, answer: Decision | TidegateError) -> None:
        """Answer everybody who waits: the store cannot be had, or the gate is closed."""
        with self._clerk.session.lock:
            for lane in list(self._lanes.values()):
                all_of_it, lane.waiting = lane.waiting, []
                for waiting in all_of_it:
                    waiting.lane = None
                    self._answer(waiting, answer)
                if lane.ticket:
                    self._give_up(lane)
            self._lanes.clear()
            self._count = 0

    def poke(self) -> None:
        """Ask again for the first of each lane: there may be room, or a message was lost."""
        with self._clerk.session.lock:
            for lane in list(self._lanes.values()):
                lane.poked = lane.asking
                self._ask(lane)

    def undo(self, decision: Decision | TidegateError) -> None:
        """Take back a grant that nobody heard of."""
        if isinstance(decision, Granted) and not decision.repeated:
            self._clerk.void(decision)

    def retry(self, waiting: Waiting) -> None:
        """Ask again for a claim whose time has come, if it is the first of its lane."""
        with self._clerk.session.lock:
            lane = waiting.lane
            if lane is not None and lane.waiting and lane.waiting[0] is waiting:
                self._ask(lane)

    def _lane_of(self, claim: Claim) -> Lane | None:
        now_us = self._clerk.session.now_us()
        for cell in self._clerk.policy.ask(claim, lease_us=0, now_us=now_us).cells:
            lane = self._lanes.get((cell.limit, cell.scope, claim.tenant))
            if lane is not None:
                return lane
        return None

    def _has_room_for(self, tenant: str) -> bool:
        """Leave as many places free as a tenant takes: no one tenant can fill the queue."""
        if not self._count:
            return self._waiting_max > 0
        own = sum(len(la.waiting) for place, la in self._lanes.items() if place[2] == tenant)
        return own < self._waiting_max - self._count

    def _heard(
        self, waiting: Waiting, answer: Decision | TidegateError, asked: Lane | None = None
    ) -> None:
        with self._clerk.session.lock:
            if asked is not None:
                asked.asking = False
            lane = waiting.lane
            if waiting.gone or waiting.answer is not None:
                # Gone, or told meanwhile that the store cannot be had.
                if isinstance(answer, Granted) and not answer.repeated:
                    self._clerk.void(answer)
                if asked is not None:
                    self._ask(asked)
                return
            refused = isinstance(answer, Denied) and not (waiting.capacities_only and answer.timed)
            if not refused:
                if lane is not None:
                    served = isinstance(answer, Granted) and not answer.repeated
                    self._take_out(waiting, served=served)
                self._answer(waiting, answer)
                return
            assert isinstance(answer, Denied)
            self._stand(waiting, answer)

    def _stand(self, waiting: Waiting, denied: Denied) -> None:
        """Let a refused claim stand at the cell that refused it."""
        waiting.denied, waiting.retry_us = denied, denied.retry_after_us
        place = (denied.limit, denied.scope, waiting.claim.tenant)
        lane = waiting.lane
        if lane is not None and lane.place == place:
            waiting.wake()
            if lane.waiting[0] is not waiting or lane.poked:
                self._ask(lane)
            return
        if lane is not None:
            self._take_out(waiting)
        elif not self._has_room_for(waiting.claim.tenant):
            self._answer(waiting, replace(denied, limit=QUEUE, scope=(), reason="exhausted"))
            return
        other = self._lanes.get(place)
        if other is None:
            other = self._lanes[place] = Lane(place=place)
        self._enter(waiting, other)
        waiting.wake()

    def _enter(self, waiting: Waiting, lane: Lane) -> None:
        heapq.heappush(lane.waiting, waiting)
        waiting.lane = lane
        if waiting.denied is None:
            # It was not asked for yet: others of its tenant wait for the same.
            limit, scope, _ = lane.place
            waiting.denied = Denied("exhausted", limit, scope)
        self._count += 1
        if lane.waiting[0] is waiting:
            self._ask(lane)

    def _ask(self, lane: Lane) -> None:
        """Ask for the first of a lane, after those that are being asked for.

        An answer that needs no store comes at once, and lets the next one ask: in a loop, since a
        lane can be longer than the stack.
        """
        self._to_ask.append(lane)
        if self._is_asking:
            return
        self._is_asking = True
        try:
            while self._to_ask:
                self._ask_now(self._to_ask.popleft())
        finally:
            self._is_asking = False

    def _ask_now(self, lane: Lane) -> None:
        """Ask for the first of a lane, with its ticket, taken in the same step if it has none."""
        if lane.asking or not lane.waiting:
            return
        first = lane.waiting[0]
        limit, scope, _ = lane.place
        member = self._clerk.session.member
        cell = None
        if lane.owner is not first or not lane.ticket.startswith(f"{member}:"):
            self._order += 1
            lane.ticket, lane.owner, cell = f"{member}:{self._order}", first, (limit, scope)
        terms = Terms(
            lease_us=first.terms.lease_us,
            holder=first.terms.holder,
            report=first.terms.report,
            ticket=lane.ticket,
            cell=cell,
        )
        lane.asking, lane.poked = True, False
        try:
            self._clerk.admit(first.claim, terms, lambda answer: self._heard(first, answer, lane))
        except TidegateError as error:
            lane.asking = False
            self._take_out(first)
            self._answer(first, error)

    def _take_out(self, waiting: Waiting, *, served: bool = False) -> None:
        """Take a claim out of its lane; the next one asks, or the ticket is given up."""
        lane = waiting.lane
        assert lane is not None
        waiting.lane = None
        lane.waiting.remove(waiting)
        heapq.heapify(lane.waiting)
        self._count -= 1
        if lane.waiting:
            self._ask(lane)
            return
        del self._lanes[lane.place]
        if not served and lane.ticket:
            self._give_up(lane)

    def _give_up(self, lane: Lane) -> None:
        limit, scope, _ = lane.place
        name, ticket = cell_name(Cell(limit, scope)), lane.ticket
        self._clerk.tell(lambda naming: (Leave(naming.cell(name), ticket),))

    def _answer(self, waiting: Waiting, answer: Decision | TidegateError) -> None:
        waiting.answer = answer
        waiting.wake()
