"""One policy under trial: the gate that production uses, at the times of a log.

There is no second rule. Requests are decided by `AdmissionGate.try_admit`, one after the other, and
nobody waits: what `hold` would have waited for counts as refused. What a request holds is released
when the log says that it ended. Nothing is tried again, since a log does not tell who would have.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable

import msgspec

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.lease import LEASE_MAX_S, LEASE_S
from tidegate.errors import InvalidClaim, LeaseLost
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.replay.report import OTHERS, Comparison, Refusal, Report, Tally
from tidegate.facades.replay.request import Request

UNLIMITED_MAX = 1_000
"""Resources without a limit that are told apart; a log may name any."""

_RENEWED_US = round(LEASE_MAX_S * 1e6) // 2
"""Longer holds than the longest lease are renewed at half of it, as a guard would do."""


class VirtualClock:
    """`Clock` that stands still but for `reach`, and never steps back."""

    def __init__(self) -> None:
        self._now_us = 0

    def now_us(self) -> int:
        """Microseconds since the epoch."""
        return self._now_us

    def elapsed_us(self) -> int:
        """The same: nothing steps here."""
        return self._now_us

    def reach(self, at_us: int) -> None:
        """Let time pass until `at_us`, unless that is over."""
        self._now_us = max(self._now_us, at_us)


class Trial:
    """A gate on a virtual clock, fed with requests in the order of their time."""

    def __init__(self, name: str, gate: AdmissionGate, clock: VirtualClock) -> None:
        self.name = name
        self._gate, self._clock = gate, clock
        self._limited = {limit.resource for limit in gate.policy.limits}
        self._unlimited: Counter[str] = Counter()
        self._tally = Tally()
        # Due instant, order, lease, and when the hold ends; sooner than that it is renewed.
        self._due: list[tuple[int, int, str, int]] = []
        self._held = 0

    def decide(self, request: Request) -> Refusal | None:
        """Decide one request at its time; None if it is granted."""
        self._pass_time(request.at_us)
        refusal = self._ask(request)
        self._tally.add(request, refusal, at_us=self._clock.now_us())
        return refusal

    def report(self) -> Report:
        """Return what was decided so far."""
        return self._tally.report(self.name, self._unlimited)

    def _ask(self, request: Request) -> Refusal | None:
        claim = self._limited_part(request.claim)
        held_us = request.held_us
        lease_s = min(held_us / 1e6, LEASE_MAX_S) if claim.hold and held_us else LEASE_S
        at_us = self._clock.now_us()
        try:
            decision = self._gate.try_admit(claim, lease_s=lease_s)
        except InvalidClaim as error:
            # Waiting would not help it: under this policy it never gets through.
            return Refusal(
                at_us=at_us, tenant=claim.tenant, reason=error.code, why=str(error)[:1_000]
            )
        if isinstance(decision, Denied):
            return Refusal(
                at_us=at_us,
                tenant=claim.tenant,
                reason=decision.reason,
                limit=decision.limit,
                scope=decision.scope,
                remaining=decision.remaining,
                retry_after_us=decision.retry_after_us,
            )
        if claim.hold:
            self._keep(decision.lease.id, at_us + held_us)
        return None

    def _limited_part(self, claim: Claim) -> Claim:
        """Return what of the claim the policy limits; elsewhere it lets everything through."""
        if claim.take.keys() <= self._limited and claim.hold.keys() <= self._limited:
            return claim
        for name in (claim.take.keys() | claim.hold.keys()) - self._limited:
            known = name in self._unlimited or len(self._unlimited) < UNLIMITED_MAX
            self._unlimited[name if known else OTHERS] += 1
        return msgspec.structs.replace(
            claim,
            take={name: n for name, n in claim.take.items() if name in self._limited},
            hold={name: n for name, n in claim.hold.items() if name in self._limited},
        )

    def _keep(self, lease_id: str, end_us: int) -> None:
        self._held += 1
        due_us = min(end_us, self._clock.now_us() + _RENEWED_US)
        heapq.heappush(self._due, (due_us, self._held, lease_id, end_us))

    def _pass_time(self, until_us: int) -> None:
        """Release and renew what is due, each at its instant; what ends now is free now."""
        self._give_back(until_us)
        self._clock.reach(until_us)

    def _give_back(self, until_us: int) -> None:
        while self._due and self._due[0][0] <= max(until_us, self._clock.now_us()):
            due_us, _, lease_id, end_us = heapq.heappop(self._due)
            self._clock.reach(due_us)
            if due_us == end_us:
                self._gate.release_lease(lease_id)
                # It may have expired at this very instant, and would be kept until asked for.
                self._gate.reclaim()
                continue
            try:
                self._gate.renew(lease_id, lease_s=min((end_us - due_us) / 1e6, LEASE_MAX_S))
            except LeaseLost:
                # A limit on how long units may be held ended it.
                continue
            self._keep(lease_id, end_us)


def run(requests: Iterable[Request], trial: Trial, noted: Callable[[str, Refusal], None]) -> None:
    """Decide every request; `noted` is called with the policy and each refusal, in order."""
    for request in requests:
        refusal = trial.decide(request)
        if refusal is not None:
            noted(trial.name, refusal)


def compare(
    requests: Iterable[Request],
    trials: tuple[Trial, Trial],
    noted: Callable[[str, Refusal], None],
) -> Comparison:
    """Decide every request by two policies that know nothing of each other."""
    comparison = Comparison()
    for request in requests:
        first, second = (trial.decide(request) for trial in trials)
        for trial, refusal in zip(trials, (first, second), strict=True):
            if refusal is not None:
                noted(trial.name, refusal)
        comparison.add(request.claim.tenant, first, second)
    return comparison
