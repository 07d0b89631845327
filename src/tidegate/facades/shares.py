"""What tenants hold of the capacities they share, while somebody waits for one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable

from tidegate.domain.ask import Cell
from tidegate.domain.claim import Claim
from tidegate.domain.fairness import dominant_share
from tidegate.domain.lease import Lease
from tidegate.domain.limit import Capacity
from tidegate.domain.policy import Policy


class Shares:
    """Counted from the live leases when first asked, then kept up to date; not locked.

    Args:
        policy: Returns the limits in force.
        leases: Returns every live lease.
    """

    def __init__(self, policy: Callable[[], Policy], leases: Callable[[], Iterable[Lease]]) -> None:
        self._policy, self._leases = policy, leases
        self._held: dict[str, dict[str, int]] | None = None
        self._in_partitions: Counter[Cell] = Counter()

    def weight(self, tenant: str) -> int:
        """Return the weight of a tenant; 1 unless the limits say otherwise."""
        return self._policy().weights.get(tenant, 1)

    def dominant(self, tenant: str) -> float:
        """Return the tenant's largest share of any capacity that tenants share."""
        held = self._counted().get(tenant)
        if not held:
            return 0.0
        policy = self._policy()
        ceilings = {name: policy.shared_units(name, tenant) for name in held}
        return dominant_share(held, ceilings)

    def lane(self, claim: Claim, cell: Cell) -> str:
        """Return with whom a claim waits at a cell: its tenant's, in the same partition."""
        policy = self._policy()
        limit = policy.limit_named(cell.limit) if cell.limit in policy else None
        if isinstance(limit, Capacity) and limit.partitions:
            return f"{claim.tenant} {policy.scope_of(limit, claim)[0]}"
        return claim.tenant

    def borrows(self, claim: Claim, cell: Cell) -> bool:
        """Return whether a claim would use more of a capacity than its tenant's or partition's."""
        limit = self._policy().limit_named(cell.limit)
        if isinstance(limit, Capacity) and limit.partitions:
            self._counted()
            scope = self._policy().scope_of(limit, claim)
            would_hold = self._in_partitions[Cell(limit.name, scope)] + claim.hold[limit.resource]
            return would_hold > limit.share(scope[0])
        if not isinstance(limit, Capacity) or not limit.is_shared or limit.per != ("tenant",):
            return False
        limit = self._policy().limit(cell.limit, (claim.tenant,))
        assert isinstance(limit, Capacity)
        own = self._counted().get(claim.tenant, {}).get(cell.limit, 0)
        return own + claim.hold.get(limit.resource, 0) > limit.effective

    def add(self, lease: Lease) -> None:
        """Count a grant."""
        self._count(lease, 1)

    def remove(self, lease: Lease) -> None:
        """Count a lease no more."""
        self._count(lease, -1)

    def forget(self) -> None:
        """Count anew when next asked: leases expired, or nobody waits any more."""
        self._held = None

    def _counted(self) -> dict[str, dict[str, int]]:
        if self._held is None:
            self._held = {}
            self._in_partitions.clear()
            for lease in self._leases():
                self._count(lease, 1)
        return self._held

    def _count(self, lease: Lease, sign: int) -> None:
        if self._held is None:
            return
        policy = self._policy()
        held = self._held.setdefault(lease.claim.tenant, {})
        for resource, units in lease.claim.hold.items():
            for limit in policy.limits_on(resource):
                held[limit.name] = max(0, held.get(limit.name, 0) + sign * units)
                if isinstance(limit, Capacity) and limit.partitions:
                    scope = policy.scope_of(limit, lease.claim, lease.cohort)
                    cell = Cell(limit.name, scope)
                    self._in_partitions[cell] = max(0, self._in_partitions[cell] + sign * units)
