"""Other numbers than a limit's own, for one tenant, one scope, or all that match a pattern."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase

import msgspec
from msgspec import UNSET, UnsetType

from tidegate.domain.limit import Capacity, Limit, RateLimit, SlidingWindow
from tidegate.domain.rate import TICKS_MAX
from tidegate.errors import InvalidLimit

WILDCARDS = "*?["

Pattern = str | tuple[str, ...]


class Override(msgspec.Struct, frozen=True, kw_only=True):
    """Other numbers for some. What is given replaces what the limit says; see `BaseLimit`.

    `units` None lifts the limit. It still counts, so that it is right at once when it is put in
    force again.
    """

    units: int | None
    burst: int | None = None
    lend: int | UnsetType | None = UNSET
    borrow: int | UnsetType | None = UNSET
    shadow: bool | None = None

    def put_into(self, limit: Limit) -> Limit:
        """Return the limit with these numbers. Raises InvalidLimit."""
        units = TICKS_MAX - 1 if self.units is None else self.units
        shadow = limit.shadow if self.shadow is None else self.shadow
        if isinstance(limit, RateLimit):
            if self.units is None:
                return replace(limit, units=10**12, period_s=1, burst=2**52, leased=None)
            return replace(limit, units=units, burst=self.burst, shadow=shadow)
        if isinstance(limit, SlidingWindow) and self.units is None:
            # It keeps what it counts, so it cannot count without an end.
            return replace(limit, shadow=True)
        if isinstance(limit, Capacity):
            lend = limit.lend if self.lend is UNSET else self.lend
            borrow = limit.borrow if self.borrow is UNSET else self.borrow
            return replace(limit, units=units, lend=lend, borrow=borrow, shadow=shadow)
        return replace(limit, units=units, shadow=shadow)


class Overrides:
    """Which override holds where: the exact scope first, then the pattern that says the most.

    A key is a tenant id, or a tuple with one entry for each name of the limit's `per`. Entries may
    hold `*`, `?` and `[...]`; a `*` in a tenant id stands for any number of characters.
    """

    def __init__(self, given: Mapping[Pattern, Mapping[str, Override]]) -> None:
        self._exact: dict[Pattern, Mapping[str, Override]] = {}
        self._patterns: list[tuple[Pattern, Mapping[str, Override]]] = []
        for key, overrides in given.items():
            entries = (key,) if isinstance(key, str) else key
            if any(char in entry for entry in entries for char in WILDCARDS):
                self._patterns.append((key, overrides))
            else:
                self._exact[key] = overrides
        self._patterns.sort(key=lambda found: -_literal(found[0]))
        self._names = {name for overrides in given.values() for name in overrides}

    def __bool__(self) -> bool:
        return bool(self._names)

    def concerns(self, limit: Limit) -> bool:
        """Return whether any override may hold for this limit."""
        return limit.name in self._names

    def check(self, limits: Mapping[str, Limit]) -> None:
        """Refuse overrides that no limit bears. Raises InvalidLimit naming the override."""
        for key, overrides in (*self._exact.items(), *self._patterns):
            for name, override in overrides.items():
                field = f"overrides[{key!r}].{name}"
                limit = limits.get(name)
                if limit is None:
                    raise InvalidLimit(field, name, " | ".join(sorted(limits)) or "no limit")
                if isinstance(key, str) and "tenant" not in limit.per:
                    raise InvalidLimit(field, key, "a limit that is per tenant")
                if isinstance(key, tuple) and len(key) != len(limit.per):
                    raise InvalidLimit(field, key, f"one entry for each of {limit.per}")
                try:
                    override.put_into(limit)
                except InvalidLimit as error:
                    raise InvalidLimit(
                        f"{field}.{error.field}", error.value, error.allowed
                    ) from None

    def find(self, limit: Limit, scope: tuple[str, ...]) -> Override | None:
        """Return the override of the limit at this scope."""
        tenant = scope[limit.per.index("tenant")] if "tenant" in limit.per else None
        for key in (scope, tenant):
            if key is not None and limit.name in self._exact.get(key, ()):
                return self._exact[key][limit.name]
        for pattern, overrides in self._patterns:
            if limit.name in overrides and _matches(pattern, scope, tenant):
                return overrides[limit.name]
        return None


def _literal(pattern: Pattern) -> int:
    """Count what a pattern says for sure; a whole scope says more than a tenant."""
    entries = (pattern,) if isinstance(pattern, str) else pattern
    literal = sum(char not in WILDCARDS for entry in entries for char in entry)
    return literal + (0 if isinstance(pattern, str) else 1_000)


def _matches(pattern: Pattern, scope: tuple[str, ...], tenant: str | None) -> bool:
    if isinstance(pattern, str):
        return tenant is not None and fnmatchcase(tenant, pattern)
    return len(pattern) == len(scope) and all(map(fnmatchcase, scope, pattern))
