"""The front door: one call decides, in one step, whether a claim may have all it needs."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, LimitState
from tidegate.domain.lease import LEASE_S, Lease, LeaseRecord, Outcome, lease_us_of
from tidegate.domain.policy import Policy
from tidegate.errors import LeaseLost, LeaseUnknown
from tidegate.facades.desk import Desk, Precheck, Stopwatch, taken_quotas
from tidegate.facades.guards import Guards
from tidegate.facades.holding import Renewals
from tidegate.facades.limiter import Limiters
from tidegate.facades.near import NearEvents, ThenTell
from tidegate.facades.shares import Shares
from tidegate.facades.turn import HoldTerms, Turn
from tidegate.facades.waiting import WaitQueue
from tidegate.ports.admission_store import AdmissionInspect, AdmissionStore
from tidegate.ports.clock import Clock
from tidegate.ports.rate_store import RateStore

WAITERS_MAX = 1_000

Released = Callable[[Lease, Outcome, int], None]
"""Hears a lease that was released, how its work ended, and the time in microseconds."""


class AdmissionGate(Guards, Limiters):
    """Decides claims against a policy, with a store that makes each decision one step.

    Safe for threads and for tasks of any number of event loops.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        store: AdmissionStore,
        inspect: AdmissionInspect,
        rates: RateStore,
        clock: Clock,
        precheck: Precheck | None = None,
        waiters_max: int = WAITERS_MAX,
        stopwatch: Stopwatch | None = None,
        near: NearEvents | None = None,
    ) -> None:
        self._store, self._inspect, self._clock = store, inspect, clock
        self._rates, self._told = rates, None if near is None else near.tell
        self._desk = Desk(
            policy,
            store,
            inspect,
            clock,
            precheck=precheck,
            stopwatch=stopwatch,
            detour=near is not None,
        )
        shares = Shares(lambda: self._desk.policy, inspect.leases)
        lock = None if near is None else ThenTell(near)
        self._queue = WaitQueue(self._desk, shares, waiters_max=waiters_max, lock=lock)
        self._desk.freed = self._queue.released
        self._renewals = Renewals(self._renew_lease, elapsed_s=self.elapsed_s)
        store.slowly = self._admit_slowly
        # One frame less: the store's own method is asked, and comes back here when it has to.
        self.try_admit = store.try_admit  # type: ignore[method-assign]
        self.admit = store.admit_soon  # type: ignore[method-assign]
        self._changing = threading.Lock()
        self._listeners: tuple[Released, ...] = ()

    @property
    def policy(self) -> Policy:
        """The limits in force."""
        return self._desk.policy

    @property
    def queue_depth(self) -> int:
        """Claims that wait now."""
        return len(self._queue)

    @property
    def decisions(self) -> Counter[str]:
        """How claims were decided since the start: `granted`, or the reason of the denial."""
        counted = self._desk.denied + Counter(self._store.denied)
        counted["granted"] += self._inspect.counted()["granted"]
        return +counted

    @property
    def releases(self) -> Counter[str]:
        """How work under leases ended since the start, by outcome."""
        counted = self.counted.items()
        return +Counter({n[9:]: count for n, count in counted if n.startswith("released:")})

    @property
    def counted(self) -> Mapping[str, int]:
        """What the store counted besides: see `AdmissionInspect.counted`."""
        return self._inspect.counted()

    def set_policy(self, policy: Policy) -> None:
        """Swap the limits. What is held stays held; waiting claims are tried again."""
        self.change_policy(lambda _: policy)

    def change_policy(self, change: Callable[[Policy], Policy]) -> None:
        """Swap the limits for what `change` makes of those in force; no other swap is lost."""
        with self._changing:
            if (policy := change(self.policy)) is self.policy:
                return
            self._desk.policy = policy
            self._store.bind(policy)
        self._queue.serve_all()

    def watch_releases(self, heard: Released) -> Callable[[], None]:
        """Tell `heard` of every lease that is released, in its thread; return what ends that."""
        self._listen((*self._listeners, heard))
        return lambda: self._listen(tuple(each for each in self._listeners if each != heard))

    async def admit(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, in one round trip to the store at most. See `try_admit`."""
        return self.try_admit(claim, lease_s, holder, report)

    def admit_sync(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Do what `admit` does, for threads."""
        return self.try_admit(claim, lease_s, holder, report)

    def try_admit(
        self, claim: Claim, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, without waiting.

        Args:
            claim: What the work needs.
            lease_s: Seconds after which held units come back unless renewed, up to a day.
            holder: Who takes it, for listings.
            report: Let the decision say how each limit of the claim stands.

        Raises:
            InvalidClaim: the claim names what no limit knows, or amounts no limit can grant.
            ClaimIdReused: the claim's id was granted for another claim.
        """
        return self._admit_slowly(claim, lease_s, holder, report)

    def explain(self, claim: Claim) -> Denied | None:
        """Say how the claim would be decided now, charging nothing. None: it would be granted."""
        return self._desk.precheck(claim) or self._desk.explain(claim)

    def limits(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands whose scope the claim's attributes name."""
        return self._inspect.limits(claim, every=True)

    async def limits_soon(self, claim: Claim) -> list[LimitState]:
        """Do what `limits` does, for tasks: it never blocks their loop."""
        return self.limits(claim)

    def limits_touched(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands that the claim takes from or holds."""
        return self._inspect.limits(claim, every=False)

    def renew(self, lease_id: str, *, lease_s: float = LEASE_S) -> int:
        """Move a lease's expiry to `lease_s` from now; return it in microseconds.

        Raises:
            LeaseLost: it was released or reclaimed.
        """
        return self._renew_lease(lease_id, lease_us_of(lease_s))

    def release_lease(self, lease_id: str, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if that was done before."""
        lease = self._inspect.lease(lease_id)
        return lease is not None and lease.release(outcome)

    def settle_lease(self, lease_id: str, actual: Mapping[str, int]) -> bool:
        """Replace what a live lease took by what was really used. See `Lease.settle`.

        Raises:
            LeaseUnknown: it has ended, and its estimate stands.
        """
        lease = self._inspect.lease(lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id)
        return lease.settle(actual)

    def void_lease(self, lease: Lease) -> None:
        """Take back a lease whose holder never heard of it; its claim's id is free again."""
        self._store.void(lease)

    @property
    def leases_active(self) -> int:
        """Leases that are live now."""
        return self._inspect.leases_active()

    def lease(self, lease_id: str) -> Lease | None:
        """Return one live lease."""
        return self._inspect.lease(lease_id)

    def leases(self, *, tenant: str | None = None, holder: str | None = None) -> list[LeaseRecord]:
        """Return live leases, of one tenant or holder or of all, oldest first."""
        return [lease.record() for lease in self._inspect.leases(tenant=tenant, holder=holder)]

    def reclaim(self) -> list[LeaseRecord]:
        """Take back expired leases, serve those who wait, and return what expired, once each."""
        expired = self._store.reclaim()
        if expired:
            self._queue.serve_all()
        return expired

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, under the limits in force now."""
        self._store.adopt(record)

    def set_used(self, limit: str, claim: Claim, units: int) -> None:
        """Set what one limit has used, at the scope the claim's attributes name."""
        self._inspect.set_used(limit, claim, units)
        self._queue.serve([limit])

    def reset(self, limit: str, claim: Claim) -> None:
        """Let one limit count as untouched, at the scope the claim's attributes name."""
        self.set_used(limit, claim, 0)

    def drain(self, limit: str, claim: Claim) -> None:
        """Let one limit count as spent, at the scope the claim's attributes name."""
        state = next(state for state in self.limits(claim) if state.name == limit)
        self.set_used(limit, claim, state.units)

    def quotas_taken(self, claim: Claim) -> dict[str, int]:
        """Return the quota resources a claim takes, for the ledger that rebuilds them."""
        return taken_quotas(self.policy, claim)

    def dismiss_waiting(self) -> None:
        """Refuse every claim that waits, and from now on those that would have to."""
        self._queue.dismiss()

    def close(self) -> None:
        """Stop the helper thread, if one was started. Leases stay as they are."""
        self._renewals.close()

    def count(self, denied: Denied) -> Denied:
        """Count a denial by its reason."""
        return self._desk.count(denied)

    def precheck(self, claim: Claim) -> Denied | None:
        """Return why the gate is closed for the claim before any limit is asked, and count it."""
        denied = self._desk.precheck(claim)
        return None if denied is None else self._desk.count(denied)

    def turn(
        self, claim: Claim, terms: HoldTerms, wake: Callable[[], object], now_s: float
    ) -> Turn:
        """Return the turn of a claim, already asked for; used by the guards."""
        return Turn(self, claim, terms, wake, now_s)

    def watch(self, lease: Lease, lost: Callable[[], object]) -> None:
        """Do nothing: within one process a lease is lost only when its renewal says so."""

    def elapsed_s(self) -> float:
        """Return seconds since some fixed moment, for deadlines of waiting threads."""
        return self._clock.elapsed_us() / 1e6

    @property
    def queue(self) -> WaitQueue:
        """The claims that wait; used by the guards."""
        return self._queue

    @property
    def renewals(self) -> Renewals:
        """The renewals of guards in threads."""
        return self._renewals

    def _admit_slowly(self, claim: Claim, lease_s: float, holder: str, report: bool) -> Decision:
        lease_us = lease_us_of(lease_s)
        decision: Decision | None = self._desk.precheck(claim)
        if decision is None:
            decision = self._queue.admit(claim, lease_us, holder)
        if isinstance(decision, Denied):
            self._desk.count(decision)
        if report:
            return replace(decision, limits=tuple(self.limits_touched(claim)))
        return decision

    def _listen(self, listeners: tuple[Released, ...]) -> None:
        self._listeners = listeners
        self._store.on_released = self._tell if listeners else None

    def _tell(self, lease: Lease, outcome: Outcome, now_us: int) -> None:
        for heard in self._listeners:
            heard(lease, outcome, now_us)

    def _renew_lease(self, lease_id: str, lease_us: int) -> int:
        lease = self._inspect.lease(lease_id)
        if lease is None:
            raise LeaseLost(lease_id)
        return self._store.renew(lease, lease_us)
