"""The cells of one limit, in the smallest form that decides the same as the pure rule.

A rate is one number: the tick at which it will be empty (the theoretical arrival time of GCRA), so
that ageing is a comparison. A quota keeps what was used in the window its table is in; a capacity
what is held; a sliding window, which is rarer, the pure rule's own level.

Ticks are counted from the last turn of the table, so that they are small numbers: arithmetic on
them is twice as fast as on those of the epoch, and none is too large for a machine word.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from operator import attrgetter
from typing import Final

from tidegate.domain.admission import EMPTY, Level, aged
from tidegate.domain.claim import Claim, salt_of
from tidegate.domain.decision import Reason, reason_of
from tidegate.domain.limit import SCOPE_FIELDS, Limit
from tidegate.domain.policy import Policy
from tidegate.domain.rule import RATE, STOCK, WINDOW, Rule

Key = str | tuple[str, ...]

OVERFLOW = "*overflow*"
"""Last part of the scope that newcomers share once there are as many keys as there may be."""
TENANT_KEYS_MAX: Final = 1_000
"""Cells that one tenant may have of one limit: more share one of its own."""
TERMS_MAX: Final = 100_000
EMPTY_CELLS_MAX: Final = 1_000
"""Up to so many cells a capacity keeps those that are empty: most likely they are needed again."""
STOCK_TURN_US: Final = 10_000_000


class Terms:
    """The numbers of a rule that the hot path reads.

    A level above `watch` needs a closer look: it may be near the ceiling, or lent by others.
    """

    __slots__ = ("ceiling", "drain", "rule", "shadow", "unit", "watch")

    def __init__(self, rule: Rule, watches: bool) -> None:
        self.rule: Rule = rule
        self.ceiling: int = rule.ceiling
        self.unit: int = rule.unit
        self.drain: int = rule.drain
        self.shadow: bool = rule.shadow
        self.watch: int = min(rule.near - 1, rule.ceiling) if watches else rule.ceiling
        if rule.kept >= 0:
            self.watch = -1


class Table:
    """The cells of one limit by key: the one value a limit is `per`, or all of them as a tuple.

    Two generations: the younger one holds what was written since the last turn, a turn drops the
    older. Turns are at least `forget_us` apart, so a dropped cell had been untouched for that long
    and equals an empty one. A turn of a capacity drops its empty cells, if there are many.

    `also` is the next limit on the same resource, `before` the table whose row was done before
    that of this one, in the decision under way. `since_us` and `old_since_us` are from when the
    ticks of the two generations are counted. `indebted` says that a cell may be above the ceiling,
    and then takes longer than `forget_us` to empty.
    """

    __slots__ = (
        "also",
        "before",
        "by_tenant",
        "counts",
        "forget_us",
        "indebted",
        "is_stock",
        "kind",
        "limit",
        "name",
        "old",
        "old_since_us",
        "overflowed",
        "pick",
        "policy",
        "reason",
        "salt",
        "since_us",
        "sliding",
        "tenant_at",
        "terms",
        "turns_us",
        "varied",
        "varies",
        "young",
    )

    def __init__(self, limit: Limit, terms: Terms, policy: Policy, now_us: int) -> None:
        self.limit: Limit = limit
        self.policy: Policy = policy
        self.also: Table | None = None
        self.before: Table | None = None
        self.salt: int = salt_of(limit.resource)
        self.name: str = limit.name
        self.kind: int = terms.rule.kind
        self.is_stock: bool = self.kind == STOCK
        self.terms: Terms = terms
        self.young: dict[object, int] = {}
        self.old: dict[object, int] = {}
        self.sliding: dict[object, Level] = {}
        self.counts: dict[str, int] = {}
        self.overflowed: int = 0
        self.indebted: bool = False
        self.since_us: int = now_us
        self.old_since_us: int = now_us
        self.turns_us: int = 0
        self.forget_us: int = terms.rule.forget_us or STOCK_TURN_US
        self.reason: Reason = reason_of(limit)
        self.varies: bool = False
        self.varied: dict[object, Terms] = {}
        self.by_tenant: bool = limit.per == ("tenant",)
        self.tenant_at: int = limit.per.index("tenant") if "tenant" in limit.per else -1
        self.pick: Callable[[Claim], object] | None = picker(limit, policy)

    def enter(self, key: object, scope: tuple[str, ...], terms: Terms) -> object:
        """Make a cell of the younger generation; return its key, which it may share with others."""
        if key in self.young:
            return key
        stored = self.stored(key, terms)
        if key not in self.old:
            key = self._room_for(key, scope)
            stored = self.stored(key, terms)
        elif self.tenant_at >= 0 and len(scope) > 1:
            tenant = scope[self.tenant_at]
            self.counts[tenant] = self.counts.get(tenant, 0) + 1
        if self.kind <= STOCK:
            self.young[key] = stored
        return key

    def _room_for(self, key: object, scope: tuple[str, ...]) -> object:
        """Return the key, or that of the cell for all who find no room any more."""
        if key in self.sliding:
            return key
        size = len(self.young) + len(self.old) + len(self.sliding)
        if self.tenant_at >= 0 and len(scope) > 1:
            tenant = scope[self.tenant_at]
            count = self.counts.get(tenant, 0)
            if count >= TENANT_KEYS_MAX or size >= self.limit.keys_max:
                self.overflowed += 1
                spread = [OVERFLOW] * len(scope)
                spread[self.tenant_at] = tenant if size < 2 * self.limit.keys_max else OVERFLOW
                return tuple(spread)
            self.counts[tenant] = count + 1
        elif size >= self.limit.keys_max and scope:
            self.overflowed += 1
            return key_of((OVERFLOW,) * len(scope))
        return key

    def found(self, key: object, tenant: str) -> object:
        """Return the key under which a scope is kept: its own, or the one it shares."""
        if key in self.young or key in self.old or key in self.sliding:
            return key
        if isinstance(key, tuple):
            spread = [OVERFLOW] * len(key)
            if self.tenant_at >= 0:
                spread[self.tenant_at] = tenant
            if tuple(spread) in self.young or tuple(spread) in self.old:
                return tuple(spread)
        return key

    def stored(self, key: object, terms: Terms) -> int:
        """Return the number a key has in either generation, as the younger one counts."""
        stored = self.young.get(key, -1)
        if stored < 0:
            stored = self.old.get(key, 0)
            if terms.drain:
                stored -= (self.since_us - self.old_since_us) * terms.drain
        return stored if stored > 0 else 0

    def turn(self, now_us: int) -> None:
        """Drop what nobody touched for long enough."""
        self.turns_us = now_us + self.forget_us
        if self.kind == STOCK:
            if len(self.young) > EMPTY_CELLS_MAX:
                self.young = {key: units for key, units in self.young.items() if units}
                self.counts = self._recount()
            return
        self.counts = {}
        if self.kind == WINDOW:
            self.young = {}
        elif self.kind == RATE:
            debts = self._debts(now_us) if self.indebted else {}
            self.old, self.young = self.young, {}
            self.old_since_us, self.since_us = self.since_us, now_us
            self.old.update(debts)
        else:
            rule = self.terms.rule
            levels = ((key, aged(rule, level, now_us)) for key, level in self.sliding.items())
            self.sliding = {key: level for key, level in levels if level.amount or level.past}
            self.counts = self._recount()

    def _recount(self) -> dict[str, int]:
        """Count again how many cells each tenant has, where it may have several."""
        keys = (key for cells in (self.young, self.sliding) for key in cells)
        tenants = (key[self.tenant_at] for key in keys if isinstance(key, tuple))
        return dict(Counter(tenants)) if self.tenant_at >= 0 else {}

    def _debts(self, now_us: int) -> dict[object, int]:
        """Return the cells of the older generation that are not empty yet."""
        debts: dict[object, int] = {}
        for key in self.old:
            terms = self.varied.get(key, self.terms)
            if key not in self.young and self.level(key, now_us).amount > 0:
                debts[key] = self.stored(key, terms)
        self.indebted = bool(debts) or any(
            self.level(key, now_us).amount > self.varied.get(key, self.terms).ceiling
            for key in self.young
        )
        return debts

    def level(self, key: object, now_us: int) -> Level:
        """Return a cell as the pure rule sees it."""
        if self.kind > STOCK:
            return self.sliding.get(key, EMPTY)
        terms = self.varied.get(key, self.terms)
        amount = self.stored(key, terms) - (now_us - self.since_us) * terms.drain
        return Level(max(0, amount), now_us, (), terms.unit)

    def store(self, key: object, level: Level, now_us: int) -> None:
        """Keep what the pure rule returned for a cell."""
        terms = self.varied.get(key, self.terms)
        if self.kind > STOCK:
            self.sliding[key] = level
        elif self.kind == RATE:
            self.indebted = self.indebted or level.amount > terms.ceiling
            self.young[key] = level.amount + (now_us - self.since_us) * terms.drain
        else:
            self.young[key] = level.amount


def rescaled(stored: int, old: Terms, new: Terms, elapsed_us: int) -> int:
    """Return a rate's number in other ticks; what was spent stays the same in units.

    What had leaked already, `elapsed_us` after the first tick, stays leaked.
    """
    left = max(0, stored - elapsed_us * old.drain)
    return -(-left * new.unit // old.unit) + elapsed_us * new.drain


def picker(limit: Limit, policy: Policy) -> Callable[[Claim], object] | None:
    """Return what picks the key of a claim's cell, without a check whether there is one.

    None where that is simple enough to be done without a call.
    """
    if limit.per in {(), ("tenant",)}:
        return None
    if all(field in SCOPE_FIELDS for field in limit.per):
        pick: Callable[[Claim], object] = attrgetter(*limit.per)
        return pick
    return lambda claim: key_of(policy.scope_of(limit, claim))


def key_of(scope: tuple[str, ...]) -> Key:
    """Return the key of a scope: short ones save a tuple in every cell."""
    if not scope:
        return ""
    return scope[0] if len(scope) == 1 else scope


def scope_under(table: Table, key: object) -> tuple[str, ...]:
    """Return the scope that a key stands for."""
    if isinstance(key, tuple):
        return key
    return (str(key),) if table.limit.per else ()
