"""The rule of admission: may all of this be had now, and if not, what refused and for how long.

Every limit is a cell: one number `level` and one instant `at_us`. Kinds differ only in how a
level ages: a rate leaks, a quota falls to zero when its window turns, a capacity stays until it is
released. A store keeps the pairs and adds atomicity; it has no rule of its own.

Pure, and written so that it can be compiled as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from tidegate.domain.limit import Capacity, Limit, RateLimit
from tidegate.domain.period import windows

RATE, WINDOW, STOCK = 0, 1, 2


class Rule(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A limit as numbers.

    `ceiling` is the highest level; a unit of cost adds `unit` to it. Of a rate, `drain` leaks in a
    microsecond. Of a quota, `starts_us` are the start of the current window, of the next, and of
    the one after; past the last the rule is stale. `forget_us` is after how long an untouched cell
    equals an empty one (0: never, it must be brought back to zero).
    """

    kind: int
    ceiling: int
    unit: int = 1
    drain: int = 0
    starts_us: tuple[int, int, int] = (0, 0, 0)
    forget_us: int = 0

    @property
    def units_max(self) -> int:
        """The most units that can ever be had at once."""
        return self.ceiling // self.unit

    def is_stale(self, now_us: int) -> bool:
        """Return whether the calendar has moved past what this rule knows, or back before it."""
        return self.kind == WINDOW and not self.starts_us[0] <= now_us < self.starts_us[2]


class Row(msgspec.Struct, gc=False):
    """One cell that a claim touches: its rule, the units asked for, and the pair the store read."""

    rule: Rule
    cost: int
    level: int = 0
    at_us: int = 0


class Verdict(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The answer over all rows.

    Admitted: `levels` are the new levels, row by row, as of `max(now_us, row.at_us)`.
    Refused: `levels` is None, nothing changes, and `refused` is the index of the row to report,
    with the units `remaining` there and the exact wait, None where time alone frees nothing.
    """

    levels: list[int] | None
    refused: int = -1
    wait_us: int | None = None
    remaining: int = 0


def rule_of(limit: Limit, now_us: int) -> Rule:
    """Return the limit as numbers, with the calendar windows around `now_us`."""
    if isinstance(limit, RateLimit):
        rate = limit.rate
        return Rule(
            kind=RATE,
            ceiling=rate.burst * rate.ticks_per_unit,
            unit=rate.ticks_per_unit,
            drain=rate.ticks_per_us,
            forget_us=rate.refill_us,
        )
    if isinstance(limit, Capacity):
        return Rule(kind=STOCK, ceiling=limit.units)
    starts_us = windows(limit.period, now_us)
    return Rule(
        kind=WINDOW,
        ceiling=limit.units,
        starts_us=starts_us,
        forget_us=starts_us[2] - starts_us[0],
    )


def age(rule: Rule, level: int, at_us: int, now_us: int) -> int:
    """Return the level as it is at `now_us`. A clock that steps back only pauses ageing."""
    if rule.kind == RATE:
        leaked = rule.drain * (now_us - at_us)
        return level - leaked if 0 < leaked < level else (0 if leaked > 0 else level)
    if rule.kind == WINDOW:
        return 0 if at_us < _window(rule, max(now_us, at_us))[0] else level
    return level


def decide(rows: Sequence[Row], now_us: int) -> Verdict:
    """Grant every row or none.

    All rows are looked at even after one refused, so that every store reports the same one: the
    longest exact wait; a capacity, whose wait nobody knows, only if no timed limit refuses; among
    equals the first.

    Args:
        rows: What the claim touches; no cell twice.
        now_us: Microseconds since the epoch, by the store's clock.
    """
    levels = []
    refused, longest_us, room = -1, -1, 0
    for index, row in enumerate(rows):
        rule = row.rule
        level = age(rule, row.level, row.at_us, now_us)
        risen = level + row.cost * rule.unit
        levels.append(risen)
        if risen > rule.ceiling:
            wait_us = _wait(rule, risen - rule.ceiling, row.at_us, now_us)
            if refused < 0 or wait_us > longest_us:
                refused, longest_us = index, wait_us
                room = max(0, rule.ceiling - level) // rule.unit
    if refused < 0:
        return Verdict(levels=levels)
    known = longest_us if longest_us >= 0 else None
    return Verdict(levels=None, refused=refused, wait_us=known, remaining=room)


def reset(rule: Rule, level: int, at_us: int, now_us: int) -> int | None:
    """Return in how many microseconds the level is zero by itself; None for a capacity."""
    if rule.kind == RATE:
        return -(-level // rule.drain)
    if rule.kind == WINDOW:
        return _window(rule, max(now_us, at_us))[1] - now_us
    return None


def window(rule: Rule) -> int | None:
    """Return in how many microseconds all of a spent limit comes back; None for a capacity."""
    if rule.kind == RATE:
        return rule.forget_us
    if rule.kind == WINDOW:
        return rule.starts_us[1] - rule.starts_us[0]
    return None


def _wait(rule: Rule, over: int, at_us: int, now_us: int) -> int:
    """Return the exact wait in microseconds until `over` is gone, or -1 where nobody knows."""
    if rule.kind == RATE:
        # A clock that stepped back does not leak before it has caught up with the cell.
        return -(-over // rule.drain) + max(0, at_us - now_us)
    if rule.kind == WINDOW:
        return _window(rule, max(now_us, at_us))[1] - now_us
    return -1


def _window(rule: Rule, now_us: int) -> tuple[int, int]:
    """Return start and end of the window that `now_us` falls into, of the two the rule knows."""
    first_us, second_us, last_us = rule.starts_us
    return (first_us, second_us) if now_us < second_us else (second_us, last_us)
