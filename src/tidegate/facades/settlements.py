"""What claims took, corrected after the work, in the limits and in the ledger.

The ledger hears of it first, by a row of its own that a lease can have only once, also across
restarts. Claims that hold nothing have ended when they are granted; they can be settled for as long
as their lease would last, in this process.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Mapping
from weakref import WeakValueDictionary

from tidegate.domain.claim import Claim
from tidegate.domain.lease import Lease
from tidegate.domain.usage import UsageEntry
from tidegate.errors import InvalidClaim
from tidegate.ports.clock import Clock
from tidegate.ports.usage_ledger import UsageLedger

SOURCE = "settle"
KEPT_MAX = 100_000
TENANT_KEPT_MAX = 1_000
"""Ended leases of one tenant that can be settled; the estimates of older ones stand."""


class Settlements:
    """Settles leases, once each, and keeps those for it that have nothing to give back.

    Single event loop.
    """

    def __init__(self, ledger: UsageLedger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._kept: dict[str, OrderedDict[str, Lease]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._count = 0
        self._expiries: list[tuple[int, str, str]] = []

    def keep(self, lease: Lease) -> None:
        """Keep a lease that has ended, until it would have expired."""
        self._sweep()
        tenant = lease.claim.tenant
        kept = self._kept.setdefault(tenant, OrderedDict())
        if len(kept) >= TENANT_KEPT_MAX or self._count >= KEPT_MAX:
            # Who has many makes room among its own: nobody pushes out those of others.
            self.drop(tenant, next(iter(kept), ""))
        if self._count < KEPT_MAX:
            self._kept.setdefault(tenant, kept)[lease.id] = lease
            self._count += 1
            heapq.heappush(self._expiries, (lease.expires_us, tenant, lease.id))

    def find(self, tenant: str, lease_id: str) -> Lease | None:
        """Return an ended lease of a tenant that can still be settled, or was."""
        self._sweep()
        return self._kept.get(tenant, OrderedDict()).get(lease_id)

    def drop(self, tenant: str, lease_id: str) -> None:
        """Keep a lease no longer."""
        kept = self._kept.get(tenant, OrderedDict())
        if kept.pop(lease_id, None) is not None:
            self._count -= 1
        if not kept:
            self._kept.pop(tenant, None)

    def forget(self, tenant: str) -> None:
        """Keep nothing of a tenant that is removed."""
        self._count -= len(self._kept.pop(tenant, ()))

    async def settle(self, lease: Lease, actual: Mapping[str, int], quotas: set[str]) -> bool:
        """Replace what a lease took by what was really used; False if that was done before.

        Args:
            lease: Live, or ended.
            actual: Units by resource that the claim took, checked by `check`.
            quotas: Those of them that are quotas: the ledger rebuilds them.

        Raises:
            StoreUnavailable: try again; the limits are as they were.
        """
        async with self._locks.setdefault(lease.id, asyncio.Lock()):
            return False if lease.settled else await self._settle(lease, actual, quotas)

    async def _settle(self, lease: Lease, actual: Mapping[str, int], quotas: set[str]) -> bool:
        claim = lease.claim
        change = {name: actual[name] - claim.take[name] for name in actual if name in quotas}
        # In the window that it was taken from; but what is more than was taken is charged now.
        is_more = any(units > 0 for units in change.values())
        at_us = self._clock.now_us() if is_more else lease.granted_us
        first = await self._ledger.record(_row(lease, at_us, change))
        return first and lease.settle(actual)

    def _sweep(self) -> None:
        now_us = self._clock.now_us()
        while self._expiries and self._expiries[0][0] <= now_us:
            _, tenant, lease_id = heapq.heappop(self._expiries)
            self.drop(tenant, lease_id)
        if len(self._expiries) > 2 * self._count + TENANT_KEPT_MAX:
            self._expiries = [
                (lease.expires_us, tenant, lease.id)
                for tenant, kept in self._kept.items()
                for lease in kept.values()
            ]
            heapq.heapify(self._expiries)


def check_actual(claim: Claim, actual: Mapping[str, int], claimable: frozenset[str]) -> None:
    """Refuse to settle what the tenant did not ask for. Raises InvalidClaim naming the field."""
    settled = sorted(claimable.intersection(claim.take))
    for name in actual:
        if name not in settled:
            raise InvalidClaim(f"actual.{name}", name, " | ".join(settled) or "nothing was taken")


def _row(lease: Lease, at_us: int, taken: dict[str, int]) -> UsageEntry:
    return UsageEntry(
        tenant=lease.claim.tenant,
        source=SOURCE,
        id=lease.id,
        at_us=at_us,
        outcome="success",
        taken=taken,
    )
