"""Leases that must outlive the process that granted them."""

from __future__ import annotations

from typing import Protocol

from tidegate.domain.lease import LeaseRecord


class LeaseLog(Protocol):
    """Durable when a call returns."""

    async def put(self, record: LeaseRecord) -> None:
        """Write a lease, or its new expiry."""
        ...

    async def forget(self, lease_ids: list[str]) -> None:
        """Remove leases that ended. Unknown ids are ignored."""
        ...

    async def load(self) -> list[LeaseRecord]:
        """Return every lease that was not forgotten, also expired ones."""
        ...
