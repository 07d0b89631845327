"""How exchanges are admitted, on event loops and in threads, whatever the protocol or framework.

A claim that holds nothing is decided in one step, which also says how its limits stand. One that
holds something goes through the gate's guards, which wait their turn and renew the lease. Rates
and quotas refuse at once in either case: waiting for them would only keep a connection busy, and
the client is told when to return.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from types import TracebackType

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted, LimitState
from tidegate.domain.lease import LEASE_S, Lease
from tidegate.errors import AdmissionDenied, InvalidRequest, StoreUnavailable
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.holding import outcome_of

CLOSED = Denied(reason="store_unavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A gate, and how exchanges go through it.

    `timeout_s` is how long one may wait for capacities. Leases are renewed while they are used;
    after the death of this process they end within `lease_s`.
    """

    gate: AdmissionGate
    timeout_s: float = 0.0
    lease_s: float = LEASE_S

    def __post_init__(self) -> None:
        if not self.timeout_s >= 0:
            raise InvalidRequest("timeout_s", self.timeout_s, ">= 0 seconds")

    async def enter(self, claim: Claim, stack: AsyncExitStack) -> Decision:
        """Decide the claim; what is granted is held until the stack is left.

        Raises:
            InvalidRequest: the claim is one that no limit can judge.
        """
        gate = self.gate
        try:
            if not claim.hold:
                decision = await gate.admit(claim, lease_s=self.lease_s, report=True)
                return _kept(decision, stack)
            hold = gate.hold(
                claim, timeout_s=self.timeout_s, lease_s=self.lease_s, capacities_only=True
            )
            lease = await stack.enter_async_context(hold)
        except AdmissionDenied as refused:
            return replace(refused.denied, limits=await self._told(claim))
        except StoreUnavailable:
            return CLOSED
        return _kept(replace(lease, limits=await self._told(claim)), stack)

    async def _told(self, claim: Claim) -> tuple[LimitState, ...]:
        try:
            return _touched(await self.gate.limits_soon(claim), claim)
        except StoreUnavailable:
            return ()

    def enter_sync(self, claim: Claim, stack: ExitStack) -> Decision:
        """Do what `enter` does, for threads: blocks while it waits."""
        gate = self.gate
        try:
            if not claim.hold:
                decision = gate.admit_sync(claim, lease_s=self.lease_s, report=True)
                return _kept(decision, stack)
            hold = gate.hold_sync(
                claim, timeout_s=self.timeout_s, lease_s=self.lease_s, capacities_only=True
            )
            lease = stack.enter_context(hold)
        except AdmissionDenied as refused:
            return replace(refused.denied, limits=_report(gate, claim))
        except StoreUnavailable:
            return CLOSED
        return _kept(replace(lease, limits=_report(gate, claim)), stack)


def _kept(decision: Decision, stack: AsyncExitStack | ExitStack) -> Decision:
    if isinstance(decision, Granted):
        stack.push(partial(_release, decision.lease))
    return decision


def _release(
    lease: Lease,
    kind: type[BaseException] | None,
    error: BaseException | None,
    trace: TracebackType | None,  # noqa: ARG001
) -> None:
    # Frameworks raise their answers: one below 500 is an answer and no failure.
    status = getattr(error, "status_code", getattr(error, "code", None))
    answered = isinstance(status, int) and status < 500
    lease.release("success" if answered else outcome_of(kind))


def _report(gate: AdmissionGate, claim: Claim) -> tuple[LimitState, ...]:
    try:
        return _touched(gate.limits(claim), claim)
    except StoreUnavailable:
        return ()


def _touched(states: list[LimitState], claim: Claim) -> tuple[LimitState, ...]:
    touched = {*claim.take, *claim.hold}
    return tuple(state for state in states if state.resource in touched)
