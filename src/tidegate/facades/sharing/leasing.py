"""Tokens of `leased` limits: drawn from the store in advance, and spent here without asking.

The store is debited first, so the limit is never exceeded by all processes together; what a process
has drawn and does not spend within one refill time goes back. A refusal is remembered until its
time has come. Ordering between processes ends for such a limit: whoever has tokens, spends them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from tidegate.domain.ask import Ask, Cell
from tidegate.domain.batch import No
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.domain.lease import LeaseOwner
from tidegate.domain.limit import RateLimit
from tidegate.domain.policy import Policy
from tidegate.domain.rule import Rule

POOLS_MAX = 100_000


@dataclass(slots=True, eq=False)
class Pool:
    """What is left of the tokens drawn for one cell, since when, and until when none are to be had.

    `ready_us` is when the store has tokens again, by its own clock. `refill_us` is after how long
    unspent ones go back. While somebody is `drawing` for all, others stand `behind`: each is called
    when that is over.
    """

    cell: Cell
    limit: RateLimit
    refill_us: int
    tokens: int = 0
    drawing: bool = False
    behind: list[Callable[[], None]] = field(default_factory=list)
    drawn_us: int = 0
    ready_us: int = 0


@dataclass(slots=True, eq=False)
class Draft:
    """A claim after what it could take here: the rest of it, to be asked for.

    `taken` goes back if the rest is refused; `drawing` are rows of `ask` that ask for more than
    the claim needs, with the units it does need. `behind` is a pool that somebody draws for just
    now: then nothing was taken.
    """

    ask: Ask
    taken: list[tuple[Pool, int]] = field(default_factory=list)
    drawing: dict[int, tuple[Pool, int]] = field(default_factory=dict)
    refused: tuple[Pool, int] | None = None
    behind: Pool | None = None

    def undo(self) -> list[Pool]:
        """Put back what was taken here; return the pools that others may draw for again."""
        for pool, units in self.taken:
            pool.tokens += units
        drawn = [pool for pool, _ in self.drawing.values()]
        for pool in drawn:
            pool.drawing = False
        self.taken, self.drawing = [], {}
        return drawn


class Leasing:
    """The pools of one member; under the lock of its session, but for `spend`.

    Args:
        owner: Whose grants they are that are given from tokens.
        lock: That of the session.
        now_us: The store's time.
        give_back: Puts units of a cell back into the store that were taken at an instant.
    """

    def __init__(
        self,
        owner: LeaseOwner,
        *,
        lock: threading.RLock,
        now_us: Callable[[], int],
        give_back: Callable[[Pool, int], None],
    ) -> None:
        self._owner, self._lock, self._now_us, self._give_back = owner, lock, now_us, give_back
        self._pools: dict[Cell, Pool] = {}
        self._by_tenant: dict[str, dict[str, Pool]] = {}
        self._leased: dict[str, RateLimit] = {}
        self.is_used = False
        self.spent = 0

    def bind(self, policy: Policy) -> None:
        """Take over the limits in force; what was drawn under others goes back."""
        self.return_all()
        self._leased = {
            limit.name: limit
            for limit in policy.limits
            if isinstance(limit, RateLimit) and limit.leased is not None
        }
        self.is_used = bool(self._leased)
        # Where a resource has one limit, per tenant or for all, a claim finds its pool at once.
        self._by_tenant = {
            limit.resource: {}
            for limit in self._leased.values()
            if len(policy.limits_on(limit.resource)) == 1 and limit.per in ((), ("tenant",))
        }

    def spend(self, claim: Claim) -> Granted | None:
        """Grant a claim of one leased resource from its pool; None if that is not possible.

        The quick way, for a claim that takes one thing and nothing else; it takes the lock itself.
        """
        take = claim.take
        if len(take) != 1 or claim.hold or claim.id is not None:
            return None
        with self._lock:
            for resource, units in take.items():
                pools = self._by_tenant.get(resource)
                pool = None if pools is None else pools.get(claim.tenant)
                if pool is None or type(units) is not int or not 0 < units <= pool.tokens:
                    return None
                pool.tokens -= units
            self.spent += 1
        # What was drawn is ordered by no token, and has nothing to give back.
        return Granted(0, claim, self._owner, 0, 0)

    def draft(self, ask: Ask) -> Draft:
        """Take what is here of an ask, and let the rest of its leased rows draw for others, too."""
        draft = Draft(ask)
        cells: list[Cell] = []
        rows: list[tuple[Rule, int, int]] = []
        moved: dict[int, int] = {}
        for index, (cell, (rule, cost, via)) in enumerate(zip(ask.cells, ask.rows, strict=True)):
            limit = self._leased.get(cell.limit)
            units = cost
            if limit is not None:
                pool = self._pool(cell, limit, ask.claim.tenant)
                if pool.tokens >= cost:
                    pool.tokens -= cost
                    draft.taken.append((pool, cost))
                    continue
                if pool.drawing:
                    draft.undo()
                    draft.behind = pool
                    return draft
                if pool.ready_us > self._now_us():
                    draft.refused = draft.refused or (pool, index)
                assert limit.leased is not None
                units = max(cost, min(limit.leased, rule.units_max))
                draft.drawing[len(rows)] = (pool, cost)
                pool.drawing = True
            moved[index] = len(rows)
            cells.append(cell)
            rows.append((rule, units, moved.get(via, -1)))
        siblings = {moved[index]: found for index, found in ask.siblings.items()}
        draft.ask = replace(ask, cells=tuple(cells), rows=tuple(rows), siblings=siblings, names=())
        return draft

    def granted(self, draft: Draft) -> None:
        """Keep what was drawn beyond the claim."""
        drawing, draft.drawing = draft.drawing, {}
        for index, (pool, needed) in drawing.items():
            pool.tokens += draft.ask.rows[index][1] - needed
            pool.drawn_us, pool.ready_us, pool.drawing = self._now_us(), 0, False
            if self._pools.get(pool.cell) is not pool:
                # Its limit was changed meanwhile.
                self._return(pool)
        _let_others([pool for pool, _ in drawing.values()])

    def kept(self, draft: Draft) -> set[str]:
        """Keep all that was drawn, and what was taken: the claim is not there any more.

        Return the resources that are accounted for by that.
        """
        for pool, needed in draft.drawing.values():
            pool.tokens += needed
        resources = {pool.limit.resource for pool, _ in draft.drawing.values()}
        resources |= {pool.limit.resource for pool, _ in draft.taken}
        for pool, units in draft.taken:
            pool.tokens += units
        self.granted(draft)
        return resources

    def undone(self, draft: Draft) -> None:
        """Put back what was taken here: nothing was granted, or nobody knows."""
        with self._lock:
            _let_others(draft.undo())

    def refused(self, draft: Draft, answer: No) -> Draft | None:
        """Put back what was taken; return a smaller draft where less than was drawn is left."""
        found = draft.drawing.get(answer.row)
        if found is not None and answer.remaining >= found[1]:
            rows = list(draft.ask.rows)
            rule, _, via = rows[answer.row]
            rows[answer.row] = (rule, max(found[1], answer.remaining // 2), via)
            draft.ask = replace(draft.ask, rows=tuple(rows))
            return draft
        if found is not None and answer.wait_us > 0:
            # The draw is larger than the claim: less has to come back than it would wait for.
            pool, needed = found
            rule, units, _ = draft.ask.rows[answer.row]
            too_many_us = (units - needed) * rule.unit // max(1, rule.drain)
            pool.ready_us = self._now_us() + max(0, answer.wait_us - too_many_us)
        _let_others(draft.undo())
        return None

    def tick(self) -> None:
        """Give back what was drawn a refill time ago and not spent."""
        now_us = self._now_us()
        for pool in list(self._pools.values()):
            if now_us - pool.drawn_us >= pool.refill_us:
                self._return(pool)
                if pool.ready_us <= now_us and not pool.drawing:
                    self._forget(pool)

    def return_all(self) -> None:
        """Give back everything that was drawn."""
        for pool in list(self._pools.values()):
            self._return(pool)
            self._forget(pool)

    def _pool(self, cell: Cell, limit: RateLimit, tenant: str) -> Pool:
        pool = self._pools.get(cell)
        if pool is None:
            if len(self._pools) >= POOLS_MAX:
                self.return_all()
            refill_us = limit.rate.refill_us
            pool = self._pools[cell] = Pool(cell, limit, refill_us, drawn_us=self._now_us())
        if limit.resource in self._by_tenant:
            self._by_tenant[limit.resource].setdefault(tenant, pool)
        return pool

    def _return(self, pool: Pool) -> None:
        tokens, pool.tokens = pool.tokens, 0
        if tokens:
            self._give_back(pool, tokens)

    def _forget(self, pool: Pool) -> None:
        self._pools.pop(pool.cell, None)
        pools = self._by_tenant.get(pool.limit.resource)
        if pools is not None and pool.cell.scope:
            pools.pop(pool.cell.scope[0], None)
        elif pools is not None:
            # One for all tenants.
            pools.clear()


def _let_others(pools: list[Pool]) -> None:
    """Call those who stood behind a draw that is over."""
    for pool in pools:
        behind, pool.behind = pool.behind, []
        for call in behind:
            call()
