"""Checks of gateways: one decision for a request that waits somewhere else.

A check never waits for its turn. What it holds is a lease of the gate alone, not written down as
claims are: it lasts as long as one request, and a durable write would cost more than the check.
What it takes from quotas is on the disk before it is answered, as with all that is taken.
"""

from __future__ import annotations

from collections import OrderedDict

from msgspec.structs import replace

from tidegate.domain.check import Asked, CheckRules
from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, LimitState
from tidegate.domain.lease import Outcome
from tidegate.domain.limit import RateLimit
from tidegate.domain.usage import UsageEntry
from tidegate.facades.gate import AdmissionGate
from tidegate.ports.clock import Clock
from tidegate.ports.usage_ledger import UsageLedger

HOLDER = "check"
LEASE_S = 30.0
ENDED_MAX = 10_000
"""Ended leases that are remembered, so that a repeated release is not an error."""


class Checks:
    """Decides what gateways ask. Single event loop.

    Args:
        rules: What each request costs.
    """

    def __init__(
        self, gate: AdmissionGate, *, rules: CheckRules, ledger: UsageLedger, clock: Clock
    ) -> None:
        self._gate, self._rules, self._ledger, self._clock = gate, rules, ledger, clock
        self._ended: OrderedDict[str, str] = OrderedDict()

    async def check(self, asked: Asked) -> Decision:
        """Decide about a request by the rules. See `admit`."""
        claim, lease_s = self._rules.claim(asked)
        return await self.admit(claim, lease_s=lease_s)

    async def admit(self, claim: Claim, *, lease_s: float = LEASE_S) -> Decision:
        """Decide now; a claim with an id that was granted before is charged nothing more.

        Raises:
            InvalidClaim: amounts that no limit can grant.
            ClaimIdReused: the id was granted for another claim.
            StoreUnavailable: it could not be written down, and was taken back.
        """
        decision = await self._gate.admit(claim, lease_s=lease_s, holder=HOLDER, report=True)
        if isinstance(decision, Denied):
            return decision
        try:
            if not decision.repeated:
                await self._write_down(claim, decision.id)
        except BaseException:
            self._gate.void_lease(decision)
            raise
        if claim.id is not None and not claim.hold:
            # There is nothing to give back; the id is remembered for a while from now on.
            decision.release()
        return decision

    def explain(self, claim: Claim) -> tuple[Denied | None, list[LimitState]]:
        """Say how a claim would be decided now, and how its limits stand; charge nothing."""
        return self._gate.explain(claim), self._gate.limits_touched(claim)

    async def charge(self, claim: Claim) -> list[LimitState]:
        """Take what was used already, whatever is left: the rest is a debt that newcomers wait for.

        Args:
            claim: Takes any positive amounts; its `id` names the row in the ledger.

        Returns:
            How its limits stand after it.
        """
        assert claim.id is not None
        # A unit of each, for no limit grants more than it has at once; then what it really was.
        one = replace(claim, take=dict.fromkeys(claim.take, 1), id=None)
        # Nobody is refused here, so none is counted: whether there is a unit is looked up first.
        denied = self._gate.explain(one)
        decision = denied or await self._gate.admit(one, holder=HOLDER)
        if isinstance(decision, Denied):
            for state in self._gate.limits_touched(one):
                used = self._used(state)
                self._gate.set_used(state.name, claim, used + claim.take[state.resource])
        else:
            decision.settle(claim.take)
        await self._write_down(claim, claim.id)
        return self._gate.limits_touched(one)

    def release(self, tenant: str, lease_id: str, outcome: Outcome = "success") -> bool:
        """Give back what a check holds. Again: nothing more.

        Returns:
            False if no check of this tenant has or had the lease.
        """
        if self._ended.get(lease_id) == tenant:
            return True
        lease = self._gate.lease(lease_id)
        if lease is None or lease.holder != HOLDER or lease.claim.tenant != tenant:
            return False
        lease.release(outcome)
        self._ended[lease_id] = tenant
        if len(self._ended) > ENDED_MAX:
            self._ended.popitem(last=False)
        return True

    def _used(self, state: LimitState) -> int:
        """Return the units that are spent, also those above the limit; of a rate to half a unit."""
        limit = self._gate.policy.limit(state.name, state.scope)
        if isinstance(limit, RateLimit) and state.reset_us is not None:
            rate = limit.rate
            return round(state.reset_us * rate.ticks_per_us / rate.ticks_per_unit)
        # A quota turns as a whole: how deep a debt is makes no difference before that.
        return state.units - state.remaining

    async def _write_down(self, claim: Claim, entry_id: str) -> None:
        taken = self._gate.quotas_taken(claim)
        if taken:
            await self._ledger.record(
                UsageEntry(
                    tenant=claim.tenant,
                    source=HOLDER,
                    id=entry_id,
                    at_us=self._clock.now_us(),
                    outcome="success",
                    taken=taken,
                )
            )
