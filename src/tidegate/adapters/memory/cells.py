"""The cells of one limit, in the smallest form that decides the same as the pure rule.

A rate is one number: the tick at which it will be empty (the theoretical arrival time of GCRA), so
that ageing is a comparison. A quota keeps what was used in the window its table is in; a capacity
what is held; a sliding window, which is rarer, the pure rule's own level.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from tidegate.domain.admission import Level, aged
from tidegate.domain.ask import scope_of
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Reason, reason_of
from tidegate.domain.limit import SCOPE_FIELDS, Limit
from tidegate.domain.rule import RATE, STOCK, WINDOW, Rule

Key = str | tuple[str, ...]

OVERFLOW = "*overflow*"
"""Last part of the scope that newcomers share once there are as many keys as there may be."""
TENANT_KEYS_MAX = 1_000
"""Cells that one tenant may have of one limit: more share one of its own."""
TERMS_MAX = 100_000


class Terms:
    """The numbers of a rule that the hot path reads. `watch` is where it must look closer."""

    __slots__ = ("ceiling", "drain", "rule", "unit", "watch")

    def __init__(self, rule: Rule, watches: bool) -> None:
        self.rule: Rule = rule
        self.ceiling: int = rule.ceiling
        self.unit: int = rule.unit
        self.drain: int = rule.drain
        self.watch: int = min(rule.near - 1, rule.ceiling) if watches else rule.ceiling


class Table:
    """The cells of one limit by key: the one value a limit is `per`, or all of them as a tuple.

    Two generations: the younger one holds what was written since the last turn, a turn drops the
    older. Turns are at least `forget_us` apart, so a dropped cell had been untouched for that long
    and equals an empty one. Capacities never turn; their cells go when they are empty.
    """

    __slots__ = (
        "by_tenant",
        "counts",
        "forget_us",
        "kind",
        "limit",
        "name",
        "old",
        "overflowed",
        "pick",
        "reason",
        "sliding",
        "tenant_at",
        "terms",
        "turns_us",
        "varied",
        "varies",
        "young",
    )

    def __init__(self, limit: Limit, terms: Terms) -> None:
        self.limit: Limit = limit
        self.name: str = limit.name
        self.kind: int = terms.rule.kind
        self.terms: Terms = terms
        self.young: dict[object, int] = {}
        self.old: dict[object, int] = {}
        self.sliding: dict[object, Level] = {}
        self.counts: dict[str, int] = {}
        self.overflowed: int = 0
        self.turns_us: int = 0
        self.forget_us: int = terms.rule.forget_us
        self.reason: Reason = reason_of(limit)
        self.varies: bool = False
        self.varied: dict[object, Terms] = {}
        self.by_tenant: bool = limit.per == ("tenant",)
        self.tenant_at: int = limit.per.index("tenant") if "tenant" in limit.per else -1
        named = len(limit.per) > 1 and all(field in SCOPE_FIELDS for field in limit.per)
        self.pick: Callable[[Claim], object] | None = attrgetter(*limit.per) if named else None

    def key(self, claim: Claim) -> object:
        """Return the key of the claim's cell. Not checked; `enter` does that."""
        if self.pick is not None:
            return self.pick(claim)
        return key_of(scope_of(self.limit, claim))

    def enter(self, key: object, claim: Claim) -> object:
        """Return the key under which a cell that is not in the younger generation is kept.

        Raises:
            InvalidClaim: the claim says no text where the limit is per something.
        """
        if key in self.old or key in self.sliding:
            return key
        scope = scope_of(self.limit, claim)
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

    def stored(self, key: object) -> int:
        """Return the number a key has in either generation."""
        stored = self.young.get(key, -1)
        return self.old.get(key, 0) if stored < 0 else stored

    def turn(self, now_us: int) -> int:
        """Drop what nobody touched for long enough; return when to look again."""
        rule = self.terms.rule
        if self.kind == WINDOW:
            self.old = {}
            self.young = {}
            self.counts = {}
        elif self.kind == RATE:
            self.old, self.young = self.young, {}
            self.counts = {}
        else:
            self.sliding = {
                key: level
                for key, level in self.sliding.items()
                if (now := aged(rule, level, now_us)).amount or now.past
            }
        self.turns_us = now_us + self.forget_us
        return self.turns_us

    def level(self, key: object, now_us: int) -> Level:
        """Return a cell as the pure rule sees it."""
        terms = self.varied.get(key, self.terms)
        if self.kind > STOCK:
            return self.sliding.get(key, Level())
        stored = self.young.get(key, -1)
        if stored < 0:
            stored = self.old.get(key, 0)
        if self.kind == RATE:
            return Level(max(0, stored - now_us * terms.drain), now_us, (), terms.unit)
        return Level(stored, now_us)

    def store(self, key: object, level: Level, now_us: int) -> None:
        """Keep what the pure rule returned for a cell."""
        terms = self.varied.get(key, self.terms)
        if self.kind > STOCK:
            self.sliding[key] = level
        elif self.kind == RATE:
            self.young[key] = level.amount + now_us * terms.drain
        elif level.amount or self.kind == WINDOW:
            self.young[key] = level.amount
        else:
            self.young.pop(key, None)

    def rescale(
        self, cells: dict[object, int], key: object, old: Terms, new: Terms, now_us: int
    ) -> None:
        """Count a rate that was changed in its new ticks; what was spent stays the same in units.

        What had leaked already stays leaked.
        """
        left = max(0, cells[key] - now_us * old.drain)
        cells[key] = -(-left * new.unit // old.unit) + now_us * new.drain


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
