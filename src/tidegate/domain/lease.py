"""A lease is granted amounts with a holder, an expiry and a fencing token."""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from tidegate.domain.claim import Claim

Outcome = Literal["success", "failed", "timeout", "cancelled"]


class LeaseOwner(Protocol):
    """Whoever granted the lease and takes it back."""

    def release_lease(self, lease_id: str, outcome: Outcome) -> bool:
        """Give the units back; False if they were given back before."""
        ...


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A lease as it is written down to survive a restart. `holder` says who took it."""

    id: str
    claim: Claim
    fencing_token: int
    expires_us: int
    holder: str = ""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """What a grant gives. Releasing twice gives back once.

    `fencing_token` only grows: a store that remembers the highest one it saw can refuse a holder
    that lost its lease. `expires_us` is when the units go back by themselves if nobody renews.

    Source: Kleppmann, "How to do distributed locking", 2016, for the token.
    """

    id: str
    claim: Claim
    fencing_token: int
    expires_us: int
    owner: LeaseOwner

    def release(self, outcome: Outcome = "success") -> bool:
        """Give the held units back; False if they were given back or reclaimed before."""
        return self.owner.release_lease(self.id, outcome)
