"""Calls on their way to the store: what each asks, and who hears the answer."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from tidegate.domain.ask import Ask, Cell
from tidegate.domain.batch import Answer, Call, GiveBack
from tidegate.domain.rule import Rule
from tidegate.errors import StoreUnavailable, TidegateError

_log = logging.getLogger(__name__)

SEPARATOR = "\x1f"
"""Between the parts of a cell's name: a control character, escaped where a tenant sends one."""


def cell_name(cell: Cell) -> str:
    """Return the name of a cell in the store."""
    parts = (cell.limit, *cell.scope)
    name = SEPARATOR.join(parts)
    if "\x1b" in name or name.count(SEPARATOR) >= len(parts):
        parts = tuple(p.replace("\x1b", "\x1b\x1b").replace(SEPARATOR, "\x1b_") for p in parts)
        name = SEPARATOR.join(parts)
    return name


class Naming:
    """The distinct cells and rules of one batch, by the index they get in it.

    Args:
        batch: A number that no other batch of the session has.
        member: Whose batch it is.
        now_us: The store's time, as far as it is known.
    """

    def __init__(self, batch: int, member: str, now_us: int) -> None:
        self.batch, self.member, self.now_us = batch, member, now_us
        self.cells: dict[str, int] = {}
        self.rules: list[Rule] = []
        self._rule_at: dict[int, int] = {}

    def cell(self, name: str) -> int:
        """Return the index of a cell."""
        return self.cells.setdefault(name, len(self.cells))

    def rule(self, rule: Rule) -> int:
        """Return the index of a rule. The same limit's rule is the same object."""
        index = self._rule_at.get(id(rule))
        if index is None:
            index = self._rule_at[id(rule)] = len(self.rules)
            self.rules.append(rule)
        return index

    def rows(self, ask: Ask) -> tuple[int, ...]:
        """Return the rows of a claim: cell, rule, units, cell, rule, units, ..."""
        cells, rule_at = self.cells, self._rule_at
        rows: list[int] = []
        names = ask.names or map(cell_name, ask.cells)
        for name, (rule, cost, _) in zip(names, ask.rows, strict=True):
            index = rule_at.get(id(rule), -1)
            if index < 0:
                index = self.rule(rule)
            rows += (cells.setdefault(name, len(cells)), index, cost)
        return tuple(rows)

    def cohorts(self, ask: Ask) -> tuple[tuple[int, int, tuple[int, ...]], ...]:
        """Return which rows are those of cohorts: row, the one that passes on to it, siblings."""
        found = []
        for at, siblings in ask.siblings.items():
            names = ((cell_name(cell), kept) for cell, kept in siblings)
            found.append((at, ask.rows[at][2], flat_held(self, names)))
        return tuple(found)


class Asked(Protocol):
    """What travels in a batch: see `Request`."""

    count: int
    given_up: bool
    must: bool

    @property
    def again(self) -> bool:
        """Whether it is made again if its member was lost, and nobody knows what became of it."""
        ...

    def calls(self, naming: Naming, /) -> Sequence[Call]:
        """Return the calls, as they are now."""
        ...

    def answered(self, answers: Sequence[Answer], /) -> None:
        """Hear the answers."""
        ...

    def failed(self, error: TidegateError, /) -> None:
        """Hear that the store cannot be had."""
        ...

    def late(self, answers: Sequence[Answer], /) -> None:
        """Hear the answers after all."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Request:
    """Some calls that belong together, in one batch.

    `calls` makes them anew for each batch they are tried in, since the calendar may have moved on.
    One of `answered` and `failed` is called, by whoever drives the wire. When the outcome is
    learned after all, `late` hears it: what was granted to nobody has to be undone. What `must`
    arrive is never given up: it waits until the store is back. What does harm a second time is not
    made `again` when the member was lost that it had travelled with.
    """

    calls: Callable[[Naming], Sequence[Call]]
    answered: Callable[[Sequence[Answer]], None]
    failed: Callable[[TidegateError], None]
    late: Callable[[Sequence[Answer]], None]
    count: int = 0
    given_up: bool = False
    must: bool = False
    again: bool = True


class Returns:
    """What leases of a member have given back since its last batch, summed up by cell.

    Once the member is lost it says nothing: the store took back all that the member held. More can
    be added while it `is_open`: until it travels.
    """

    def __init__(self, member: str) -> None:
        self.member, self.is_open = member, True
        self._units: dict[str, int] = {}
        self.count, self.given_up, self.must, self.again = 0, False, True, False

    def add(self, held: Sequence[tuple[str, int]]) -> None:
        """Add what one lease held: names of cells, each with its units."""
        sums = self._units
        for name, units in held:
            sums[name] = sums.get(name, 0) + units

    def calls(self, naming: Naming) -> Sequence[Call]:
        """Return all of it as one call."""
        self.is_open = False
        if naming.member != self.member:
            return ()
        return (GiveBack(flat_held(naming, self._units.items())),)

    def answered(self, answers: Sequence[Answer]) -> None:
        """Nobody waits for it."""

    def failed(self, error: TidegateError) -> None:
        """Do nothing: it must arrive, so it is never given up."""

    def late(self, answers: Sequence[Answer]) -> None:
        """Nobody waits for it."""


def flat_held(naming: Naming, held: Iterable[tuple[str, int]]) -> tuple[int, ...]:
    """Return what is held as it travels: cell, units, cell, units, ..."""
    return tuple(n for name, units in held for n in (naming.cell(name), units))


def ignored(_: object) -> None:
    """Nobody needs to know."""


def known_error(error: Exception) -> TidegateError:
    """Return an error that callers expect; what should not have been raised is logged."""
    if isinstance(error, TidegateError):
        return error
    _log.error("a store was asked, or answered, as it should not be", exc_info=error)
    return StoreUnavailable(f"the store could not be asked: {type(error).__name__}")


def fail(request: Asked, error: TidegateError) -> None:
    """Tell one request; whatever comes of it, the others have to be told, too."""
    try:
        request.failed(error)
    except Exception:
        _log.exception("nobody could be told that the store cannot be had")
