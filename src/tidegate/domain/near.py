"""When a limit comes near: a claim takes what is spent of it past its mark.

Told once for each crossing, and only of what was really added: a refusal adds nothing, nor does a
row that a shadow let pass.
"""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.domain.admission import Level, Row, aged, remaining, spent
from tidegate.domain.rule import Rule


def is_crossed(rule: Rule, before: int, after: int) -> bool:
    """Return whether a limit came near when what is spent of it rose from `before` to `after`."""
    return before < rule.near <= after


def near_rows(
    rows: Sequence[Row], costs: Sequence[int], levels: Sequence[Level], now_us: int
) -> tuple[int, ...]:
    """Return which rows of a granted claim brought their limit near: row, units left, row, ...

    Args:
        rows: With the levels before the claim.
        costs: The units really added, row by row.
        levels: Those after it.
        now_us: Microseconds since the epoch, by the store's clock.
    """
    near: list[int] = []
    for index, (row, cost, level) in enumerate(zip(rows, costs, levels, strict=True)):
        # What a cohort has lent is no level of its own.
        if row.via >= 0 or not cost:
            continue
        before = spent(row.rule, aged(row.rule, row.level, now_us), now_us)
        if is_crossed(row.rule, before, spent(row.rule, level, now_us)):
            near += (index, remaining(row.rule, level, now_us))
    return tuple(near)
