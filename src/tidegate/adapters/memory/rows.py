"""The rows of a claim that need a closer look: refusals, sliding windows, what is held."""

from __future__ import annotations

from typing import Any

from tidegate.adapters.memory.cells import Table, Terms
from tidegate.adapters.memory.stock import lend
from tidegate.adapters.memory.tables import Tables
from tidegate.domain.admission import Level, aged, remaining, risen, spent, wait
from tidegate.domain.ask import check_units
from tidegate.domain.claim import Claim
from tidegate.domain.rule import RATE, WINDOW

EMPTY = Level()


class Decided:
    """What was found out about one claim so far: what to write, or which refusal to report.

    `noted` are limits that came near, with the units left, and with -1 those whose shadow refused.
    """

    __slots__ = (
        "claim",
        "key",
        "left",
        "noted",
        "now_us",
        "refused",
        "tables",
        "wait_us",
        "writes",
    )

    def __init__(self, tables: Tables, claim: Claim, now_us: int) -> None:
        self.tables: Tables = tables
        self.claim: Claim = claim
        self.now_us: int = now_us
        self.writes: list[tuple[dict[object, Any], object, Any]] = []
        self.noted: list[tuple[Table, object, int]] = []
        self.refused: Table | None = None
        self.key: object = None
        self.wait_us: int = 0
        self.left: int = 0

    def refuse(self, table: Table, key: object, wait_us: int, left: int) -> None:
        """Note a refusal: the longest known wait is reported, among equals the first."""
        if self.refused is None or wait_us > self.wait_us:
            self.refused, self.key, self.wait_us, self.left = table, key, wait_us, left


def look_closer(  # noqa: PLR0917
    decided: Decided, table: Table, terms: Terms, key: object, over: int, units: int
) -> bool:
    """Judge a row whose level would be above what is watched; False: do not write it.

    Args:
        decided: What is known of the claim.
        table: Where the row is.
        terms: The numbers there.
        key: Its cell.
        over: Ticks above the ceiling, with the cost; below 0 it is only near.
        units: The cost.
    """
    if over <= 0:
        if over + terms.ceiling - units * terms.unit < terms.rule.near:
            decided.noted.append((table, key, -over // terms.unit))
        return True
    if terms.rule.shadow:
        decided.noted.append((table, key, -1))
        return False
    left = max(0, units * terms.unit - over) // terms.unit
    if table.kind == RATE:
        decided.refuse(table, key, -(-over // terms.drain), left)
    elif table.kind == WINDOW:
        decided.refuse(table, key, table.turns_us - decided.now_us, left)
    else:
        decided.refuse(table, key, -1, left)
    return False


def slide(decided: Decided, table: Table, terms: Terms, key: object, units: int) -> None:
    """Decide the row of a sliding window, by the pure rule."""
    rule, now_us = terms.rule, decided.now_us
    if key not in table.sliding:
        key = table.enter(key, decided.claim)
    level = aged(rule, table.sliding.get(key, EMPTY), now_us)
    over = spent(rule, level, now_us) + units * rule.unit - rule.ceiling
    if over > 0 and not rule.shadow:
        left = remaining(rule, level, now_us)
        decided.refuse(table, key, wait(rule, level, over, now_us), left)
    elif over + terms.ceiling <= terms.watch or look_closer(
        decided, table, terms, key, over, units
    ):
        decided.writes.append((table.sliding, key, risen(rule, level, units)))


def hold(decided: Decided, claim: Claim) -> tuple[Any, ...]:
    """Decide what the claim holds; return table, key and units of each row, flat."""
    rows: list[Any] = []
    tables = decided.tables
    for resource, units in claim.hold.items():
        for table in tables.holds.get(resource) or tables.unknown(resource, "hold"):
            key = claim.tenant if table.by_tenant else table.key(claim)
            terms = table.terms
            if table.varies:
                terms = tables.terms(table, key, decided.now_us)
            if type(units) is not int or units < 1 or units > terms.ceiling:
                check_units(f"hold.{resource}", units, terms.rule)
            cells = table.young
            stored = cells.get(key, -1)
            if stored < 0:
                key = table.enter(key, claim)
                stored = table.stored(key)
            stored += units
            if stored > terms.watch and not look_closer(
                decided, table, terms, key, stored - terms.ceiling, units
            ):
                continue
            if terms.rule.kept >= 0 and not lend(decided, table, terms, key, stored, units):
                continue
            decided.writes.append((cells, key, stored))
            rows += (table, key, units)
    return tuple(rows)
