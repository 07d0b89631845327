"""Which leases were claimed over the wire: live ones also on disk, ended ones for a while.

A lease is written down before its holder hears of it, and struck off when it has ended. What is
given up half-way is struck off by a task of the book, so that no cancelled caller leaves a lease
on disk that nobody knows of.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

from tidegate.domain.lease import LeaseRecord
from tidegate.errors import StoreUnavailable
from tidegate.ports.lease_log import LeaseLog

ENDED_MAX = 10_000
"""Ended leases that are remembered, so that a repeated release is not an error."""

_log = logging.getLogger(__name__)


class LeaseBook:
    """Every lease by its tenant. Single event loop."""

    def __init__(self, log: LeaseLog) -> None:
        self._log = log
        self._live: dict[str, set[str]] = {}
        self._ended: OrderedDict[str, str] = OrderedDict()
        self._striking: set[asyncio.Task[None]] = set()

    @property
    def tenants(self) -> set[str]:
        """Who has live leases."""
        return set(self._live)

    def live(self, tenant: str) -> set[str]:
        """Return the ids of a tenant's live leases."""
        return self._live.get(tenant, set())

    def had(self, tenant: str, lease_id: str) -> bool:
        """Say whether the tenant had this lease, and it has ended."""
        return self._ended.get(lease_id) == tenant

    async def load(self) -> list[LeaseRecord]:
        """Return what an earlier process wrote down. Raises StoreUnavailable."""
        return await self._log.load()

    def add(self, tenant: str, lease_id: str) -> None:
        """Note a live lease."""
        self._live.setdefault(tenant, set()).add(lease_id)

    async def write(self, record: LeaseRecord) -> None:
        """Write a lease down, or down anew. `add` it before, since it may end meanwhile.

        Raises:
            StoreUnavailable: outcome unknown.
        """
        await self._log.put(record)
        if self.had(record.claim.tenant, record.id):
            await self.strike_off([record.id])

    def end(self, tenant: str, lease_id: str) -> None:
        """Note that a lease has ended. It is still on disk."""
        live = self.live(tenant)
        live.discard(lease_id)
        if not live:
            self._live.pop(tenant, None)
        self._ended[lease_id] = tenant
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)

    async def strike_off(self, lease_ids: list[str]) -> None:
        """Take ended leases off the disk. Raises StoreUnavailable."""
        if lease_ids:
            await self._log.forget(lease_ids)

    def give_up(self, tenant: str, lease_id: str) -> None:
        """End a lease that may be on disk, or be about to be, and take it off in the background."""
        self.end(tenant, lease_id)
        task = asyncio.create_task(self._strike_off_later(lease_id))
        self._striking.add(task)
        task.add_done_callback(self._striking.discard)

    async def stop(self) -> None:
        """Wait for what is still to be taken off the disk."""
        if self._striking:
            await asyncio.wait(self._striking)

    async def _strike_off_later(self, lease_id: str) -> None:
        try:
            await self._log.forget([lease_id])
        except StoreUnavailable:
            _log.exception("lease %s is void; a start before its end would hold it again", lease_id)
