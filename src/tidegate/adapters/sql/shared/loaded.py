"""What a store read for a batch, as a world, and what the rule then changed of it, as rows."""

from __future__ import annotations

from dataclasses import dataclass, field

from tidegate.adapters.sql.shared.names import key, name_of
from tidegate.adapters.sql.shared.reach import Found, Reach
from tidegate.adapters.sql.shared.rows import (
    NEVER_US,
    CellRow,
    IdRow,
    LevelRow,
    MemberRow,
    StakeRow,
    gone_us,
    id_row,
    known_of,
    member_of,
    past_bytes,
    past_of,
    queue_bytes,
    queue_of,
)
from tidegate.domain.admission import EMPTY, Level
from tidegate.domain.batch import Batch
from tidegate.domain.rule import Rule
from tidegate.domain.world import World

_NOT_PLAIN = -1
"""No unit: a cell with more than an amount, an instant and a unit."""


@dataclass(slots=True, kw_only=True)
class Changes:
    """Rows to write, and keys of rows to delete.

    `member` is the batch's own, if there is one: `is_new` in the table, `is_kept` with its reply.
    `levels` are cells of which only the amount has changed, at `now_us`.
    """

    token: int
    now_us: int
    member: MemberRow | None = None
    is_new: bool = False
    is_kept: bool = False
    levels: list[LevelRow] = field(default_factory=list)
    cells: list[CellRow] = field(default_factory=list)
    cells_new: list[CellRow] = field(default_factory=list)
    ids: list[IdRow] = field(default_factory=list)
    ids_new: list[IdRow] = field(default_factory=list)
    ids_gone: list[bytes] = field(default_factory=list)
    stakes: list[StakeRow] = field(default_factory=list)
    stakes_gone: list[tuple[bytes, bytes]] = field(default_factory=list)
    members_gone: list[bytes] = field(default_factory=list)


class Loaded:
    """The world of one batch, and how it was before."""

    def __init__(self, batch: Batch, reach: Reach, found: Found) -> None:
        self._batch, self._reach, self._found = batch, reach, found
        self._ids = {row.key: row for row in found.ids}
        self._units: dict[str, int] = {}
        self._queues: dict[str, bytes] = {}
        self._rules: dict[str, Rule] = {}
        self.world = World(token=found.token)
        self._load_cells()
        self._load_members()
        self._before = {
            name: (member, dict(member.held)) for name, member in self.world.members.items()
        }
        self._waiting_before = self._waiting()

    def changes(self) -> Changes:
        """Return what differs from what was read."""
        changes = Changes(token=self.world.token, now_us=self._found.now_us)
        self._member(changes)
        self._cells(changes)
        self._known_ids(changes)
        self._stakes(changes)
        return changes

    def waits(self) -> set[str]:
        """Return the cells, of those that were read, at which the member waits."""
        return {cell for member, cell in self._waiting() if member == self._batch.member}

    def _load_cells(self) -> None:
        levels, names, units = self.world.levels, self._reach.cells, self._units
        for key_, amount, at_us, unit, past, queue, _ in self._found.cells:
            name = names[key_]
            if at_us:
                levels[name] = Level(amount, at_us, past_of(past) if past else (), unit)
            units[name] = _NOT_PLAIN if past or queue else unit
            if queue:
                self.world.queues[name] = waiting = queue_of(queue)
                self._queues[name] = queue
                self._rules.update((name, place.rule) for place in waiting.places[:1])

    def _load_members(self) -> None:
        members, names = self.world.members, self._reach.cells
        for row in self._found.members:
            members[name_of(row.name)] = member_of(row)
        for stake in self._found.stakes:
            member = members.get(name_of(stake.member))
            if member is not None and stake.units:
                member.held[names[stake.cell]] = stake.units
        for known in self._found.ids:
            if known.expires_us > self._found.now_us:
                self.world.ids[name_of(known.key)] = known_of(known)

    def _waiting(self) -> set[tuple[str, str]]:
        """Return members with the cells, of those that were read, at which they wait."""
        return {
            (place.member, cell)
            for cell, queue in self.world.queues.items()
            for place in queue.places
        }

    def _member(self, changes: Changes) -> None:
        own = self._batch.member
        member = self.world.members.get(own)
        changes.is_new = own not in self._before
        if member is not None:
            changes.is_kept = bool(self._batch.seq) and member.seq == self._batch.seq
            changes.member = MemberRow(
                self._reach.own, member.expires_us, member.seq, member.reply, self.world.token
            )

    def _cells(self, changes: Changes) -> None:
        world, now_us = self.world, self._found.now_us
        queues = {name: queue_bytes(queue) for name, queue in world.queues.items()}
        changed = {name for name, stored in queues.items() if stored != self._queues.get(name)}
        # Where only the queue changed, those who wait or waited there know the rule.
        for name in changed - world.dirty.keys():
            places = world.queues[name].places
            world.dirty[name] = places[0].rule if places else self._rules.get(name)
        keys, units = self._reach.keys, self._units
        for name, rule in world.dirty.items():
            level, queue = world.levels.get(name, EMPTY), world.queues.get(name)
            # 64 bits hold more than any limit allows; only sums of settlements could pass them.
            amount = min(level.amount, NEVER_US)
            stored, at_us, past = keys[name], level.at_us, level.past
            gone = gone_us(level, rule, queue, now_us)
            if at_us == now_us and units.get(name) == level.unit and queue is None and not past:
                changes.levels.append((amount, gone, stored))
                continue
            rows = changes.cells if name in units else changes.cells_new
            in_queue = queues.get(name, b"")
            rows.append((stored, amount, at_us, level.unit, past_bytes(past), in_queue, gone))

    def _known_ids(self, changes: Changes) -> None:
        ids = self.world.ids
        for name, known in ids.items():
            row = id_row(name, known)
            before = self._ids.get(row.key)
            if before is None:
                changes.ids_new.append(row)
            elif row != before:
                changes.ids.append(row)
        for row in self._found.ids:
            if row.expires_us > self._found.now_us and name_of(row.key) not in ids:
                changes.ids_gone.append(row.key)

    def _stakes(self, changes: Changes) -> None:
        own = self._batch.member
        waiting, waited = self._waiting(), self._waiting_before
        gone = self._gone(changes)
        for name, member in self.world.members.items():
            fresh = name in gone or name not in self._before
            held, before = member.held, {} if fresh else self._before[name][1]
            cells = {c for c in before.keys() | held if before.get(c, 0) != held.get(c, 0)}
            if name == own:
                moved = waiting if fresh else waiting ^ waited
                cells |= {cell for member_name, cell in moved if member_name == own}
            changes.stakes += [
                StakeRow(key(name), key(cell), held.get(cell, 0), (name, cell) in waiting)
                for cell in cells
            ]

    def _gone(self, changes: Changes) -> set[str]:
        """Note the members that died, with all their stakes; return their names."""
        members = self.world.members
        gone = {name for name, (was, _) in self._before.items() if members.get(name) is not was}
        keys = {key(name) for name in gone}
        changes.stakes_gone = [(s.member, s.cell) for s in self._found.stakes if s.member in keys]
        changes.members_gone = [
            key(name) for name in gone if name not in members and key(name) not in self._found.cut
        ]
        return gone
