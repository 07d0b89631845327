"""Claims granted at sight: the amounts of plain cells, while one batch adds to them.

Most claims of most batches are granted, by limits whose levels are a single number. Once such a
level is as old as the batch, the rule of `domain/admission` comes to an addition and a comparison
for them. Whatever is not as plain as that, a refusal above all, is left to the rule itself.
"""

from __future__ import annotations

from tidegate.domain.admission import EMPTY, Level, aged
from tidegate.domain.batch import Admit, Batch
from tidegate.domain.near import is_crossed
from tidegate.domain.rule import RATE, STOCK, WINDOW, Rule
from tidegate.domain.world import World

_PLAIN = (RATE, WINDOW, STOCK)
"""Kinds that have nothing to remember beside an amount and an instant."""
_NO_RULE = -1
"""The index of a rule that is not plain: no claim has it."""


class _Slot:
    """One cell: its amount now, and the rule it is held against."""

    __slots__ = ("amount", "at_us", "before", "ceiling", "holds", "index", "rule", "unit")

    def __init__(self, index: int, rule: Rule, level: Level) -> None:
        self.index, self.rule = index, rule
        self.amount = self.before = level.amount
        self.at_us, self.unit, self.ceiling = level.at_us, rule.unit, rule.ceiling
        self.holds = rule.kind == STOCK


class Tally:
    """What one batch adds to plain cells, and the world is not told of yet.

    The world has to be told, by `leave` or `settle`, before anybody else looks at these levels or
    changes them.
    """

    def __init__(self, world: World, batch: Batch, now_us: int) -> None:
        self._world, self._batch, self._now_us = world, batch, now_us
        self._slots: dict[int, _Slot] = {}

    def add(self, call: Admit) -> dict[str, int] | None:
        """Grant a claim and return what it holds; None, and nothing is changed, if not at sight.

        Nobody may wait at any of its cells.
        """
        if call.cohorts:
            # Their rows have no amounts of their own.
            return None
        slots, holds, rows = self._slots, False, call.rows
        numbers, done = iter(rows), 0
        for cell, index, cost in zip(numbers, numbers, numbers, strict=True):
            slot = slots.get(cell)
            if slot is None:
                slot = self._slot(cell, index)
            amount = slot.amount + cost * slot.unit
            # A row without a cost is not written.
            if amount > slot.ceiling or cost < 1 or slot.index != index:
                self._take_back(rows[:done])
                return None
            slot.amount = amount
            done += 3
            if slot.holds:
                holds = True
        return self._hold(call) if holds else {}

    def near(self, call: Admit) -> tuple[int, ...]:
        """Return which rows of the claim just granted brought their limit near, and what is left.

        Returns:
            Row, units left, row, units left, ...
        """
        near: list[int] = []
        for index, (cell, cost) in enumerate(zip(call.rows[::3], call.rows[2::3], strict=True)):
            slot = self._slots[cell]
            if is_crossed(slot.rule, slot.amount - cost * slot.unit, slot.amount):
                near += (index, (slot.ceiling - slot.amount) // slot.unit)
        return tuple(near)

    def leave(self, call: Admit) -> None:
        """Leave the cells of a claim to others, and tell the world of them."""
        for index in call.rows[::3]:
            self._leave(index)
        for _, _, siblings in call.cohorts:
            for index in siblings[::2]:
                self._leave(index)

    def settle(self) -> None:
        """Leave all cells to others."""
        for index in list(self._slots):
            self._leave(index)

    def _leave(self, index: int) -> None:
        slot = self._slots.pop(index, None)
        if slot is not None and slot.amount != slot.before:
            cell = self._batch.cells[index]
            self._world.levels[cell] = Level(slot.amount, slot.at_us, (), slot.unit)
            self._world.dirty[cell] = slot.rule

    def _slot(self, cell: int, index: int) -> _Slot:
        rule = self._batch.rules[index]
        level = self._world.levels.get(self._batch.cells[cell], EMPTY)
        if rule.kind in _PLAIN:
            slot = _Slot(index, rule, aged(rule, level, self._now_us))
        else:
            slot = _Slot(_NO_RULE, rule, level)
        self._slots[cell] = slot
        return slot

    def _take_back(self, rows: tuple[int, ...]) -> None:
        for cell, cost in zip(rows[::3], rows[2::3], strict=True):
            slot = self._slots[cell]
            slot.amount -= cost * slot.unit

    def _hold(self, call: Admit) -> dict[str, int]:
        mine = self._world.members[self._batch.member].held
        held: dict[str, int] = {}
        for index, cost in zip(call.rows[::3], call.rows[2::3], strict=True):
            if self._slots[index].holds:
                cell = self._batch.cells[index]
                held[cell] = held.get(cell, 0) + cost
                mine[cell] = mine.get(cell, 0) + cost
        return held
