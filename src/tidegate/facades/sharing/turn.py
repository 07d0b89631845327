"""One claim's turn over a shared store, in plain steps that tasks and threads both drive."""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from msgspec.structs import replace

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Decision, Denied, Granted
from tidegate.domain.lease import lease_us_of
from tidegate.errors import AdmissionDenied, InvalidClaim, StoreUnavailable, TidegateError
from tidegate.facades.sharing.lanes import Lanes, Waiting
from tidegate.facades.sharing.questions import Terms
from tidegate.facades.turn import HoldTerms

POKE_S = 1.0
"""How often a waiting claim asks although nobody woke it: a message may have been lost."""


class SharedTurn:
    """Asks, and waits in a lane if need be. Driven like `facades/turn.Turn`.

    Args:
        carry: Gets the wire going; for threads it carries batches itself.
        count: Counts a denial.
        without: Decides while the store cannot be had.
    """

    def __init__(
        self,
        lanes: Lanes,
        claim: Claim,
        terms: HoldTerms,
        wake: Callable[[], object],
        now_s: float,
        *,
        carry: Callable[[], None],
        count: Callable[[Denied], Denied],
        without: Callable[[], Decision],
    ) -> None:
        self._without = without
        timeout_s = terms.timeout_s
        if timeout_s is not None and not timeout_s >= 0:
            raise InvalidClaim("timeout_s", timeout_s, ">= 0 seconds")
        self._lanes, self._carry, self._count = lanes, carry, count
        self._deadline_s = inf if timeout_s is None else now_s + timeout_s
        self._waits = timeout_s != 0
        self._poke_s = now_s + POKE_S
        self._retry_s = inf
        self._armed_for: Denied | None = None
        self._timed_out = False
        asked = Terms(lease_us=lease_us_of(terms.lease_s), holder=terms.holder)
        self._waiting: Waiting = lanes.join(
            claim, asked, wake, capacities_only=terms.capacities_only
        )

    def poll(self, now_s: float) -> float | None:
        """Return the seconds to wait for `wake` (may be infinite), or None once answered."""
        waiting = self._waiting
        self._carry()
        if waiting.answer is not None:
            return None
        late = self._waits and now_s >= self._deadline_s
        if late or (waiting.denied is not None and not self._waits):
            self._timed_out = late
            self._give_up(waiting)
            return None
        if waiting.denied is None:
            # The first answer is under way, and has to be heard even where nobody is to wait.
            return self._deadline_s - now_s if self._waits else inf
        self._look_at_time(waiting, now_s)
        if waiting.answer is not None:
            return None
        return max(0.0, min(self._deadline_s, self._retry_s, self._poke_s) - now_s)

    def result(self) -> Granted:
        """Return the grant, which the caller now has to release, or raise AdmissionDenied."""
        answer = self._waiting.answer
        if isinstance(answer, StoreUnavailable):
            answer = self._without()
        if isinstance(answer, TidegateError):
            raise answer
        if isinstance(answer, Granted):
            return answer
        assert isinstance(answer, Denied)
        reason = "timeout" if self._timed_out else answer.reason
        raise AdmissionDenied(self._count(replace(answer, reason=reason)))

    def abandon(self) -> None:
        """Leave without a trace; a grant that came meanwhile is given back."""
        answer = self._lanes.leave(self._waiting)
        if answer is not None:
            self._lanes.undo(answer)
        self._carry()

    def _give_up(self, waiting: Waiting) -> None:
        if self._lanes.leave(waiting) is None:
            waiting.answer = waiting.denied or Denied("timeout")

    def _look_at_time(self, waiting: Waiting, now_s: float) -> None:
        if waiting.denied is not self._armed_for:
            self._armed_for = waiting.denied
            self._retry_s = inf if waiting.retry_us is None else now_s + waiting.retry_us / 1e6
        if now_s >= min(self._retry_s, self._poke_s):
            self._retry_s, self._poke_s = inf, now_s + POKE_S
            self._lanes.retry(waiting)
            self._carry()


class Answered:
    """The turn of a claim that was decided at once, without the store."""

    def __init__(self, decision: Decision, count: Callable[[Decision], Decision]) -> None:
        self._decision, self._count = decision, count

    def poll(self, now_s: float) -> None:
        """It is answered."""

    def result(self) -> Granted:
        """Return the grant, or raise AdmissionDenied."""
        decision = self._count(self._decision)
        if isinstance(decision, Granted):
            return decision
        raise AdmissionDenied(decision)

    def abandon(self) -> None:
        """Give it back."""
        if isinstance(self._decision, Granted):
            self._decision.release("cancelled")
