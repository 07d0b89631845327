"""The front door: one call decides, in one step, whether a claim may have all it needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted, LimitState
from tidegate.domain.lease import Lease, LeaseRecord, Outcome
from tidegate.domain.policy import Ask, Policy, taken_quotas
from tidegate.errors import AdmissionDenied, InvalidClaim
from tidegate.facades.denials import denied_by, states_of
from tidegate.facades.holding import AsyncHold, Renewals, SyncHold
from tidegate.facades.turn import HoldTerms
from tidegate.facades.waiting import Answer, Stopwatch, WaitQueue
from tidegate.ports.admission_store import AdmissionInspect, AdmissionStore, Grant
from tidegate.ports.clock import Clock

LEASE_S = 30.0
LEASE_MAX_S = 86_400.0
WAITERS_MAX = 1_000

Precheck = Callable[[Claim], Denied | None]
"""What the gate asks before any limit: is the tenant suspended, is memory short, and so on."""


class AdmissionGate:
    """Decides claims against a policy, with a store that makes each decision one step.

    Safe for threads and for tasks of any number of event loops.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        store: AdmissionStore,
        inspect: AdmissionInspect,
        clock: Clock,
        precheck: Precheck | None = None,
        waiters_max: int = WAITERS_MAX,
        stopwatch: Stopwatch | None = None,
    ) -> None:
        self._policy = policy
        self._store = store
        self._inspect = inspect
        self._clock = clock
        self._precheck = precheck
        self._queue = WaitQueue(
            store,
            inspect,
            refresh=self._refresh,
            waiters_max=waiters_max,
            stopwatch=stopwatch,
        )
        self._renewals = Renewals(self._renew_lease, elapsed_s=self.elapsed_s)
        self.decisions: Counter[str] = Counter()
        self.releases: Counter[str] = Counter()

    @property
    def policy(self) -> Policy:
        """The limits in force."""
        return self._policy

    @property
    def queue_depth(self) -> int:
        """Claims that wait now."""
        return len(self._queue)

    def set_policy(self, policy: Policy) -> None:
        """Swap the limits. What is held stays held; waiting claims are tried again."""
        self._policy = policy
        self._queue.serve_all()

    async def admit(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, in one round trip to the store at most. See `try_admit`."""
        return self.try_admit(claim, lease_s=lease_s, holder=holder, report=report)

    def try_admit(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
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
            StoreUnavailable: outcome unknown.
        """
        denied = self.precheck(claim)
        if denied is not None:
            return denied
        ask = self.ask(claim, lease_s=lease_s, holder=holder)
        decision = self.decision(ask, self._queue.admit(ask))
        if report:
            return replace(decision, limits=tuple(self.limits_touched(claim)))
        return decision

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
            LeaseLost: the lease could not be renewed; the body was cancelled.
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

    def explain(self, claim: Claim) -> Denied | None:
        """Say how the claim would be decided now, charging nothing. None: it would be granted."""
        denied = self._precheck(claim) if self._precheck is not None else None
        if denied is not None:
            return denied
        ask = self.ask(claim)
        refusal = self._inspect.explain(ask)
        return None if refusal is None else denied_by(self._policy, ask, refusal)

    def limits(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands whose scope the claim's attributes name."""
        ask = self._policy.overview(claim, self._clock.now_us())
        return states_of(self._policy, ask, self._inspect.look(ask))

    def limits_touched(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands that the claim takes from or holds."""
        ask = self.ask(claim)
        return states_of(self._policy, ask, self._inspect.look(ask))

    def renew(self, lease_id: str, *, lease_s: float = LEASE_S) -> int:
        """Move a lease's expiry to `lease_s` from now; return it in microseconds.

        Raises:
            LeaseLost: it was released or reclaimed.
        """
        return self._renew_lease(lease_id, _lease_us(lease_s))

    def release_lease(self, lease_id: str, outcome: Outcome = "success") -> bool:
        """Give back what a lease holds; False if that was done before."""
        freed = self._store.release(lease_id)
        self.releases[outcome] += freed is not None
        if freed:
            self._queue.serve(freed)
        return freed is not None

    def void_lease(self, lease_id: str) -> None:
        """Take back a lease whose holder never heard of it; its claim's id is free again."""
        self._queue.serve(self._store.release(lease_id, void=True) or ())

    @property
    def leases_active(self) -> int:
        """Leases that are live now."""
        return self._inspect.leases_active()

    def lease(self, lease_id: str) -> LeaseRecord | None:
        """Return one live lease."""
        return self._inspect.lease(lease_id)

    def leases(self, *, tenant: str | None = None) -> list[LeaseRecord]:
        """Return live leases, of one tenant or of all, oldest first."""
        return self._inspect.leases(tenant=tenant)

    def reclaim(self) -> list[LeaseRecord]:
        """Take back expired leases, serve those who wait, and return what expired, once each."""
        expired = self._store.reclaim()
        if expired:
            self._queue.serve_all()
        return expired

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, under the limits in force now."""
        self._store.adopt(record, self._policy.holding(record, self._clock.now_us()))

    def set_used(self, limit: str, claim: Claim, units: int) -> None:
        """Set what one limit has used, at the scope the claim's attributes name."""
        self._inspect.set_used(self._policy.one(limit, claim, units, self._clock.now_us()))
        self._queue.serve_all()

    def quotas_taken(self, claim: Claim) -> dict[str, int]:
        """Return the quota resources a claim takes, for the ledger that rebuilds them."""
        return taken_quotas(self._policy, claim)

    def dismiss_waiting(self) -> None:
        """Refuse every claim that waits, and from now on those that would have to."""
        self._queue.dismiss()

    def close(self) -> None:
        """Stop the helper thread, if one was started. Leases stay as they are."""
        self._renewals.close()

    def ask(self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "") -> Ask:
        """Resolve a claim under the limits in force."""
        now_us = self._clock.now_us()
        return self._policy.ask(claim, lease_us=_lease_us(lease_s), now_us=now_us, holder=holder)

    def decision(self, ask: Ask, answer: Answer, *, timed_out: bool = False) -> Decision:
        """Return the store's answer as callers see it, and count it."""
        if isinstance(answer, Grant):
            self.decisions["granted"] += 1
            return Granted(
                lease=Lease(
                    id=answer.lease_id,
                    claim=ask.claim,
                    fencing_token=answer.fencing_token,
                    expires_us=answer.expires_us,
                    owner=self,
                ),
                repeated=answer.repeated,
            )
        return self.count(denied_by(self._policy, ask, answer, "timeout" if timed_out else None))

    def count(self, denied: Denied) -> Denied:
        """Count a denial by its reason."""
        self.decisions[denied.reason] += 1
        return denied

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

    def precheck(self, claim: Claim) -> Denied | None:
        """Return why the gate is closed for the claim before any limit is asked, if it is."""
        denied = self._precheck(claim) if self._precheck is not None else None
        return None if denied is None else self.count(denied)

    def _refresh(self, ask: Ask) -> Ask:
        """Resolve the ask of a claim that has waited, or say why its turn is over."""
        denied = self.precheck(ask.claim)
        if denied is not None:
            raise AdmissionDenied(denied)
        now_us = self._clock.now_us()
        return self._policy.ask(ask.claim, lease_us=ask.lease_us, now_us=now_us, holder=ask.holder)

    def _renew_lease(self, lease_id: str, lease_us: int) -> int:
        return self._store.renew(lease_id, lease_us=lease_us)


def _lease_us(lease_s: float) -> int:
    if not 0 < lease_s <= LEASE_MAX_S:
        raise InvalidClaim("lease_s", lease_s, f"> 0 and <= {LEASE_MAX_S:.0f} seconds")
    return round(lease_s * 1e6)
