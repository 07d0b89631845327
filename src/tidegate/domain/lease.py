"""A lease is granted amounts with a holder, an expiry and a fencing token."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, Protocol

import msgspec

from tidegate.domain.claim import Claim
from tidegate.errors import InvalidClaim

LEASE_S: Final = 30.0
LEASE_MAX_S: Final = 86_400.0

Outcome = Literal["success", "failed", "timeout", "cancelled"]


class LeaseOwner(Protocol):
    """Whoever granted the lease and takes it back."""

    @property
    def lease_prefix(self) -> str:
        """What the ids of its leases begin with."""
        ...

    def release(self, lease: Lease, outcome: Outcome = "success") -> bool:
        """Give the units back; False if they were given back before."""
        ...

    def settle(self, lease: Lease, actual: Mapping[str, int]) -> bool:
        """Replace what was taken by what was really used; False if that was done before."""
        ...


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as it is written down to survive a restart. `holder` says who took it.

    `granted_us` is 0 where an older version wrote it down, which did not say.
    """

    id: str
    claim: Claim
    fencing_token: int
    expires_us: int
    holder: str = ""
    granted_us: int = 0


class Lease(msgspec.Struct, gc=False, eq=False):
    """What a grant gives. Releasing twice gives back once. Read it; its owner alone writes it.

    `fencing_token` only grows: a store that remembers the highest one it saw can refuse a holder
    that lost its lease. `expires_us` is when the units go back by themselves if nobody renews.
    `rows` and `granted_id` are what the owner needs to take them back, and `cohort`, where limits
    are per cohort, is which it took from: the tenant may be in another one by now.

    Not tracked by the garbage collector, for speed: whoever drops a gate that has live leases
    without closing it keeps them in memory.

    Source: Kleppmann, "How to do distributed locking", 2016, for the token.
    """

    fencing_token: int
    claim: Claim
    owner: LeaseOwner
    granted_us: int
    lease_us: int
    holder: str = ""
    rows: Any = None
    granted_id: Any = None
    renewed_us: int = 0
    settled: bool = False
    known_as: str = ""
    cohort: str = ""

    @property
    def id(self) -> str:
        """The name of the lease, in all processes."""
        return self.known_as or f"{self.owner.lease_prefix}{self.fencing_token:x}"

    @property
    def expires_us(self) -> int:
        """When the lease ends by itself, in microseconds since the epoch."""
        return (self.renewed_us or self.granted_us) + self.lease_us

    @property
    def can_be_lost(self) -> bool:
        """Whether it holds anything that comes back by itself, or an id that others may end."""
        return bool(self.rows) or self.claim.id is not None

    def release(self, outcome: Outcome = "success") -> bool:
        """Give the held units back; False if they were given back or reclaimed before."""
        return self.owner.release(self, outcome)

    def settle(self, actual: Mapping[str, int]) -> bool:
        """Replace the amounts taken by those really used; False if that was done before.

        What was estimated too high comes back, also when the lease has ended meanwhile; what was
        too low is charged, even above the limit, and later claims wait for it. Without a word the
        estimate stands.

        Args:
            actual: Units by resource that the claim took; a resource left out keeps its estimate.

        Raises:
            InvalidClaim: a resource that the claim did not take, or no integer >= 0.
        """
        return self.owner.settle(self, actual)

    def record(self) -> LeaseRecord:
        """Return the lease as it is shown and written down."""
        return LeaseRecord(
            id=self.id,
            claim=self.claim,
            fencing_token=self.fencing_token,
            expires_us=self.expires_us,
            holder=self.holder,
            granted_us=self.granted_us,
        )


def lease_us_of(lease_s: float) -> int:
    """Return how long a lease lasts in microseconds. Raises InvalidClaim."""
    if not 1e-6 <= lease_s <= LEASE_MAX_S:
        raise InvalidClaim("lease_s", lease_s, f"> 0 and <= {LEASE_MAX_S:.0f} seconds")
    return round(lease_s * 1e6)
