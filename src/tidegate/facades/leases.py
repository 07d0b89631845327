"""Claims over the wire: leases whose holder is elsewhere, and that survive a restart of ours.

Such a lease is written down before its holder hears of it. When a process starts it takes over
what is written down; what expired meanwhile is taken back first.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Mapping

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, Granted, LimitState
from tidegate.domain.lease import Lease, LeaseRecord
from tidegate.domain.plan import Plan
from tidegate.domain.usage import UsageEntry
from tidegate.errors import (
    AdmissionDenied,
    InvalidClaim,
    LeaseLost,
    LeaseUnknown,
)
from tidegate.facades.claiming import ClaimTerms, GrantedClaim, with_request
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.holding import wait_for_grant
from tidegate.facades.lease_book import LeaseBook
from tidegate.facades.settlements import Settlements, check_actual
from tidegate.facades.turn import HoldTerms
from tidegate.ports.clock import Clock
from tidegate.ports.lease_log import LeaseLog
from tidegate.ports.usage_ledger import UsageLedger

HOLDER = "http"
LEASES = "leases"
"""How the number of leases that a plan allows is called in a refusal."""

_log = logging.getLogger(__name__)


class Leases:
    """Grants claims of tenants, and keeps their leases through restarts.

    Args:
        claimable: Resources that tenants may claim; the service's own are not among them.
        interval_s: How often expired leases are looked for.
    """

    def __init__(
        self,
        gate: AdmissionGate,
        *,
        log: LeaseLog,
        ledger: UsageLedger,
        clock: Clock,
        claimable: frozenset[str],
        interval_s: float = 0.25,
    ) -> None:
        self._gate, self._book, self._ledger, self._clock = gate, LeaseBook(log), ledger, clock
        self._settlements = Settlements(ledger, clock)
        self._claimable = claimable
        self._interval_s = interval_s
        self._pending: Counter[str] = Counter()
        self._ticker: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over the leases of an earlier process, then look for expired ones regularly."""
        for record in await self._book.load():
            try:
                self._gate.adopt(record)
            except InvalidClaim as error:
                # A limit that is gone holds nothing; its lease has nothing to give back.
                _log.warning("lease %s is dropped: %s", record.id, error)
                await self._book.strike_off([record.id])
            else:
                self._book.add(record.claim.tenant, record.id)
        await self._reclaim()
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """Stop looking. Leases stay written down for the next start."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.gather(self._ticker, return_exceptions=True)
        await self._book.stop()

    @property
    def tenants(self) -> set[str]:
        """Who has leases that were claimed over the wire."""
        return self._book.tenants

    async def claim(self, claim: Claim, terms: ClaimTerms, plan: Plan) -> GrantedClaim:
        """Grant a tenant's claim and write its lease down.

        Besides what it names, the claim takes one `requests`, as every call does.

        Raises:
            AdmissionDenied: refused, or the wait was in vain; nothing was charged.
            InvalidClaim: naming the field.
            StoreUnavailable: the lease could not be written down, and was given back.
        """
        self.check(claim, plan)
        if not 0 < terms.lease_s <= plan.lease_max_s:
            raise InvalidClaim("lease_s", terms.lease_s, f"> 0 and <= {plan.lease_max_s}")
        self._check_room(claim, plan)
        granted = await self._grant(claim, terms)
        if not granted.repeated:
            await self._write_down(granted.lease)
        return GrantedClaim(
            lease=granted.lease,
            limits=self._gate.limits_touched(claim),
            repeated=granted.repeated,
        )

    def check(self, claim: Claim, plan: Plan) -> None:
        """Refuse what a tenant may not ask for.

        Raises:
            InvalidClaim: naming the field.
        """
        for field, amounts in (("take", claim.take), ("hold", claim.hold)):
            for resource in amounts:
                if resource not in self._claimable:
                    allowed = " | ".join(sorted(self._claimable)) or "nothing is claimable"
                    raise InvalidClaim(f"{field}.{resource}", resource, allowed)
        if not claim.take and not claim.hold:
            raise InvalidClaim("take", {}, "at least one resource in take or hold")
        if not 0 <= claim.priority <= plan.priority_max:
            raise InvalidClaim("priority", claim.priority, f"0..{plan.priority_max}")

    def explain(self, claim: Claim, plan: Plan) -> tuple[Denied | None, list[LimitState]]:
        """Say how a tenant's claim would be decided now, and how its limits stand.

        Raises:
            InvalidClaim: naming the field.
        """
        self.check(claim, plan)
        return self._gate.explain(with_request(claim)), self._gate.limits_touched(claim)

    async def renew(self, tenant: str, lease_id: str, lease_s: float, plan: Plan) -> int:
        """Move a lease's expiry; return it in microseconds since the epoch.

        Raises:
            LeaseUnknown: the tenant has no such live lease.
        """
        record = self._owned(tenant, lease_id)
        if not 0 < lease_s <= plan.lease_max_s:
            raise InvalidClaim("lease_s", lease_s, f"> 0 and <= {plan.lease_max_s}")
        try:
            expires_us = self._gate.renew(lease_id, lease_s=lease_s)
        except LeaseLost:
            raise LeaseUnknown(lease_id) from None
        await self._book.write(replace(record, expires_us=expires_us))
        return expires_us

    async def settle(self, tenant: str, lease_id: str, actual: Mapping[str, int]) -> bool:
        """Replace what a lease took by what was really used; False if that was done before.

        Raises:
            InvalidClaim: a resource that the claim did not take; naming the field.
            LeaseUnknown: the tenant has no such lease, or it has ended: its estimate stands.
            StoreUnavailable: it could not be written down; nothing was changed.
        """
        lease = self._gate.lease(lease_id) if lease_id in self._book.live(tenant) else None
        lease = lease or self._settlements.find(tenant, lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id)
        check_actual(lease.claim, actual, self._claimable)
        quotas = set(self._gate.quotas_taken(lease.claim))
        return await self._settlements.settle(lease, actual, quotas)

    async def release(self, tenant: str, lease_id: str) -> None:
        """Give a lease back. Doing it again changes nothing.

        Raises:
            LeaseUnknown: the tenant never had such a lease, or it ended long ago.
        """
        if self._book.had(tenant, lease_id):
            self._settlements.drop(tenant, lease_id)
            return
        self._owned(tenant, lease_id)
        self._gate.release_lease(lease_id)
        self._book.end(tenant, lease_id)
        await self._book.strike_off([lease_id])

    def of_tenant(self, tenant: str) -> list[LeaseRecord]:
        """Return the tenant's live leases that were claimed over the wire, oldest first."""
        return self._gate.leases(tenant=tenant, holder=HOLDER)

    async def release_all(self, tenant: str) -> None:
        """Give back everything a tenant holds: it is being removed."""
        self._settlements.forget(tenant)
        lease_ids = sorted(self._book.live(tenant))
        for lease_id in lease_ids:
            self._gate.release_lease(lease_id)
            self._book.end(tenant, lease_id)
        await self._book.strike_off(lease_ids)

    def _owned(self, tenant: str, lease_id: str) -> LeaseRecord:
        live = None
        if lease_id in self._book.live(tenant):
            live = self._gate.lease(lease_id)
        if live is None:
            raise LeaseUnknown(lease_id)
        return live.record()

    def _check_room(self, claim: Claim, plan: Plan) -> None:
        """Refuse one more lease than the plan allows, but not the retry of a claim with one."""
        live = self._book.live(claim.tenant)
        if len(live) + self._pending[claim.tenant] < plan.leases_max:
            return
        known = {record.claim.id for record in self.of_tenant(claim.tenant)}
        if claim.id is None or claim.id not in known:
            scope = (claim.tenant,)
            denied = Denied(reason="quota_exceeded", limit=LEASES, scope=scope)
            raise AdmissionDenied(self._gate.count(denied))

    async def _grant(self, claim: Claim, terms: ClaimTerms) -> Granted:
        hold = HoldTerms(
            timeout_s=terms.timeout_s,
            lease_s=terms.lease_s,
            capacities_only=False,
            holder=HOLDER,
        )
        self._pending[claim.tenant] += 1
        try:
            return await wait_for_grant(self._gate, with_request(claim), hold)
        finally:
            self._pending[claim.tenant] -= 1
            if not self._pending[claim.tenant]:
                del self._pending[claim.tenant]

    async def _write_down(self, lease: Lease) -> None:
        """Make the grant durable, or undo it.

        What it took is written first: killed in between, we count too much rather than forget.
        """
        tenant = lease.claim.tenant
        lives_on = bool(lease.claim.hold) or lease.claim.id is not None
        # What has nothing to give back has ended, which its holder need not know.
        (self._book.add if lives_on else self._book.end)(tenant, lease.id)
        try:
            await self._write_usage(lease)
            # It may have been renewed, given back or reclaimed while that was written.
            live = self._gate.lease(lease.id)
            if lives_on and live is not None:
                await self._book.write(live.record())
            elif not lives_on:
                self._settlements.keep(lease)
        except BaseException:
            self._gate.void_lease(lease)
            self._book.give_up(tenant, lease.id)
            raise

    async def _write_usage(self, lease: Lease) -> None:
        taken = self._gate.quotas_taken(lease.claim)
        if taken:
            await self._ledger.record(
                UsageEntry(
                    tenant=lease.claim.tenant,
                    source="claim",
                    id=lease.id,
                    at_us=self._clock.now_us(),
                    outcome="success",
                    taken=taken,
                )
            )

    async def _reclaim(self) -> None:
        expired = [record for record in self._gate.reclaim() if record.holder == HOLDER]
        for record in expired:
            self._book.end(record.claim.tenant, record.id)
            _log.info("lease %s of %s expired", record.id, record.claim.tenant)
        await self._book.strike_off([record.id for record in expired])

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(self._interval_s)
            try:
                await self._reclaim()
            except Exception:
                # Without the look no lease would ever expire again, whatever broke this one.
                _log.exception("expired leases could not be struck off; the next start does it")
