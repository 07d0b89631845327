"""One claim's turn at the gate, in plain synchronous steps that tasks and threads both drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Granted
from tidegate.errors import AdmissionDenied, InvalidClaim, TidegateError
from tidegate.facades.waiting import Answer, Waiter
from tidegate.ports.admission_store import Grant, Refusal

if TYPE_CHECKING:
    from tidegate.facades.gate import AdmissionGate


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTerms:
    """How a claim is held. See `AdmissionGate.hold`."""

    timeout_s: float | None
    lease_s: float
    capacities_only: bool
    holder: str


class Turn:
    """Asks the gate, and waits in its queue if need be.

    The driver calls `poll` at once, then again whenever `wake` was called or the returned time has
    passed, until it returns None, and then `result`; or gives up by `abandon`.
    """

    def __init__(
        self,
        gate: AdmissionGate,
        claim: Claim,
        terms: HoldTerms,
        wake: Callable[[], object],
        now_s: float,
    ) -> None:
        timeout_s = terms.timeout_s
        if timeout_s is not None and not timeout_s >= 0:
            raise InvalidClaim("timeout_s", timeout_s, ">= 0 seconds")
        denied = gate.precheck(claim)
        if denied is not None:
            raise AdmissionDenied(denied)
        self._gate = gate
        self._ask = gate.ask(claim, lease_s=terms.lease_s, holder=terms.holder)
        self._deadline_s = inf if timeout_s is None else now_s + timeout_s
        self._retry_s = inf
        self._armed_for: Refusal | None = None
        self._timed_out = False
        self._got: Answer | Waiter | TidegateError
        if timeout_s == 0:
            self._got = gate.queue.admit(self._ask)
        else:
            self._got = gate.queue.join(self._ask, wake, capacities_only=terms.capacities_only)

    def poll(self, now_s: float) -> float | None:
        """Return the seconds to wait for `wake` (may be infinite), or None once answered."""
        waiter = self._got
        if not isinstance(waiter, Waiter):
            return None
        if waiter.answer is None and now_s >= self._deadline_s:
            self._timed_out = True
            self._got = self._gate.queue.leave(waiter) or waiter.refusal
            self._ask = waiter.answered
            return None
        if waiter.answer is None and now_s >= self._retry_s:
            self._armed_for = None
            self._gate.queue.serve({waiter.behind})
        if waiter.answer is not None:
            self._got = waiter.answer
            self._ask = waiter.answered
            return None
        if waiter.refusal is not self._armed_for:
            self._armed_for = waiter.refusal
            self._retry_s = inf if waiter.retry_us is None else now_s + waiter.retry_us / 1e6
        return max(0.0, min(self._deadline_s, self._retry_s) - now_s)

    def result(self) -> Granted:
        """Return the grant, which the caller now has to release, or raise AdmissionDenied."""
        answer = self._got
        assert not isinstance(answer, Waiter)
        if isinstance(answer, TidegateError):
            raise answer
        decision = self._gate.decision(self._ask, answer, timed_out=self._timed_out)
        if isinstance(decision, Granted):
            return decision
        raise AdmissionDenied(decision)

    def abandon(self) -> None:
        """Leave the queue without a trace; a grant that came meanwhile is given back."""
        got = self._got
        answer = self._gate.queue.leave(got) if isinstance(got, Waiter) else got
        if isinstance(answer, Grant) and not answer.repeated:
            self._gate.void_lease(answer.lease_id)
