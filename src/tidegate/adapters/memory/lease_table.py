"""Live leases by token, and by when they expire."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from typing import Final

from tidegate.adapters.memory.cells import Table
from tidegate.adapters.memory.records import Held
from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease

STALE_SPARE: Final = 1_000
LOOKED_AT_MAX: Final = 64
SETTLE_US: Final = 100_000
"""A lease this old goes into the heap of expiries; most are given back before, and never do."""
KEY_BITS: Final = 64
"""An entry of that heap is one number, a third of a tuple: the expiry, and below it the key."""


class LeaseTable:
    """Not locked: its owner is. Granting and releasing cost one dict entry.

    Tokens grow, so the dict is in order of grant, and what is new since the last look is at its
    end. Only leases that have lived through a look are put in order of their expiry.
    """

    __slots__ = ("_expiries", "_hints", "_keys", "_moves", "_sorted_to", "leases")

    def __init__(self) -> None:
        self.leases: dict[int, Granted] = {}
        self._expiries: list[int] = []
        self._keys: dict[str, int] = {}
        self._sorted_to: int = 0
        self._moves: int = 0
        self._hints: dict[str, tuple[int, int, int, int | None]] = {}

    def find(self, lease_id: str, prefix: str) -> Granted | None:
        """Return a live lease by its id; `prefix` is what own ids begin with."""
        key = self._keys.get(lease_id)
        if key is None:
            try:
                key = int(lease_id.removeprefix(prefix), 16)
            except ValueError:
                return None
        lease = self.leases.get(key)
        return lease if lease is not None and lease.id == lease_id else None

    def adopt(self, lease: Granted) -> None:
        """Keep a lease of an earlier process, whose token may be one of ours."""
        self._moves += 1
        key = -self._moves
        self._keys[lease.known_as] = key
        self.leases[key] = lease
        self._push(key, lease)

    def get(self, lease: Lease) -> Granted | None:
        """Return the live lease that this is a copy of, or is."""
        if lease.known_as:
            return self.leases.get(self._keys.get(lease.known_as, 0))
        return self.leases.get(lease.fencing_token)

    def pop(self, lease: Lease) -> Granted | None:
        """Remove a lease; return the one that was kept."""
        if lease.known_as:
            return self.leases.pop(self._keys.pop(lease.known_as, 0), None)
        return self.leases.pop(lease.fencing_token, None)

    def next_expiry_us(self, table: Table, newest: int) -> int | None:
        """When a lease with units of this table expires next; None if there is none.

        Among many leases it is when any of the older ones expires: quick, and good for a hint.
        What was found stands until there is another lease, or one less, or one was renewed, so
        that a flood of refusals does not look again each time.
        """
        count = len(self.leases)
        if count > LOOKED_AT_MAX:
            self._sort()
            return self._expiries[0] >> KEY_BITS if self._expiries else None
        hint = self._hints.get(table.name)
        if hint is None or hint[0] != newest or hint[1] != count or hint[2] != self._moves:
            expiry_us = min(
                (lease.expires_us for lease in self.leases.values() if _holds(lease, table)),
                default=None,
            )
            hint = self._hints[table.name] = (newest, count, self._moves, expiry_us)
        return hint[3]

    def moved(self, lease: Granted) -> None:
        """Note that a lease expires at another time than before."""
        self._moves += 1
        key = self._keys[lease.known_as] if lease.known_as else lease.fencing_token
        self._push(key, lease)

    def expire(self, now_us: int) -> Iterator[Granted]:
        """Remove and return leases that have expired, one by one."""
        self._sort()
        while self._expiries and self._expiries[0] >> KEY_BITS <= now_us:
            lease = self.leases.get(_key(heapq.heappop(self._expiries)))
            if lease is not None and lease.expires_us <= now_us:
                self.pop(lease)
                yield lease

    def next_look_us(self, now_us: int) -> int:
        """Return when to look again if no lease is granted that expires before."""
        if not self.leases:
            return now_us + SETTLE_US
        return min(self._expiries[0] >> KEY_BITS, now_us + SETTLE_US)

    def _sort(self) -> None:
        """Put what is new since the last time in order of its expiry."""
        newest = self._sorted_to
        for token in reversed(self.leases):
            if token < 0:
                continue
            if token <= self._sorted_to:
                break
            newest = max(newest, token)
            self._push(token, self.leases[token])
        self._sorted_to = newest

    def _push(self, key: int, lease: Granted) -> None:
        heapq.heappush(self._expiries, _entry(key, lease))
        # Released leases leave their entry behind; drop those before they outnumber the live.
        if len(self._expiries) > 2 * len(self.leases) + STALE_SPARE:
            keys = {_key(entry) for entry in self._expiries}
            self._expiries = [_entry(key, self.leases[key]) for key in keys if key in self.leases]
            heapq.heapify(self._expiries)


def _entry(key: int, lease: Granted) -> int:
    return (lease.expires_us << KEY_BITS) + (key & (1 << KEY_BITS) - 1)


def _key(entry: int) -> int:
    """Return the key of an entry; those of adopted leases are below 0."""
    key = entry & (1 << KEY_BITS) - 1
    return key - (1 << KEY_BITS) if key >> KEY_BITS - 1 else key


def _holds(lease: Granted, table: Table) -> bool:
    held: Held | None = lease.rows
    while held is not None:
        if held.table is table:
            return True
        held = held.more
    return False
