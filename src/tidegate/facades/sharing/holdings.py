"""The leases of one member: kept in its own process, backed by what it holds in the store."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease

SETTLE_US: Final = 100_000
"""So long a lease stays unsorted: most are given back before anybody asks when they expire."""


class Holdings:
    """Live leases by token, and by when they expire. Not locked: its owner is."""

    def __init__(self) -> None:
        self._leases: dict[int, Granted] = {}
        self._names: dict[str, int] = {}
        self._fresh: list[int] = []
        self._expiries: list[tuple[int, int]] = []
        self._look_us = 0
        self._watchers: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Granted) -> None:
        """Keep a lease."""
        token = lease.fencing_token
        self._leases[token] = lease
        self._fresh.append(token)
        if lease.known_as:
            self._names[lease.known_as] = token
        # Nobody has renewed it yet.
        expiry_us = lease.granted_us + lease.lease_us
        self._look_us = min(self._look_us, expiry_us)

    def get(self, lease: Lease) -> Granted | None:
        """Return the live lease that this is, or is a copy of."""
        return self._leases.get(lease.fencing_token)

    def find(self, lease_id: str) -> Granted | None:
        """Return a live lease by its id."""
        token = self._names.get(lease_id)
        if token is None:
            try:
                token = int(lease_id.rpartition("-")[2], 16)
            except ValueError:
                return None
        lease = self._leases.get(token)
        return lease if lease is not None and lease.id == lease_id else None

    def of_token(self, token: int) -> Granted | None:
        """Return a live lease by its fencing token."""
        return self._leases.get(token)

    def pop(self, lease: Lease) -> Granted | None:
        """Remove a lease; None if it was not live."""
        kept = self._leases.pop(lease.fencing_token, None)
        if kept is not None:
            if kept.known_as:
                self._names.pop(kept.known_as, None)
            if self._watchers:
                self._watchers.pop(kept.fencing_token, None)
        return kept

    def moved(self, lease: Granted) -> None:
        """Note that a lease expires at another time than before."""
        self._fresh.append(lease.fencing_token)
        self._look_us = min(self._look_us, lease.expires_us)

    def watch(self, lease: Lease, lost: Callable[[], None]) -> None:
        """Call `lost` when the lease is lost before its holder gives it back."""
        if lease.fencing_token in self._leases:
            self._watchers[lease.fencing_token] = lost

    def is_due(self, now_us: int) -> bool:
        """Return whether it is time to look for what has expired."""
        return now_us >= self._look_us

    def expired(self, now_us: int) -> list[Granted]:
        """Remove and return what has expired."""
        self._sort()
        ended = []
        while self._expiries and self._expiries[0][0] <= now_us:
            _, token = heapq.heappop(self._expiries)
            lease = self._leases.get(token)
            if lease is not None and lease.expires_us <= now_us:
                ended.append(lease)
                self.drop(lease)
        next_us = self._expiries[0][0] if self._expiries else now_us + SETTLE_US
        self._look_us = min(next_us, now_us + SETTLE_US)
        return ended

    def drop(self, lease: Granted) -> None:
        """Remove a lease that is lost, and tell its holder."""
        lost = self._watchers.get(lease.fencing_token)
        self.pop(lease)
        if lost is not None:
            lost()

    def all(self) -> list[Granted]:
        """Return every live lease, oldest first."""
        return list(self._leases.values())

    def _sort(self) -> None:
        """Put those in order that are new, or moved, since the last look."""
        fresh, self._fresh = self._fresh, []
        for token in fresh:
            lease = self._leases.get(token)
            if lease is not None:
                heapq.heappush(self._expiries, (lease.expires_us, token))
        # Leases that were given back leave their entry behind.
        if len(self._expiries) > 2 * len(self._leases) + 1_000:
            self._expiries = [(held.expires_us, token) for token, held in self._leases.items()]
            heapq.heapify(self._expiries)
