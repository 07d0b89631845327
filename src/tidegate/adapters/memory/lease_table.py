"""Live leases by id, and by when they expire."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import msgspec

from tidegate.domain.admission import Rule
from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.policy import Cell

STALE_SPARE = 1_000
LOOKED_AT_MAX = 128


class Held(msgspec.Struct, kw_only=True):
    """A live lease: what it took and holds, cell by cell under the address really used."""

    claim: Claim
    token: int
    granted_us: int
    expires_us: int
    holder: str
    cells: list[tuple[Cell, tuple[str, ...], Rule, int]]

    def record(self, lease_id: str) -> LeaseRecord:
        """Return the lease as it is shown and written down."""
        return LeaseRecord(
            id=lease_id,
            claim=self.claim,
            fencing_token=self.token,
            expires_us=self.expires_us,
            holder=self.holder,
        )


class LeaseTable:
    """Not locked: its owner is. An expiry costs a heap entry, a release nothing."""

    def __init__(self) -> None:
        self._leases: dict[str, Held] = {}
        self._expiries: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._leases)

    def __contains__(self, lease_id: str) -> bool:
        return lease_id in self._leases

    def next_expiry_us(self, cell: Cell) -> int | None:
        """When a lease on the cell expires next, at the earliest; None if there is none.

        Among many leases it is when any lease expires: never too late, and as quick.
        """
        if len(self._leases) > LOOKED_AT_MAX:
            return self._expiries[0][0]
        return min(
            (
                lease.expires_us
                for lease in self._leases.values()
                if any(held == cell for held, _, _, _ in lease.cells)
            ),
            default=None,
        )

    def get(self, lease_id: str) -> Held | None:
        """Return a live lease."""
        return self._leases.get(lease_id)

    def items(self) -> Iterator[tuple[str, Held]]:
        """Iterate over ids and leases, oldest first."""
        return iter(self._leases.items())

    def add(self, lease_id: str, lease: Held) -> None:
        """Keep a lease."""
        self._leases[lease_id] = lease
        self.moved(lease_id, lease)

    def moved(self, lease_id: str, lease: Held) -> None:
        """Note the lease's expiry."""
        heapq.heappush(self._expiries, (lease.expires_us, lease_id))
        # Released leases leave their entry behind; drop those before they outnumber the live.
        if len(self._expiries) > 2 * len(self._leases) + STALE_SPARE:
            self._expiries = [(held.expires_us, live) for live, held in self._leases.items()]
            heapq.heapify(self._expiries)

    def pop(self, lease_id: str) -> Held | None:
        """Remove a lease."""
        return self._leases.pop(lease_id, None)

    def expire(self, now_us: int) -> Iterator[tuple[str, Held]]:
        """Remove and return leases that have expired, one by one."""
        while self._expiries and self._expiries[0][0] <= now_us:
            _, lease_id = heapq.heappop(self._expiries)
            lease = self._leases.get(lease_id)
            if lease is not None and lease.expires_us <= now_us:
                del self._leases[lease_id]
                yield lease_id, lease
