"""One queue for each cell that refused somebody, with a lane for each tenant in it.

Where a capacity has partitions, a tenant has a lane in each of them.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tidegate.domain.ask import Cell
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied
from tidegate.domain.fairness import Standing, pick, resumed
from tidegate.errors import TidegateError

TENANTS_MAX = 1_000
"""Tenants whose service a queue remembers although none of their claims waits in it."""


LaneOf = Callable[[Claim, Cell], str]


@dataclass(slots=True, kw_only=True, eq=False)
class Waiter:
    """A claim in the queue.

    `wake` is called under the queue's lock, once `answer` is set or the timer must be set anew;
    it must not block or call back. `retry_us` is how long to wait, from that moment on, before
    asking again; None while an earlier waiter stands before this one. `lane` is where it stands.
    """

    claim: Claim
    lease_us: int
    holder: str
    wake: Callable[[], object]
    capacities_only: bool
    order: int
    behind: Cell
    denied: Denied
    retry_us: int | None = None
    answer: Decision | TidegateError | None = None
    lane: str = ""

    def __lt__(self, other: Waiter) -> bool:
        """Within a tenant: the more urgent first, then the older."""
        return (-self.claim.priority, self.order) < (-other.claim.priority, other.order)


@dataclass(slots=True)
class _Lane:
    """A tenant's waiters at one cell, and how much it got there by weight."""

    waiters: list[Waiter] = field(default_factory=list)
    served: float = 0.0


class Line:
    """Everybody who waits at one cell.

    Args:
        cell: Where it is.
        lane_of: Names the lane of a claim at a cell.
    """

    def __init__(self, cell: Cell, lane_of: LaneOf) -> None:
        self.cell = cell
        self._lane_of = lane_of
        self._lanes: dict[str, _Lane] = {}
        self._active: dict[str, _Lane] = {}

    def __len__(self) -> int:
        return sum(len(lane.waiters) for lane in self._active.values())

    def __iter__(self) -> Iterator[Waiter]:
        for lane in self._active.values():
            yield from lane.waiters

    def add(self, waiter: Waiter) -> None:
        """Put a waiter where it belongs."""
        waiter.lane = self._lane_of(waiter.claim, self.cell)
        lane = self._active.get(waiter.lane)
        if lane is None:
            lane = self._lanes.setdefault(waiter.lane, _Lane())
            lane.served = resumed(lane.served, (other.served for other in self._active.values()))
            self._active[waiter.lane] = lane
        heapq.heappush(lane.waiters, waiter)

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out."""
        lane = self._active[waiter.lane]
        lane.waiters.remove(waiter)
        heapq.heapify(lane.waiters)
        if not lane.waiters:
            del self._active[waiter.lane]
            self._forget()

    def served(self, waiter: Waiter, units: float) -> None:
        """Note what a waiter got here, divided by the weight of its tenant."""
        self._lanes[waiter.lane].served += units

    def first(self, standing: Callable[[Waiter, float], Standing]) -> Waiter | None:
        """Return who is next; `standing` says how a waiter's lane stands, given its service."""
        if not self._active:
            return None
        if len(self._active) == 1:
            return next(iter(self._active.values())).waiters[0]
        lanes = self._active.values()
        return self._active[pick(standing(lane.waiters[0], lane.served) for lane in lanes)].waiters[
            0
        ]

    def precedes(
        self,
        claim: Claim,
        order: int,
        standing: Callable[[Waiter, float], Standing],
        newcomer: Callable[[float], Standing],
    ) -> bool:
        """Return whether somebody here goes before a claim that arrived as number `order`.

        `newcomer` says how the claim's tenant stands, given what it was served.
        """
        first = self.first(standing)
        if first is None:
            return False
        own = self._lane_of(claim, self.cell)
        if first.lane == own:
            return (-first.claim.priority, first.order) < (-claim.priority, order)
        lane = self._active.get(own)
        if lane is None:
            served = self._lanes[own].served if own in self._lanes else 0.0
            served = resumed(served, (other.served for other in self._active.values()))
        else:
            served = lane.served
        ahead = standing(first, self._active[first.lane].served)
        return pick((ahead, newcomer(served))) == first.lane

    def _forget(self) -> None:
        """Keep what idle tenants were served, but not of too many."""
        if len(self._lanes) > TENANTS_MAX + len(self._active):
            self._lanes = dict(self._active)


class Lines:
    """All queues of one gate, by cell."""

    def __init__(self, lane_of: LaneOf) -> None:
        self._lane_of = lane_of
        self._lines: dict[Cell, Line] = {}
        self._tenants: dict[str, int] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Waiter]:
        for line in list(self._lines.values()):
            yield from list(line)

    def of_tenant(self, tenant: str) -> int:
        """Return how many of a tenant's claims wait."""
        return self._tenants.get(tenant, 0)

    def at(self, cell: Cell) -> Line | None:
        """Return the queue at a cell, if anybody is in it."""
        line = self._lines.get(cell)
        return line or None

    def on(self, limits: Iterable[str]) -> list[Line]:
        """Return the queues at the cells of these limits."""
        names = set(limits)
        return [line for line in self._lines.values() if line.cell.limit in names]

    def everywhere(self) -> list[Line]:
        """Return every queue."""
        return list(self._lines.values())

    def add(self, waiter: Waiter) -> None:
        """Let a waiter stand behind its cell."""
        line = self._lines.get(waiter.behind)
        if line is None:
            line = self._lines[waiter.behind] = Line(waiter.behind, self._lane_of)
        line.add(waiter)
        tenant = waiter.claim.tenant
        self._tenants[tenant] = self._tenants.get(tenant, 0) + 1
        self._count += 1

    def remove(self, waiter: Waiter) -> None:
        """Take a waiter out of its queue."""
        line = self._lines[waiter.behind]
        line.remove(waiter)
        if not line:
            del self._lines[waiter.behind]
        tenant = waiter.claim.tenant
        self._tenants[tenant] -= 1
        if not self._tenants[tenant]:
            del self._tenants[tenant]
        self._count -= 1

    def move(self, waiter: Waiter, cell: Cell) -> None:
        """Let a waiter stand behind another cell; it keeps its age."""
        if cell != waiter.behind:
            self.remove(waiter)
            waiter.behind = cell
            self.add(waiter)
