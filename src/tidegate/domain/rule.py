"""A limit as numbers, so that stores in any language decide by the same ones."""

from __future__ import annotations

from typing import Final

import msgspec

from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.period import fixed_windows, windows

RATE: Final = 0
WINDOW: Final = 1
STOCK: Final = 2
COUNTER: Final = 3
LOG: Final = 4


class Rule(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A limit as numbers.

    `ceiling` is the highest level, in ticks; a unit of cost adds `unit` to it, and from `near`
    upwards the limit is near. Of a rate, `drain` ticks leak in a microsecond. Of a quota,
    `starts_us` are the start of the current window, of the next, and of the one after; past the
    last the rule is stale. `length_us` is that of a sliding window. Of a capacity, `kept` is how
    many units a tenant does not lend (-1: nothing is lent or borrowed). `forget_us` is after how
    long an untouched cell equals an empty one (0: never, it must be brought back to zero).
    """

    kind: int
    ceiling: int
    unit: int = 1
    drain: int = 0
    starts_us: tuple[int, int, int] = (0, 0, 0)
    length_us: int = 0
    kept: int = -1
    near: int = 0
    shadow: bool = False
    forget_us: int = 0

    @property
    def units_max(self) -> int:
        """The most units that can ever be had at once."""
        return self.ceiling // self.unit

    @property
    def window_us(self) -> int | None:
        """In how long all of a spent limit comes back; None for a capacity."""
        if self.kind == RATE:
            return self.forget_us
        if self.kind == WINDOW:
            return self.starts_us[1] - self.starts_us[0]
        return self.length_us or None

    def is_stale(self, now_us: int) -> bool:
        """Return whether the calendar has moved past what this rule knows, or back before it."""
        return self.kind == WINDOW and not self.starts_us[0] <= now_us < self.starts_us[2]


def rule_of(limit: Limit, now_us: int) -> Rule:
    """Return the limit as numbers, with the calendar windows around `now_us`."""
    if isinstance(limit, RateLimit):
        rate = limit.rate
        return _rule(
            limit,
            kind=RATE,
            ceiling=rate.burst * rate.ticks_per_unit,
            unit=rate.ticks_per_unit,
            drain=rate.ticks_per_us,
            forget_us=rate.refill_us,
        )
    if isinstance(limit, Capacity):
        return _capacity(limit)
    if isinstance(limit, SlidingWindow):
        kind, unit = (LOG, 1) if limit.exact else (COUNTER, limit.period_us)
        return _rule(
            limit,
            kind=kind,
            ceiling=limit.units * unit,
            unit=unit,
            length_us=limit.period_us,
            forget_us=2 * limit.period_us,
        )
    return _quota(limit, now_us)


def cohort_rule(lendable: int) -> Rule:
    """Return the rule of what the tenants of a cohort lend each other."""
    return Rule(kind=STOCK, ceiling=lendable, near=lendable)


def _quota(limit: Quota, now_us: int) -> Rule:
    if limit.every_us is not None:
        starts_us = fixed_windows(limit.every_us, now_us)
    else:
        assert limit.period is not None
        starts_us = windows(limit.period, now_us, limit.zone)
    return _rule(
        limit,
        kind=WINDOW,
        ceiling=limit.units,
        starts_us=starts_us,
        forget_us=starts_us[2] - starts_us[0],
    )


def _capacity(limit: Capacity) -> Rule:
    effective = limit.effective
    near = limit.soft or -(-effective * limit.near_percent // 100)
    if limit.partitions:
        return Rule(kind=STOCK, ceiling=effective, near=near, kept=0, shadow=limit.shadow)
    if not limit.is_shared:
        return Rule(kind=STOCK, ceiling=effective, near=near, shadow=limit.shadow)
    lent = effective if limit.lend is None else min(limit.lend, effective)
    ceiling = 2**53 - 1 if limit.borrow is None else effective + limit.borrow
    return Rule(kind=STOCK, ceiling=ceiling, near=near, kept=effective - lent, shadow=limit.shadow)


def _rule(limit: Limit, *, ceiling: int, **numbers: object) -> Rule:
    near = -(-ceiling * limit.near_percent // 100)
    return Rule(ceiling=ceiling, near=near, shadow=limit.shadow, **numbers)  # type: ignore[arg-type]
