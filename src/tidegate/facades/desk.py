"""What stands between the gate, its queue and the store: each decision, checked, timed, counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection

from tidegate.domain.ask import Cell
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import Lease
from tidegate.domain.limit import Quota
from tidegate.domain.policy import Policy
from tidegate.ports.admission_store import AdmissionInspect, AdmissionStore
from tidegate.ports.clock import Clock

Precheck = Callable[[Claim], Denied | None]
"""What the gate asks before any limit: is the tenant suspended, is memory short, and so on."""

Stopwatch = Callable[[Callable[[], Decision]], Decision]
"""Calls what it is given and returns its answer, noting how long that took."""

Freed = Callable[[Lease, list[str]], None]


class Desk:
    """Decides claims under the policy of the moment.

    Args:
        policy: The limits in force at first; the gate puts others in their place.
        detour: Let every decision pass by here.

    `freed` is told of leases that gave something back, with the names of the limits concerned.
    """

    def __init__(
        self,
        policy: Policy,
        store: AdmissionStore,
        inspect: AdmissionInspect,
        clock: Clock,
        *,
        precheck: Precheck | None,
        stopwatch: Stopwatch | None,
        detour: bool = False,
    ) -> None:
        self.policy = policy
        self._store, self._inspect, self._clock = store, inspect, clock
        self._precheck, self._stopwatch = precheck, stopwatch
        self.freed: Freed = _nobody
        self._detours = detour or precheck is not None or stopwatch is not None
        self.denied: Counter[str] = Counter()
        store.detour = self._detours

    def decide(self, claim: Claim, lease_us: int, holder: str) -> Decision:
        """Decide a claim now. Raises what the store raises."""
        if self._stopwatch is None:
            return self._store.admit(claim, lease_us, holder)
        return self._stopwatch(lambda: self._store.admit(claim, lease_us, holder))

    def precheck(self, claim: Claim) -> Denied | None:
        """Return why the gate is closed for the claim before any limit is asked, if it is."""
        return None if self._precheck is None else self._precheck(claim)

    def cells(self, claim: Claim) -> Collection[Cell]:
        """Return the cells a claim touches. Raises InvalidClaim."""
        return self.policy.ask(claim, lease_us=0, now_us=self._clock.now_us()).cells

    def granted_before(self, claim: Claim) -> Granted | None:
        """Return the grant that the claim's id has, if it has one. Raises ClaimIdReused."""
        return None if claim.id is None else self._inspect.granted_before(claim)

    def explain(self, claim: Claim) -> Denied | None:
        """Say how the claim would be decided now, limits alone considered."""
        return self._inspect.explain(claim)

    def void(self, lease: Lease) -> None:
        """Take back a grant that nobody heard of."""
        self._store.void(lease)

    def attend(self, waiting: bool) -> None:
        """Hear of everything that is freed from now on, and decide nothing past those who wait."""
        self._store.detour = waiting or self._detours
        self._store.on_freed = self._on_freed if waiting else None

    def count(self, denied: Denied) -> Denied:
        """Count a denial by its reason."""
        self.denied[denied.reason] += 1
        return denied

    def _on_freed(self, lease: Lease) -> None:
        claim = lease.claim
        limits = [
            limit.name
            for resource in (*claim.hold, *claim.take)
            for limit in self.policy.limits_on(resource)
        ]
        self.freed(lease, limits)


def _nobody(_: Lease, __: list[str]) -> None:
    """Nobody waits."""


def taken_quotas(policy: Policy, claim: Claim) -> dict[str, int]:
    """Return the quota resources a claim takes, for the ledger that rebuilds them."""
    quotas = {limit.resource for limit in policy.limits if isinstance(limit, Quota)}
    return {name: units for name, units in claim.take.items() if name in quotas}
