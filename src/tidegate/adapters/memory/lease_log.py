"""Leases within one process: nothing outlives it, so this is for tests and embedding."""

from __future__ import annotations

from tidegate.domain.lease import LeaseRecord
from tidegate.errors import StoreUnavailable


class MemoryLeaseLog:
    """`LeaseLog` that a restart empties."""

    def __init__(self, *, leases_max: int = 1_000_000) -> None:
        self._leases_max = leases_max
        self._leases: dict[str, LeaseRecord] = {}

    async def put(self, record: LeaseRecord) -> None:
        """Write a lease, or its new expiry.

        Raises:
            StoreUnavailable: `leases_max` others are kept already.
        """
        if record.id not in self._leases and len(self._leases) >= self._leases_max:
            raise StoreUnavailable(f"{self._leases_max} leases are kept already")
        self._leases[record.id] = record

    async def forget(self, lease_ids: list[str]) -> None:
        """Remove leases that ended. Unknown ids are ignored."""
        for lease_id in lease_ids:
            self._leases.pop(lease_id, None)

    async def load(self) -> list[LeaseRecord]:
        """Return every lease that was not forgotten, also expired ones."""
        return list(self._leases.values())
