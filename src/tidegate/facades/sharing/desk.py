"""What operators and holders do with a shared gate besides asking for claims.

Levels are looked at and set through the connection of the threads, so these calls block for a round
trip; leases are those of this process, and cost none.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from tidegate.domain.ask import Ask
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied, LimitState
from tidegate.domain.lease import LEASE_S, Lease, LeaseRecord, Outcome, lease_us_of
from tidegate.domain.policy import Policy
from tidegate.errors import LeaseLost, LeaseUnknown, StoreUnavailable, TidegateError
from tidegate.facades.desk import Precheck, taken_quotas
from tidegate.facades.sharing.adopting import adopt
from tidegate.facades.sharing.drivers import SyncDriver
from tidegate.facades.sharing.member import Member
from tidegate.facades.sharing.members import Members
from tidegate.facades.sharing.operators import look, write
from tidegate.facades.sharing.seen import Seen


class SharedDesk:
    """Looks into the store, corrects it, and keeps leases."""

    def __init__(self, members: Members, precheck: Precheck | None) -> None:
        self._members, self._precheck = members, precheck

    @property
    def policy(self) -> Policy:
        """The limits in force."""
        return self._members.policy

    def explain(self, claim: Claim) -> Denied | None:
        """Say how the claim would be decided now, charging nothing; blocks for a round trip."""
        denied = None if self._precheck is None else self._precheck(claim)
        return denied or self._look(self._asking(claim)).denial(self.policy)

    def limits(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands whose scope the claim names; blocks for a round trip."""
        member = self._members.of_threads()
        seen = self._look(lambda: self.policy.overview(claim, member.session.now_us()))
        return list(seen.states(self.policy))

    async def limits_soon(self, claim: Claim) -> list[LimitState]:
        """Return what `limits` does, for tasks: it waits for one round trip."""
        loop, member = self._members.here()
        answer: asyncio.Future[Any] = loop.create_future()

        def heard(seen: Seen | TidegateError) -> None:
            if not answer.done():
                answer.set_result(seen)

        if member.is_down:
            raise StoreUnavailable("nobody can say how limits stand")
        look(member.clerk, lambda: self.policy.overview(claim, member.session.now_us()), heard)
        seen = await answer
        if isinstance(seen, TidegateError):
            raise seen
        return list(seen.states(self.policy))

    def limits_touched(self, claim: Claim) -> list[LimitState]:
        """Return how each limit stands that the claim touches; blocks for a round trip."""
        return list(self._look(self._asking(claim)).states(self.policy))

    def renew(self, lease_id: str, *, lease_s: float = LEASE_S) -> int:
        """Move the expiry of a lease of this process. Raises LeaseLost."""
        return self._renew_lease(lease_id, lease_us_of(lease_s))

    def release_lease(self, lease_id: str, outcome: Outcome = "success") -> bool:
        """Give back what a lease of this process holds; False if that was done before."""
        lease = self.lease(lease_id)
        return lease is not None and lease.release(outcome)

    def settle_lease(self, lease_id: str, actual: Mapping[str, int]) -> bool:
        """Replace what a live lease took by what was really used. See `Lease.settle`."""
        lease = self.lease(lease_id)
        if lease is None:
            raise LeaseUnknown(lease_id)
        return lease.settle(actual)

    def void_lease(self, lease: Lease) -> None:
        """Take back a lease whose holder never heard of it; its claim's id is free again."""
        member = self._members.of(lease.id) or self._members.of_threads()
        member.clerk.void(lease)
        member.kick()
        member.carry()

    def lease(self, lease_id: str) -> Lease | None:
        """Return one live lease of this process."""
        member = self._members.of(lease_id)
        return None if member is None else member.session.holdings.find(lease_id)

    def leases(self, *, tenant: str | None = None, holder: str | None = None) -> list[LeaseRecord]:
        """Return live leases of this process, of one tenant or holder or of all."""
        return [
            lease.record()
            for member in self._members.all()
            for lease in member.leases()
            if tenant in (None, lease.claim.tenant) and holder in (None, lease.holder)
        ]

    def reclaim(self) -> list[LeaseRecord]:
        """Give back expired leases of this process, and return what expired, once each."""
        return [record for member in self._members.all() for record in member.reclaim()]

    def adopt(self, record: LeaseRecord) -> None:
        """Hold what a lease of an earlier process holds, even above the ceiling."""
        member = self._members.of_threads()
        adopt(member.clerk, record)
        member.kick()

    def set_used(self, limit: str, claim: Claim, units: int) -> None:
        """Set what one limit has used; blocks for a round trip."""
        member = self._members.of_threads()

        def ask() -> Ask:
            return self.policy.one(limit, claim, units, member.session.now_us())

        ask()
        blocking(member, lambda heard: write(member.clerk, ask, heard))

    def reset(self, limit: str, claim: Claim) -> None:
        """Let one limit count as untouched; blocks for a round trip."""
        self.set_used(limit, claim, 0)

    def drain(self, limit: str, claim: Claim) -> None:
        """Let one limit count as spent; blocks for two round trips."""
        state = next(state for state in self.limits(claim) if state.name == limit)
        self.set_used(limit, claim, state.units)

    def quotas_taken(self, claim: Claim) -> dict[str, int]:
        """Return the quota resources a claim takes, for the ledger that rebuilds them."""
        return taken_quotas(self.policy, claim)

    def _renew_lease(self, lease_id: str, lease_us: int) -> int:
        member = self._members.of(lease_id)
        lease = None if member is None else member.session.holdings.find(lease_id)
        if member is None or lease is None:
            raise LeaseLost(lease_id)
        return member.clerk.renew(lease, lease_us)

    def _asking(self, claim: Claim) -> Callable[[], Ask]:
        session = self._members.of_threads().session
        return lambda: self.policy.ask(claim, lease_us=0, now_us=session.now_us())

    def _look(self, ask: Callable[[], Ask]) -> Seen:
        # A wrong claim is refused before it travels.
        ask()
        member = self._members.of_threads()
        seen: Seen = blocking(member, lambda heard: look(member.clerk, ask, heard))
        return seen


def blocking(member: Member, ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """Ask, carry until it is answered, and return the answer or raise it."""
    heard: list[Any] = []
    poked = threading.Event()

    def hear(answer: Any) -> None:
        heard.append(answer)
        poked.set()

    ask(hear)
    assert isinstance(member.driver, SyncDriver)
    member.driver.carry_until(lambda: bool(heard), poked)
    if isinstance(heard[0], TidegateError):
        raise heard[0]
    return heard[0]
