"""The rule of admission: may all of this be had now, and if not, what refused and for how long.

Every limit is a cell: an amount and an instant. Kinds differ only in how an amount ages: a rate
leaks, a quota falls to zero when its window turns, a sliding window forgets what is older than
itself, a capacity stays until it is released. A store keeps the cells and adds atomicity; it has
no rule of its own.

Capacity that tenants lend each other is the same rule with a second row: what the members of a
cohort hold beyond the units each keeps to itself, taken together, stays below what they lend.

Pure, and written so that it can be compiled as it is.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.level import EMPTY, Level, Row, Verdict
from tidegate.domain.rule import COUNTER, LOG, RATE, STOCK, WINDOW, Rule

__all__ = [
    "EMPTY",
    "Level",
    "Row",
    "Verdict",
    "aged",
    "decide",
    "fallen",
    "lent",
    "passed_on",
    "remaining",
    "reset",
    "risen",
    "spent",
    "wait",
    "window_of",
]

_UNAGED = (RATE, STOCK, COUNTER)
"""Kinds whose levels are the same as long as no time passes, whatever the rule knows by then."""


def decide(rows: Sequence[Row], now_us: int) -> Verdict:
    """Grant every row or none.

    All rows are looked at even after one refused, so that every store reports the same one: the
    longest exact wait; a capacity, whose wait nobody knows, only if no timed limit refuses; among
    equals the first.

    Args:
        rows: What the claim touches; no cell twice.
        now_us: Microseconds since the epoch, by the store's clock.
    """
    levels: list[Level] = []
    costs: list[int] = []
    shadowed: list[int] = []
    refused, longest_us, room = -1, -1, 0
    for index, row in enumerate(rows):
        rule = row.rule
        if row.via < 0:
            cost = row.cost
            level = aged(rule, row.level, now_us)
        else:
            child = rows[row.via]
            cost = passed_on(child, levels, costs, row.via)
            level = lent(row, child.level.amount, child.rule.kept)
        over = spent(rule, level, now_us) + cost * rule.unit - rule.ceiling
        if cost and over > 0:
            if rule.shadow:
                shadowed.append(index)
                cost = 0
            else:
                wait_us = wait(rule, level, over, now_us)
                if refused < 0 or wait_us > longest_us:
                    refused, longest_us = index, wait_us
                    room = remaining(rule, level, now_us)
        levels.append(risen(rule, level, cost))
        costs.append(cost)
    if refused < 0:
        return Verdict(levels=levels, costs=costs, shadowed=tuple(shadowed))
    known = longest_us if longest_us >= 0 else None
    return Verdict(levels=None, refused=refused, wait_us=known, remaining=room)


def passed_on(row: Row, levels: Sequence[Level], costs: Sequence[int], index: int) -> int:
    """Return how many of the units just added to the row are beyond what it keeps to itself."""
    amount, kept = levels[index].amount, row.rule.kept
    return max(0, amount - kept) - max(0, amount - costs[index] - kept)


def lent(row: Row, before: int, kept: int) -> Level:
    """Return how much all of a cohort have of each other now, before this claim.

    Args:
        row: The row of the cohort.
        before: What the claim's own tenant holds already.
        kept: What that tenant keeps to itself.
    """
    others = sum(max(0, level.amount - theirs) for level, theirs in row.siblings)
    return Level(others + max(0, before - kept))


def aged(rule: Rule, level: Level, now_us: int) -> Level:
    """Return the level as it is at `now_us`. A clock that steps back only pauses ageing.

    A level that was written by a limit of another kind keeps its amount, and no more.
    """
    now_us = max(now_us, level.at_us)
    amount, past = level.amount, level.past
    if now_us == level.at_us and rule.kind in _UNAGED and level.unit == rule.unit and not past:
        # The next claim of the same step finds it as the one before it left it.
        return level
    if rule.kind == RATE:
        if level.unit != rule.unit and amount:
            # In units it stays what it was. Rounded up to a whole one: exact in every language.
            amount = -(-amount // level.unit) * rule.unit
        amount = max(0, amount - rule.drain * (now_us - level.at_us))
    elif rule.kind == WINDOW:
        if level.at_us < window_of(rule, now_us)[0]:
            amount = 0
    elif rule.kind == COUNTER:
        older = past if len(past) == 1 else ()
        turns = now_us // rule.length_us - level.at_us // rule.length_us
        if turns:
            older = (amount,) if turns == 1 and amount else ()
            amount = 0
        return Level(amount, now_us, older, rule.unit)
    elif rule.kind == LOG:
        return _aged_log(rule, level, now_us)
    return Level(amount, now_us, (), rule.unit)


def _aged_log(rule: Rule, level: Level, now_us: int) -> Level:
    amount, past = level.amount, level.past
    if not past or len(past) % 2:
        return Level(0, now_us, (), rule.unit)
    first = 0
    while first < len(past) and past[first] + rule.length_us <= now_us:
        amount -= past[first + 1]
        first += 2
    return Level(amount, now_us, past[first:] if first else past, rule.unit)


def risen(rule: Rule, level: Level, cost: int) -> Level:
    """Return an aged level with `cost` units more."""
    if rule.kind == LOG and cost:
        past = level.past
        if past and past[-2] == level.at_us:
            past = (*past[:-1], past[-1] + cost)
        else:
            past = (*past, level.at_us, cost)
        return Level(level.amount + cost, level.at_us, past, level.unit)
    ticks = cost if rule.kind == COUNTER else cost * rule.unit
    return Level(level.amount + ticks, level.at_us, level.past, level.unit)


def fallen(rule: Rule, level: Level, units: int, taken_us: int, now_us: int) -> Level:
    """Return the level with `units` put back that were taken at `taken_us`.

    Never below zero, and nothing where they have come back by themselves already.
    """
    level = aged(rule, level, now_us)
    amount, past = level.amount, level.past
    if rule.kind == WINDOW and taken_us < window_of(rule, level.at_us)[0]:
        return level
    if rule.kind == LOG:
        back = [*past]
        for index in range(0, len(back), 2):
            if back[index] >= taken_us:
                units_back = min(units, back[index + 1])
                back[index + 1] -= units_back
                units -= units_back
                amount -= units_back
        kept = [n for i in range(0, len(back), 2) if back[i + 1] for n in back[i : i + 2]]
        return Level(amount, level.at_us, tuple(kept), level.unit)
    if rule.kind == COUNTER:
        turns = level.at_us // rule.length_us - taken_us // rule.length_us
        if turns == 1 and past:
            return Level(amount, level.at_us, (max(0, past[0] - units),), level.unit)
        amount = max(0, amount - units) if turns <= 0 else amount
        return Level(amount, level.at_us, past, level.unit)
    return Level(max(0, amount - units * rule.unit), level.at_us, past, level.unit)


def spent(rule: Rule, level: Level, now_us: int) -> int:
    """Return how much of the ceiling an aged level takes up, in ticks."""
    if rule.kind == COUNTER:
        left_us = rule.length_us - max(now_us, level.at_us) % rule.length_us
        older = level.past[0] * left_us if level.past else 0
        return level.amount * rule.length_us + older
    return level.amount


def remaining(rule: Rule, level: Level, now_us: int) -> int:
    """Return how many units are left above an aged level."""
    return max(0, rule.ceiling - spent(rule, level, now_us)) // rule.unit


def wait(rule: Rule, level: Level, over: int, now_us: int) -> int:
    """Return the exact wait in microseconds until `over` ticks are gone; -1: nobody knows.

    The level is aged; `over` is what it is above the ceiling, with the cost.
    """
    # A clock that stepped back does not age a cell before it has caught up with it.
    behind_us = max(0, level.at_us - now_us)
    if rule.kind == RATE:
        return -(-over // rule.drain) + behind_us
    if rule.kind == WINDOW:
        return window_of(rule, level.at_us)[1] - now_us
    if rule.kind == COUNTER:
        return _counter_wait(rule, level, over) + behind_us
    if rule.kind == LOG:
        for index in range(0, len(level.past), 2):
            over -= level.past[index + 1]
            if over <= 0:
                return level.past[index] + rule.length_us - now_us
    return -1


def reset(rule: Rule, level: Level, now_us: int) -> int | None:
    """Return in how many microseconds an aged level is zero by itself; None for a capacity."""
    if rule.kind == RATE:
        return -(-level.amount // rule.drain)
    if rule.kind == WINDOW:
        return window_of(rule, level.at_us)[1] - now_us
    if rule.kind == COUNTER:
        left_us = rule.length_us - level.at_us % rule.length_us
        return left_us + rule.length_us if level.amount else left_us if level.past else 0
    if rule.kind == LOG:
        return level.past[-2] + rule.length_us - now_us if level.past else 0
    return None


def window_of(rule: Rule, now_us: int) -> tuple[int, int]:
    """Return start and end of the window that `now_us` falls into, of the two the rule knows."""
    first_us, second_us, last_us = rule.starts_us
    return (first_us, second_us) if now_us < second_us else (second_us, last_us)


def _counter_wait(rule: Rule, level: Level, over: int) -> int:
    """Solve for the instant at which the older counter weighs `over` ticks less than now."""
    length_us = rule.length_us
    left_us = length_us - level.at_us % length_us
    older = level.past[0] if level.past else 0
    if over <= older * left_us:
        return -(-over // older)
    # Not within this window: in the next one today's counter is the older one, and fades.
    over -= older * left_us
    return left_us + -(-over // level.amount)
