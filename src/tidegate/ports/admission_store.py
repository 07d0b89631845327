"""Where levels and leases live. The rule is `domain/admission.decide`; stores make it atomic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted, LimitState
from tidegate.domain.lease import LEASE_S, Lease, LeaseOwner, LeaseRecord, Outcome
from tidegate.domain.policy import Policy


class AdmissionStore(LeaseOwner, Protocol):
    """Decides and keeps leases within one process, at once. Safe for threads and tasks alike.

    Each call first does what time has brought about: windows turn, expired leases are taken back.
    `on_freed`, while it is set, hears of every lease that gave something back or was settled;
    `on_released` before it of every one that was released, how it ended, and the store's time.
    """

    on_freed: Callable[[Lease], None] | None
    on_released: Callable[[Lease, Outcome, int], None] | None
    detour: bool
    slowly: Callable[[Claim, float, str, bool], Decision] | None
    denied: dict[str, int]

    def try_admit(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide by `admit` and count denials.

        Or by `slowly`, if a report is asked for, or while there is a `detour` around the store.
        """
        ...

    async def admit_soon(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Do what `try_admit` does, for tasks."""
        ...

    def bind(self, policy: Policy) -> None:
        """Put limits in force. What is held and what was spent stays, counted in units."""
        ...

    def admit(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Grant everything the claim asks for, or nothing, in one step.

        Raises:
            InvalidClaim: the claim names what no limit knows, or amounts no limit can grant.
            ClaimIdReused: the claim's id was granted for another claim.
        """
        ...

    def renew(self, lease: Lease, lease_us: int) -> int:
        """Move a lease's expiry to `lease_us` from now; return the new expiry.

        Raises:
            LeaseLost: it was released, reclaimed, or never there.
        """
        ...

    def void(self, lease: Lease) -> bool:
        """Take back a grant whose holder never heard of it, with all it took; free its id.

        False if it is not live, or if a retry has heard of it: then it is the retry's.
        """
        ...

    def reclaim(self) -> list[LeaseRecord]:
        """Take back every lease that has expired, and return them, once each."""
        ...

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, even above the ceiling. Idempotent.

        Raises:
            InvalidClaim: a resource there is no limit on any more, or a scope it says nothing of.
        """
        ...


class AdmissionInspect(Protocol):
    """Looking into a store and correcting it, for operators."""

    def explain(self, claim: Claim) -> Denied | None:
        """Say how the claim would be decided now, changing nothing. None: it would be granted.

        Raises:
            InvalidClaim: the claim names what no limit knows, or amounts no limit can grant.
        """
        ...

    def limits(self, claim: Claim, *, every: bool) -> list[LimitState]:
        """Return how limits stand: those the claim touches, or every one it says the scope of."""
        ...

    def set_used(self, limit: str, claim: Claim, units: int) -> None:
        """Set what one limit has used, at the scope the claim's attributes name.

        Raises:
            InvalidClaim: there is no such limit, or the claim does not say its scope.
        """
        ...

    def granted_before(self, claim: Claim) -> Granted | None:
        """Return the grant that the claim's id has, if it has one.

        Raises:
            ClaimIdReused: the id was granted for another claim.
        """
        ...

    def leases_active(self) -> int:
        """Return how many leases are live, quickly."""
        ...

    def lease(self, lease_id: str) -> Lease | None:
        """Return one live lease."""
        ...

    def leases(self, *, tenant: str | None = None, holder: str | None = None) -> list[Lease]:
        """Return live leases, of one tenant or holder or of all, oldest first."""
        ...

    def counted(self) -> Mapping[str, int]:
        """Return what was counted since the start.

        `granted`; `settled`; `overflowed:` and `shadowed:` with the name of a limit; `released:`
        with the outcome.
        """
        ...
