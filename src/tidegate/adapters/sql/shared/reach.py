"""What a batch touches: the rows to lock and to read before the rule can be applied.

Part of it is known only when other rows have been read: whom a claim id belongs to, what a dead
member held. So a store reads, lets `grow` look at what it found, and reads again if that was more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from tidegate.adapters.sql.shared.names import key, name_of
from tidegate.adapters.sql.shared.rows import ENDED, CellRow, IdRow, MemberRow, StakeRow, held_of
from tidegate.domain.batch import (
    Admit,
    Adopt,
    Batch,
    End,
    GiveBack,
    Leave,
    Touch,
    Wait,
)
from tidegate.domain.rule import STOCK

STAKES_MAX = 1_000
"""Rows of dead members that one batch takes back, so that no batch is slow; the rest is left to
the next ones."""


@dataclass(slots=True, kw_only=True)
class Found:
    """What a store read, at the instant `now_us`. `dead` are the first expired members there are.

    `cut` are members of `Reach.whole` of whose stakes only a part was read.
    """

    now_us: int
    token: int
    cells: list[CellRow] = field(default_factory=list)
    members: list[MemberRow] = field(default_factory=list)
    ids: list[IdRow] = field(default_factory=list)
    stakes: list[StakeRow] = field(default_factory=list)
    dead: list[bytes] = field(default_factory=list)
    cut: set[bytes] = field(default_factory=set)


class Reach:
    """The keys of rows to read. `whole` are members of whom all stakes are needed.

    Of other members the stakes at `held` are enough. `cells` are keys with the names of cells, and
    `keys` the other way round.
    """

    def __init__(self, batch: Batch) -> None:
        self.own = key(batch.member)
        self.keys = {cell: key(cell) for cell in batch.cells}
        self.cells = {stored: cell for cell, stored in self.keys.items()}
        self.members = {self.own}
        self.whole: set[bytes] = set()
        self.ids: set[bytes] = set()
        self._ends: set[bytes] = set()
        held = self._look_at(batch)
        self.held = {self.keys[batch.cells[index]] for index in held}

    def _look_at(self, batch: Batch) -> set[int]:
        """Take in what the calls say; return the cells at which the member may have a stake."""
        stocks = {index for index, rule in enumerate(batch.rules) if rule.kind == STOCK}
        held: set[int] = set()
        for call in batch.calls:
            if isinstance(call, Admit):
                if stocks:
                    pairs = zip(call.rows[::3], call.rows[1::3], strict=True)
                    held.update(cell for cell, rule in pairs if rule in stocks)
                if call.claim_id:
                    self.ids.add(key(call.claim_id))
                continue
            if isinstance(call, GiveBack | Adopt):
                held.update(call.held[::2])
            elif isinstance(call, Wait | Leave):
                held.add(call.cell)
            elif isinstance(call, End):
                self._ends.add(key(call.claim_id))
            if isinstance(call, Adopt | End | Touch) and call.claim_id:
                self.ids.add(key(call.claim_id))
        return held

    def grow(self, found: Found) -> bool:
        """Take in what was found; return whether more has to be read."""
        before = self._size()
        for known in found.ids:
            if known.expires_us > found.now_us and not known.flags & ENDED:
                self.members.add(known.member)
                if known.key in self._ends:
                    cells = held_of(known.held)
                    self._add(cells)
                    self.held.update(cells)
        self.members.update(found.dead)
        self.whole.update(
            member.name for member in found.members if member.expires_us <= found.now_us
        )
        if self.whole:
            self._add(stake.cell for stake in found.stakes if stake.member in self.whole)
        return self._size() > before

    def _add(self, cells: Iterable[bytes]) -> None:
        for stored in cells:
            self.cells[stored] = name = name_of(stored)
            self.keys[name] = stored

    def _size(self) -> int:
        return len(self.cells) + len(self.members) + len(self.whole) + len(self.held)
