"""What a shared store knows, as data: levels, members, claim ids, and who waits.

A store loads what a batch touches, lets `domain/shared.apply` change it, and writes back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tidegate.domain.admission import EMPTY, Level, Row, aged, spent
from tidegate.domain.batch import Batch, Part
from tidegate.domain.rule import COUNTER, LOG, Rule

DEDUP_US = 60_000_000
"""How long an id is remembered after its lease ended; longer than callers wait before a retry."""
RECLAIMED_MAX = 4
"""Dead members that one batch takes back from, so that no batch is slow."""
STANDING_US = 60_000_000
"""How long a queue without tickets remembers who was served; longer than a busy one is empty."""


@dataclass(slots=True, kw_only=True)
class Member:
    """A process: until when it lives, what it holds by cell, and its last batch's reply."""

    expires_us: int
    held: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    reply: bytes = b""


@dataclass(slots=True, kw_only=True)
class KnownId:
    """A granted claim id. `held` is what its lease holds, empty once it has ended.

    `told`: a retry has been told of the grant, so it is no longer its first asker's alone.
    """

    digest: str
    token: int
    member: str
    expires_us: int
    held: dict[str, int]
    ended: bool = False
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Place:
    """A ticket in a queue, in order: served least by weight, most urgent, oldest."""

    start: float
    urgency: int
    arrived: int
    member: str
    tenant: str
    cost: int = field(compare=False)
    weight: int = field(compare=False)
    rule: Rule = field(compare=False)
    name: str = field(compare=False)


@dataclass(slots=True)
class Queue:
    """Who waits at one cell, in order, and how much each tenant was served there by weight.

    `last_us` is the newest ticket's arrival, and `empty_us` when the last one left.
    """

    places: list[Place] = field(default_factory=list)
    served: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0
    last_us: int = 0
    empty_us: int = 0

    def start(self, tenant: str) -> float:
        """Return where a tenant stands that comes now: an idle one saved nothing up."""
        return max(self.clock, self.served.get(tenant, 0.0))

    def place_of(self, ticket: str) -> Place | None:
        """Return the place of a ticket."""
        return next((place for place in self.places if place.name == ticket), None)

    def arrive(self, now_us: int) -> int:
        """Return when a ticket came that comes now: after all others."""
        self.last_us = max(now_us, self.last_us + 1)
        return self.last_us

    def ahead(self, ticket: str, tenant: str, priority: int, now_us: int) -> int:
        """Return the units kept for those who go before a ticket, or before who comes now."""
        own = self.place_of(ticket)
        if own is not None:
            return sum(place.cost for place in self.places if place < own)
        standing = (self.start(tenant), -priority, now_us)
        return sum(
            place.cost
            for place in self.places
            if (place.start, place.urgency, place.arrived) <= standing
        )

    def serve(self, ticket: str, tenant: str, share: float, now_us: int) -> bool:
        """Count what a tenant got by weight, and take its ticket back; say if it had one."""
        start, own = self.start(tenant), self.place_of(ticket)
        if own is not None:
            self.keep(lambda place: place is not own, now_us)
            start = own.start
            self.clock = max(self.clock, start)
        self.served[tenant] = start + share
        return own is not None

    def keep(self, kept: Callable[[Place], bool], now_us: int) -> bool:
        """Forget the other tickets; return whether there were any."""
        places = [place for place in self.places if kept(place)]
        if len(places) == len(self.places):
            return False
        self.places = places
        if not places:
            self.empty_us = now_us
        return True


@dataclass(slots=True, kw_only=True)
class World:
    """What a store loaded for one batch. What it did not find is absent.

    `dead` are expired members, at most `RECLAIMED_MAX`. The cells of `levels` that changed are in
    `dirty`, with the rule they changed by, or None for a capacity that was given back; whatever
    else the batch names may have changed, too.
    """

    levels: dict[str, Level] = field(default_factory=dict)
    members: dict[str, Member] = field(default_factory=dict)
    ids: dict[str, KnownId] = field(default_factory=dict)
    queues: dict[str, Queue] = field(default_factory=dict)
    token: int = 0
    dirty: dict[str, Rule | None] = field(default_factory=dict)
    freed: set[str] = field(default_factory=set)

    def row(self, part: Part, batch: Batch) -> Row:
        """Return a row of a claim, with the levels that it looks at."""
        levels, cells = self.levels, batch.cells
        level = levels.get(cells[part.cell], EMPTY)
        row = Row(batch.rules[part.rule], part.cost, level, part.via)
        if part.siblings:
            row.siblings = [
                (levels.get(cells[part.siblings[index]], EMPTY), part.siblings[index + 1])
                for index in range(0, len(part.siblings), 2)
            ]
        return row

    def put(self, cell: str, level: Level, rule: Rule | None = None) -> None:
        """Set a level."""
        self.levels[cell] = level
        self.dirty[cell] = rule

    def lower(self, cell: str, units: int) -> None:
        """Give units of a capacity back."""
        level = self.levels.get(cell, EMPTY)
        self.put(cell, Level(max(0, level.amount - units), level.at_us))
        self.freed.add(cell)

    def give_back(self, name: str, held: dict[str, int]) -> None:
        """Give back what a member holds, but no more than it does."""
        member = self.members.get(name)
        if member is None:
            return
        for cell, units in held.items():
            mine = member.held.pop(cell, 0)
            if mine > units:
                member.held[cell] = mine - units
            self.lower(cell, min(units, mine))

    def queue(self, cell: str, now_us: int) -> Queue:
        """Return the queue at a cell, a new one where the last was left for long."""
        queue = self.queues.get(cell)
        if queue is None or (not queue.places and queue.empty_us + STANDING_US <= now_us):
            queue = self.queues[cell] = Queue()
        return queue

    def fitting(self, cell: str, now_us: int) -> list[Place]:
        """Return the first tickets at a cell, as long as there is room for all of them."""
        queue = self.queues.get(cell)
        fitting: list[Place] = []
        units = 0
        for place in queue.places if queue is not None else ():
            level = aged(place.rule, self.levels.get(cell, EMPTY), now_us)
            units += place.cost
            taken = spent(place.rule, level, now_us) + units * place.rule.unit
            if taken > place.rule.ceiling:
                break
            fitting.append(place)
        return fitting

    def woken(self, now_us: int) -> tuple[str, ...]:
        """Return the members with tickets that there is room for at what became freer."""
        names = {place.member for cell in self.freed for place in self.fitting(cell, now_us)}
        return tuple(sorted(names))

    def reclaim(self, now_us: int) -> None:
        """Take back what dead members held, and forget their tickets."""
        dead = sorted(
            (member.expires_us, name)
            for name, member in self.members.items()
            if member.expires_us <= now_us
        )
        for _, name in dead[:RECLAIMED_MAX]:
            for cell, units in self.members.pop(name).held.items():
                self.lower(cell, units)
            self._leave(name, now_us)

    def _leave(self, name: str, now_us: int) -> None:
        for cell, queue in self.queues.items():
            if queue.keep(lambda place: place.member != name, now_us):
                self.freed.add(cell)


def behind(rows: list[Row], ahead: list[int], now_us: int) -> list[Row]:
    """Return the rows as they look to a claim behind others for whom room is kept."""
    if not any(ahead):
        return rows
    seen = []
    for row, units in zip(rows, ahead, strict=True):
        if not units or row.via >= 0 or row.rule.kind in (COUNTER, LOG):
            seen.append(row)
            continue
        level = aged(row.rule, row.level, now_us)
        level = Level(level.amount + units * row.rule.unit, level.at_us, (), level.unit)
        seen.append(Row(row.rule, row.cost, level, row.via, row.siblings))
    return seen
