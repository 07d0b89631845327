"""What an operator looks at and corrects while the service runs: levels of limits, and leases.

Every correction is in the audit log before it is made. Levels of quotas are corrected until the
next start, which rebuilds them from the ledger.
"""

from __future__ import annotations

from tidegate.domain.claim import Claim
from tidegate.domain.decision import LimitState
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.limit import COHORT_FIELD, Capacity, Limit
from tidegate.errors import InvalidClaim, LeaseUnknown, NotFound
from tidegate.facades.checks import Checks
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.leases import HOLDER, Leases
from tidegate.facades.tenants import Tenants


class Operator:
    """Looks and corrects.

    A claim says where: what the limit is `per`, its tenant empty if none. A cohort is said by any
    of its tenants.
    """

    def __init__(
        self, gate: AdmissionGate, *, tenants: Tenants, leases: Leases, checks: Checks
    ) -> None:
        self._gate, self._tenants, self._leases, self._checks = gate, tenants, leases, checks

    async def peek(self, name: str, claim: Claim) -> tuple[Limit, LimitState | None]:
        """Return a limit, and how it stands at a scope; None where it is lifted.

        Raises:
            NotFound: there is no such limit.
            InvalidClaim: the claim does not say the limit's scope; naming the field.
            TenantUnknown: there is no such tenant.
        """
        if name not in self._gate.policy:
            raise NotFound(name, "limit")
        limit = self._gate.policy.limit_named(name)
        self.scope(name, claim)
        if "tenant" in limit.per or (COHORT_FIELD in limit.per and claim.tenant):
            await self._tenants.get(claim.tenant)
        states = {state.name: state for state in self._gate.limits(claim)}
        return limit, states.get(name)

    def scope(self, name: str, claim: Claim) -> list[str]:
        """Return the scope of a limit that a claim says. The limit must exist."""
        policy = self._gate.policy
        return list(policy.scope_of(policy.limit_named(name), claim))

    async def set_used(self, name: str, claim: Claim, units: int) -> None:
        """Let so many units count as used. See `peek` for what it raises."""
        await self._correct("limit.set", name, claim, units)

    async def reset(self, name: str, claim: Claim) -> None:
        """Let a limit count as untouched. See `peek` for what it raises."""
        await self._correct("limit.reset", name, claim, 0)

    async def drain(self, name: str, claim: Claim) -> None:
        """Let a limit count as spent. See `peek` for what it raises."""
        await self._correct("limit.drain", name, claim, None)

    def leases(self, *, tenant: str | None, holder: str | None, count: int) -> list[LeaseRecord]:
        """Return the oldest live leases of a tenant, a holder, or all."""
        return self._gate.leases(tenant=tenant, holder=holder)[:count]

    async def release(self, lease_id: str) -> None:
        """Give back a lease, whoever holds it: who renews it is told that it is lost.

        Raises:
            LeaseUnknown: there is no such live lease.
        """
        lease = self._gate.lease(lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id)
        tenant = lease.claim.tenant
        detail = {"lease": lease_id, "holder": lease.holder, "hold": dict(lease.claim.hold)}
        await self._tenants.note(tenant, "lease.release", **detail)
        if lease.holder == HOLDER:
            await self._leases.release(tenant, lease_id)
        elif not self._checks.release(tenant, lease_id, "cancelled"):
            self._gate.release_lease(lease_id, "cancelled")

    async def _correct(self, action: str, name: str, claim: Claim, units: int | None) -> None:
        limit, state = await self.peek(name, claim)
        if isinstance(limit, Capacity):
            allowed = "no capacity: what is held comes back when its leases are released"
            raise InvalidClaim("limit", name, allowed)
        if units is None:
            if state is None:
                raise InvalidClaim("limit", name, "a limit that is not lifted there")
            units = state.units
        await self._tenants.note(
            claim.tenant,
            action,
            limit=name,
            scope=self.scope(name, claim),
            units=units,
            used_before=state and state.units - state.remaining,
        )
        self._gate.set_used(name, claim, units)
