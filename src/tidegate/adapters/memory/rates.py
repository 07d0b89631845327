"""Single limits of the store in memory, asked directly: no claim, no lease."""

from __future__ import annotations

from typing import Any

from tidegate.adapters.memory.cells import Table, key_of, scope_under
from tidegate.adapters.memory.leases import MemoryLeases
from tidegate.adapters.memory.limiter import MemoryLimiter
from tidegate.adapters.memory.rows import Draft, look_closer
from tidegate.domain.ask import check_units
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.limit import COHORT_FIELD, SCOPE_FIELDS, Limit
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidClaim


class MemoryRates(MemoryLeases):
    """`RateStore` of this process, and what claims of a single rate need of it."""

    __slots__ = ()

    def limiter(self, name: str) -> MemoryLimiter:
        """See `RateStore.limiter`. There is one for each name."""
        self._enter()
        try:
            limiter = self.limiters.get(name)
            if limiter is None:
                if name not in self.tables.timed:
                    allowed = " | ".join(sorted(self.tables.timed)) or "no limit"
                    raise InvalidClaim("limit", name, allowed)
                limiter = MemoryLimiter(name, self, self._now_ns, self._epoch_us)
                self.limiters[name] = limiter
            return limiter
        finally:
            self._leave(None)

    def take(self, name: str, key: str | tuple[str, ...], units: int, now: int) -> int:
        """Take from a limit of any kind, or from a cell that is not there yet. The lock is held."""
        table = self.tables.timed.get(name)
        if table is None:
            raise InvalidClaim("limit", name, "the name of a limit that is still in force")
        claim = _claim_of(table.limit, key, units, self.tables.policy)
        cell = key_of(self.tables.policy.scope_of(table.limit, claim))
        terms = self.tables.terms(table, cell, now) if table.varies else table.terms
        check_units("units", units, terms.rule)
        draft = Draft(claim, now)
        look_closer(draft, table, terms, cell, units)
        if draft.refused is not None:
            self.denied[table.reason] += 1
            return draft.wait_us
        self.write(draft)
        return 0

    def too_much(self, table: Table, key: object, level: int, units: int) -> Denied | None:
        """Return the refusal of a rate, and count it.

        Args:
            table: The rate.
            key: The cell.
            level: What the cell would be at, with the units.
            units: How many were asked for.

        Returns:
            None if this needs a closer look: the limit is only near, or a shadow, or there are
            never as many units.
        """
        terms, reason = table.terms, table.reason
        over = level - terms.ceiling
        if over <= 0 or terms.shadow:
            return None
        left = 0
        if units != 1:
            cost = units * terms.unit
            if not 0 < cost <= terms.ceiling:
                return None
            left = (cost - over) // terms.unit if cost > over else 0
        self.denied[reason] += 1
        scope: Any = (key,) if table.by_tenant else scope_under(table, key)
        # Rounded up: nothing is left over a microsecond earlier.
        return Denied(reason, table.name, scope, left, (over - 1) // terms.drain + 1, True)

    def write(self, draft: Draft) -> None:
        """Do what a draft says, and tell what was noted."""
        for cells, key, value in draft.writes:
            cells[key] = value
        if draft.noted is not None:
            self._tell(draft.noted)

    def _tell(self, noted: list[tuple[Table, object, int]]) -> None:
        """Count what a shadow would have refused, and say what came near."""
        for table, key, left in noted:
            if left < 0:
                self.shadowed[table.name] = self.shadowed.get(table.name, 0) + 1
            elif self._near is not None:
                self._near(table.name, scope_under(table, key), left)


def _claim_of(limit: Limit, key: str | tuple[str, ...], units: int, policy: Policy) -> Claim:
    """Return the claim that asks a limit for units at a key."""
    values = key if isinstance(key, tuple) else (key,) if limit.per else ()
    if len(values) != len(limit.per) or (not limit.per and key):
        allowed = f"a text for each of {', '.join(limit.per)}" if limit.per else '""'
        raise InvalidClaim("key", key, allowed)
    fields = dict(zip(limit.per, values, strict=True))
    known = {field: value for field, value in fields.items() if field in SCOPE_FIELDS}
    others = {field: value for field, value in fields.items() if field not in SCOPE_FIELDS}
    if COHORT_FIELD in fields:
        known.setdefault("tenant", policy.member_of(fields[COHORT_FIELD]))
    claim = Claim(take={limit.resource: units}, attributes=others, **known)  # type: ignore[arg-type]
    if COHORT_FIELD in fields and policy.scope_of(limit, claim) != values:
        raise InvalidClaim("key", key, "a cohort that there is, and tenants that are in it")
    return claim
