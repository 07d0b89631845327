"""The front door over a store that several processes share: the same calls, one round trip each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import LEASE_S, Lease
from tidegate.domain.policy import Policy
from tidegate.errors import AdmissionDenied, StoreUnavailable, TidegateError, WouldBlock
from tidegate.facades.desk import Precheck
from tidegate.facades.guards import Guards
from tidegate.facades.holding import Renewals
from tidegate.facades.sharing.desk import SharedDesk, blocking
from tidegate.facades.sharing.members import Members
from tidegate.facades.sharing.questions import terms_of
from tidegate.facades.sharing.turn import Answered, SharedTurn
from tidegate.facades.turn import AnyTurn, HoldTerms
from tidegate.ports.clock import Clock


class SharedGate(SharedDesk, Guards):
    """Decides claims together with every other process that uses the store.

    Each event loop, and all threads together, are a member of the store with a connection of its
    own. Safe for threads and for tasks of any number of loops.
    """

    def __init__(self, members: Members, *, clock: Clock, precheck: Precheck | None = None) -> None:
        super().__init__(members, precheck)
        self._clock = clock
        self._renewals = Renewals(self._renew_lease, elapsed_s=self.elapsed_s)
        self._denied: Counter[str] = Counter()

    @property
    def queue_depth(self) -> int:
        """Claims of this process that wait now."""
        return sum(len(member.lanes) for member in self._members.all())

    @property
    def decisions(self) -> Counter[str]:
        """How claims of this process were decided, as `AdmissionGate.decisions`."""
        counted = Counter(self._denied)
        for member in self._members.all():
            counted["granted"] += member.clerk.granted + member.clerk.leasing.spent
        return +counted

    @property
    def counted(self) -> Mapping[str, int]:
        """What was counted besides: `shadowed:` with the limit, `batches`, `outages`."""
        counted: Counter[str] = Counter(outages=self._members.outages)
        for member in self._members.all():
            counted["batches"] += member.session.batches
            for name, count in member.clerk.shadowed.items():
                counted[f"shadowed:{name}"] += count
        return counted

    @property
    def leases_active(self) -> int:
        """Leases of this process that are live now."""
        return sum(len(member.session.holdings) for member in self._members.all())

    def set_policy(self, policy: Policy) -> None:
        """Swap the limits of this process. Every process that shares the store has to do it."""
        self._members.set_policy(policy)

    def try_admit(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide without I/O: from tokens of leased limits, or while the store is down.

        Raises:
            WouldBlock: the store has to be asked: use `admit`, or `admit_sync` in threads.
        """
        denied = self.precheck(claim)
        if denied is not None:
            return denied
        member = self._members.present()
        if member is not None and not report:
            granted = member.clerk.leasing.spend(claim)
            if granted is not None:
                return granted
        if not self._members.is_down:
            raise WouldBlock("this store is asked over the network: use admit, or admit_sync")
        return self._count(self._members.without_store(claim, lease_s, holder, report))

    async def admit(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Decide now, in one round trip to the store. See `AdmissionGate.try_admit`."""
        loop, member = self._members.here()
        clerk = member.clerk
        if self._precheck is not None:
            denied = self.precheck(claim)
            if denied is not None:
                return denied
        if clerk.leasing.is_used and not report:
            granted = clerk.leasing.spend(claim)
            if granted is not None:
                return granted
        terms = terms_of(lease_s, holder, report)
        if member.driver.breaker.down:
            return self._count(self._members.without_store(claim, lease_s, holder, report))
        answer: asyncio.Future[Decision | TidegateError] = loop.create_future()
        clerk.admit(claim, terms, answer.set_result)
        try:
            decision = await answer
        except asyncio.CancelledError:
            if answer.done() and not answer.cancelled():
                member.lanes.undo(answer.result())
            raise
        if isinstance(decision, Granted):
            return decision
        if isinstance(decision, StoreUnavailable):
            decision = self._members.without_store(claim, lease_s, holder, report)
        if isinstance(decision, TidegateError):
            raise decision
        return self._count(decision)

    def admit_sync(
        self, claim: Claim, *, lease_s: float = LEASE_S, holder: str = "", report: bool = False
    ) -> Decision:
        """Do what `admit` does, for threads: blocks for one round trip."""
        denied = self.precheck(claim)
        if denied is not None:
            return denied
        terms = terms_of(lease_s, holder, report)
        member = self._members.of_threads()
        if member.is_down:
            return self._count(self._members.without_store(claim, lease_s, holder, report))
        try:
            return self._count(blocking(member, lambda h: member.clerk.admit(claim, terms, h)))
        except StoreUnavailable:
            return self._count(self._members.without_store(claim, lease_s, holder, report))

    async def aclose(self) -> None:
        """Give back everything this process holds, and let go of the store."""
        await self._members.aclose()
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Give back what threads hold, and let go of the store; loops call `aclose` before."""
        self._renewals.close()
        self._members.close()

    def turn(
        self, claim: Claim, terms: HoldTerms, wake: Callable[[], object], now_s: float
    ) -> AnyTurn:
        """Return the turn of a claim, already asked for; used by the guards."""
        denied = self.precheck(claim)
        if denied is not None:
            raise AdmissionDenied(denied)
        member = self._members.current()

        def without() -> Decision:
            return self._members.without_store(claim, terms.lease_s, terms.holder, False)

        if member.is_down:
            return Answered(without(), self._count)
        return SharedTurn(
            member.lanes,
            claim,
            terms,
            wake,
            now_s,
            carry=member.carry,
            count=self._count_denied,
            without=without,
        )

    def watch(self, lease: Lease, lost: Callable[[], object]) -> None:
        """Call `lost`, from any thread, when the store takes the lease back, or is about to."""
        member = self._members.of(lease.id)
        if member is not None:
            member.watch(lease, lost)

    def elapsed_s(self) -> float:
        """Return seconds since some fixed moment, for deadlines of waiting threads."""
        return self._clock.elapsed_us() / 1e6

    @property
    def renewals(self) -> Renewals:
        """The renewals of guards in threads."""
        return self._renewals

    def precheck(self, claim: Claim) -> Denied | None:
        """Return why the gate is closed for the claim before any limit is asked, and count it."""
        denied = None if self._precheck is None else self._precheck(claim)
        return None if denied is None else self._count_denied(denied)

    def _count(self, decision: Decision) -> Decision:
        if isinstance(decision, Denied):
            self._count_denied(decision)
        return decision

    def _count_denied(self, denied: Denied) -> Denied:
        self._denied[denied.reason] += 1
        return denied
