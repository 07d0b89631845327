"""Where levels and leases live. The rule is `domain/admission.decide`; stores make it atomic."""

from __future__ import annotations

from typing import Protocol

import msgspec

from tidegate.domain.claim import Claim
from tidegate.domain.lease import LeaseRecord
from tidegate.domain.policy import Ask, Cell


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The claim is in. `repeated` is True when the claim's id had been granted before."""

    lease_id: str
    fencing_token: int
    expires_us: int
    repeated: bool = False


class Refusal(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Row `row` of the ask refused. `wait_us` is exact, or a hint where `timed` is False."""

    row: int
    remaining: int
    wait_us: int | None
    timed: bool


class AdmissionStore(Protocol):
    """Atomic for everyone who shares the store. `now_us` is for the conformance suite alone.

    Each call first takes back what has expired. In production `now_us` is None and the store
    uses its own clock.
    """

    def admit(self, ask: Ask, *, now_us: int | None = None) -> Grant | Refusal:
        """Apply `decide` to the ask's cells and keep the outcome, in one step.

        Raises:
            ClaimIdReused: the claim's id was granted for another claim.
            StoreUnavailable: outcome unknown.
        """
        ...

    def renew(self, lease_id: str, *, lease_us: int, now_us: int | None = None) -> int:
        """Move a lease's expiry to `lease_us` from now; return the new expiry.

        Raises:
            LeaseLost: it was released, reclaimed, or never there.
        """
        ...

    def release(
        self, lease_id: str, *, void: bool = False, now_us: int | None = None
    ) -> tuple[Cell, ...] | None:
        """Give back what the lease holds; return the cells that became freer.

        None if the lease was not live: released before, or reclaimed. `void`: the holder never
        heard of the grant, so the claim's id is free again.

        Raises:
            StoreUnavailable: outcome unknown; the lease ends by its expiry.
        """
        ...

    def reclaim(self, *, now_us: int | None = None) -> list[LeaseRecord]:
        """Take back every lease that has expired, and return them, once each."""
        ...

    def adopt(self, record: LeaseRecord, ask: Ask) -> None:
        """Hold what a lease of an earlier process holds, even above the ceiling. Idempotent."""
        ...


class AdmissionInspect(Protocol):
    """Looking into a store and correcting it, for operators."""

    def explain(self, ask: Ask, *, now_us: int | None = None) -> Refusal | None:
        """Say how the ask would be decided now, changing nothing. None: it would be granted."""
        ...

    def look(self, ask: Ask, *, now_us: int | None = None) -> list[tuple[int, int | None]]:
        """Return, for each of the ask's cells, units remaining and microseconds until it is whole.

        Nothing changes. The second is None for capacities.
        """
        ...

    def set_used(self, ask: Ask, *, now_us: int | None = None) -> None:
        """Set each of the ask's cells to exactly the cost it names."""
        ...

    def granted_before(self, claim: Claim) -> Grant | None:
        """Return the grant that the claim's id has, if it has one.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        ...

    def leases_active(self) -> int:
        """Return how many leases are live, quickly."""
        ...

    def lease(self, lease_id: str) -> LeaseRecord | None:
        """Return one live lease."""
        ...

    def leases(self, *, tenant: str | None = None) -> list[LeaseRecord]:
        """Return live leases, of one tenant or of all, oldest first."""
        ...
