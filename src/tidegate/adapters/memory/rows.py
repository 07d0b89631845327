"""The rows of a claim that need a closer look: new cells, refusals, sliding windows, loans."""

from __future__ import annotations

from typing import Any

from tidegate.adapters.memory.cells import Table, Terms
from tidegate.adapters.memory.records import Held
from tidegate.adapters.memory.stock import lend
from tidegate.domain.admission import EMPTY, aged, remaining, risen, spent, wait
from tidegate.domain.ask import check_units
from tidegate.domain.claim import Claim
from tidegate.domain.rule import RATE, STOCK, WINDOW


class Draft:
    """What a claim would change, row by row, and what speaks against it.

    `writes` are cells, key and value of what is to be written; `held` is what its lease will
    have to give back.
    `refused` is the table that refuses, with the cell's `key`, the wait, and the units left there.
    `noted` are limits that came near, with the units left, and with -1 those whose shadow refused.
    """

    __slots__ = (
        "claim",
        "held",
        "key",
        "left",
        "noted",
        "now_us",
        "refused",
        "wait_us",
        "writes",
    )

    def __init__(self, claim: Claim, now_us: int, held: Held | None = None) -> None:
        self.claim: Claim = claim
        self.now_us: int = now_us
        self.writes: list[Any] = []
        self.held: Held | None = held
        self.noted: list[tuple[Table, object, int]] | None = None
        self.refused: Table | None = None

    def refuse(self, table: Table, key: object, wait_us: int, left: int) -> None:
        """Note a refusal: the longest known wait is reported, among equals the first."""
        if self.refused is None or wait_us > self.wait_us:
            self.refused, self.key = table, key
            self.wait_us: int = wait_us
            self.left: int = left

    def note(self, table: Table, key: object, left: int) -> None:
        """Note that a limit came near, or that its shadow refused."""
        if self.noted is None:
            self.noted = []
        self.noted.append((table, key, left))


def look_closer(draft: Draft, table: Table, terms: Terms, key: object, units: int) -> None:
    """Judge one row: note what it would change, or that it is refused.

    Args:
        draft: What is known of the claim.
        table: Where the row is.
        terms: The numbers there.
        key: Its cell, which may be a new one.
        units: The cost, 1 or more.

    Raises:
        InvalidClaim: the claim says no text where the limit is per something, or asks for more
            than the limit can ever grant.
    """
    cost = units * terms.unit
    if cost > terms.ceiling:
        side = "hold" if table.kind == STOCK else "take"
        check_units(f"{side}.{table.limit.resource}", units, terms.rule)
    stored = table.young.get(key, -1)
    if stored < 0:
        key = table.enter(key, table.policy.scope_of(table.limit, draft.claim), terms)
        if table.kind > STOCK:
            slide(draft, table, terms, key, units)
            return
        stored = table.young[key]
    base = (draft.now_us - table.since_us) * terms.drain
    level = stored - base if stored > base else 0
    over = level + cost - terms.ceiling
    if over > 0:
        if terms.shadow:
            draft.note(table, key, -1)
            return
        wait_us = -1
        if table.kind == RATE:
            wait_us = -(-over // terms.drain)
        elif table.kind == WINDOW:
            wait_us = table.turns_us - draft.now_us
        left = (terms.ceiling - level) // terms.unit if level < terms.ceiling else 0
        draft.refuse(table, key, wait_us, left)
        return
    if level < terms.rule.near <= level + cost:
        draft.note(table, key, -over // terms.unit)
    if terms.rule.kept >= 0 and not lend(draft, table, terms, key, level + cost, units):
        return
    draft.writes.append((table.young, key, base + level + cost))
    if table.kind == STOCK:
        draft.held = Held(table, key, units, draft.held)


def slide(draft: Draft, table: Table, terms: Terms, key: object, units: int) -> None:
    """Judge the row of a sliding window, by the pure rule."""
    rule, now_us = terms.rule, draft.now_us
    level = aged(rule, table.sliding.get(key, EMPTY), now_us)
    before = spent(rule, level, now_us)
    over = before + units * rule.unit - rule.ceiling
    if over > 0:
        if rule.shadow:
            draft.note(table, key, -1)
        else:
            left = remaining(rule, level, now_us)
            draft.refuse(table, key, wait(rule, level, over, now_us), left)
        return
    if before < rule.near <= over + rule.ceiling:
        draft.note(table, key, -over // rule.unit)
    draft.writes.append((table.sliding, key, risen(rule, level, units)))
