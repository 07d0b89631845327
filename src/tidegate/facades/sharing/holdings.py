"""The leases of one member: kept in its own process, backed by what it holds in the store."""

from __future__ import annotations

import heapq
from collections.abc import Callable

from tidegate.domain.decision import Granted
from tidegate.domain.lease import Lease


class Holdings:
    """Live leases by token, and by when they expire. Not locked: its owner is."""

    def __init__(self) -> None:
        self._leases: dict[int, Granted] = {}
        self._names: dict[str, int] = {}
        self._expiries: list[tuple[int, int]] = []
        self._watchers: dict[int, Callable[[], None]] = {}

    def __len__(self) -> int:
        return len(self._leases)

    def add(self, lease: Granted) -> None:
        """Keep a lease."""
        token = lease.fencing_token
        self._leases[token] = lease
        self._names[lease.id] = token
        heapq.heappush(self._expiries, (lease.expires_us, token))

    def get(self, lease: Lease) -> Granted | None:
        """Return the live lease that this is, or is a copy of."""
        return self._leases.get(lease.fencing_token)

    def find(self, lease_id: str) -> Granted | None:
        """Return a live lease by its id."""
        return self._leases.get(self._names.get(lease_id, 0))

    def of_token(self, token: int) -> Granted | None:
        """Return a live lease by its fencing token."""
        return self._leases.get(token)

    def pop(self, lease: Lease) -> Granted | None:
        """Remove a lease; None if it was not live."""
        kept = self._leases.pop(lease.fencing_token, None)
        if kept is not None:
            self._names.pop(kept.id, None)
            self._watchers.pop(kept.fencing_token, None)
        return kept

    def moved(self, lease: Granted) -> None:
        """Note that a lease expires later."""
        heapq.heappush(self._expiries, (lease.expires_us, lease.fencing_token))
        if len(self._expiries) > 2 * len(self._leases) + 1_000:
            self._expiries = [(held.expires_us, token) for token, held in self._leases.items()]
            heapq.heapify(self._expiries)

    def watch(self, lease: Lease, lost: Callable[[], None]) -> None:
        """Call `lost` when the lease is lost before its holder gives it back."""
        if lease.fencing_token in self._leases:
            self._watchers[lease.fencing_token] = lost

    def expired(self, now_us: int) -> list[Granted]:
        """Remove and return what has expired."""
        ended = []
        while self._expiries and self._expiries[0][0] <= now_us:
            _, token = heapq.heappop(self._expiries)
            lease = self._leases.get(token)
            if lease is not None and lease.expires_us <= now_us:
                ended.append(lease)
                self.drop(lease)
        return ended

    def next_expiry_us(self) -> int | None:
        """When the next lease expires, at the earliest."""
        return self._expiries[0][0] if self._expiries else None

    def drop(self, lease: Granted) -> None:
        """Remove a lease that is lost, and tell its holder."""
        lost = self._watchers.get(lease.fencing_token)
        self.pop(lease)
        if lost is not None:
            lost()

    def all(self) -> list[Granted]:
        """Return every live lease, oldest first."""
        return list(self._leases.values())
