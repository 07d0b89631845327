"""One claim's turn at the gate, in plain synchronous steps that tasks and threads both drive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import lease_us_of
from tidegate.errors import AdmissionDenied, InvalidClaim, TidegateError
from tidegate.facades.lines import Waiter

if TYPE_CHECKING:
    from tidegate.facades.gate import AdmissionGate


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldTerms:
    """How a claim is held. See `AdmissionGate.hold`."""

    timeout_s: float | None
    lease_s: float
    capacities_only: bool
    holder: str


class AnyTurn(Protocol):
    """A claim's turn, over whichever store."""

    def poll(self, now_s: float) -> float | None:
        """Return the seconds to wait for `wake` (may be infinite), or None once answered."""
        ...

    def result(self) -> Granted:
        """Return the grant, which the caller now has to release, or raise AdmissionDenied."""
        ...

    def abandon(self) -> None:
        """Leave the queue without a trace; a grant that came meanwhile is given back."""
        ...


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
        self._deadline_s = inf if timeout_s is None else now_s + timeout_s
        self._retry_s = inf
        self._armed_for: Denied | None = None
        self._timed_out = False
        lease_us = lease_us_of(terms.lease_s)
        self._got: Decision | Waiter | TidegateError
        if timeout_s == 0:
            self._got = gate.queue.admit(claim, lease_us, terms.holder)
        else:
            self._got = gate.queue.join(
                claim, lease_us, terms.holder, wake, capacities_only=terms.capacities_only
            )

    def poll(self, now_s: float) -> float | None:
        """Return the seconds to wait for `wake` (may be infinite), or None once answered."""
        waiter = self._got
        if not isinstance(waiter, Waiter):
            return None
        if waiter.answer is None and now_s >= self._deadline_s:
            self._timed_out = True
            self._got = self._gate.queue.leave(waiter) or waiter.denied
            return None
        if waiter.answer is None and now_s >= self._retry_s:
            self._armed_for = None
            self._gate.queue.serve([waiter.behind.limit])
        if waiter.answer is not None:
            self._got = waiter.answer
            return None
        if waiter.denied is not self._armed_for:
            self._armed_for = waiter.denied
            self._retry_s = inf if waiter.retry_us is None else now_s + waiter.retry_us / 1e6
        return max(0.0, min(self._deadline_s, self._retry_s) - now_s)

    def result(self) -> Granted:
        """Return the grant, which the caller now has to release, or raise AdmissionDenied."""
        answer = self._got
        assert not isinstance(answer, Waiter)
        if isinstance(answer, TidegateError):
            raise answer
        if isinstance(answer, Granted):
            return answer
        # A queue without a place says so itself, however long one would have waited.
        reason = "timeout" if self._timed_out else answer.reason
        raise AdmissionDenied(self._gate.count(replace(answer, reason=reason)))

    def abandon(self) -> None:
        """Leave the queue without a trace; a grant that came meanwhile is given back."""
        got = self._got
        answer = self._gate.queue.leave(got) if isinstance(got, Waiter) else got
        if isinstance(answer, Granted) and not answer.repeated:
            self._gate.void_lease(answer)
