"""Waiting for claims and holding them, the same over every store."""

from __future__ import annotations

from tidegate.domain.claim import Claim
from tidegate.domain.lease import LEASE_S
from tidegate.facades.holding import AsyncHold, Holder, SyncHold
from tidegate.facades.turn import HoldTerms


class Guards(Holder):
    """The part of a gate that waits."""

    def hold(
        self,
        claim: Claim,
        *,
        timeout_s: float | None = None,
        lease_s: float = LEASE_S,
        capacities_only: bool = False,
        holder: str = "",
    ) -> AsyncHold:
        """Wait for the claim, hold it while the body runs, and give it back however that ends.

        Args:
            claim: What the work needs.
            timeout_s: Longest wait; None waits as long as it takes, 0 not at all.
            lease_s: The lease is renewed at a third of this while the body runs.
            capacities_only: Be refused by rates and quotas at once; wait only for capacities.
            holder: Who takes it, for listings.

        Raises:
            AdmissionDenied: on entry; `denied.reason` is `timeout` if the wait was in vain.
            LeaseLost: the lease could not be renewed, or a shared store may be about to take it
                back because it has not heard of this process; the body was cancelled.
        """
        terms = HoldTerms(
            timeout_s=timeout_s, lease_s=lease_s, capacities_only=capacities_only, holder=holder
        )
        return AsyncHold(self, claim, terms)

    def hold_sync(
        self,
        claim: Claim,
        *,
        timeout_s: float | None = None,
        lease_s: float = LEASE_S,
        capacities_only: bool = False,
        holder: str = "",
    ) -> SyncHold:
        """Do what `hold` does, for threads: blocks the calling thread while it waits.

        A body whose lease is lost is not interrupted; leaving it raises LeaseLost.
        """
        terms = HoldTerms(
            timeout_s=timeout_s, lease_s=lease_s, capacities_only=capacities_only, holder=holder
        )
        return SyncHold(self, claim, terms)
