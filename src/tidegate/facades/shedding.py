"""Less work while work goes badly: claims of low priority are refused, all others pass.

What recent operations say is the only reason. Once none has ended for a while they say nothing any
more, and everybody may try: else a gate that only sees low priorities would never open again.
"""

from __future__ import annotations

from tidegate.domain.claim import PRIORITY_DEFAULT, PRIORITY_MAX, Claim
from tidegate.domain.decision import Denied
from tidegate.errors import InvalidRequest
from tidegate.facades.performance import PerformanceMonitor
from tidegate.ports.clock import Clock

STALE_US = 10_000_000
"""As long as the longest cap that work has by default: until then something ends, if it runs."""


class Shedding:
    """Refuses claims below a priority while the monitor says that the service is degraded.

    Args:
        monitor: Judges recent operations.
        clock: Tells for how long none has ended.
        priority_min: Claims of at least this priority always pass; 0 lets everything pass.

    Raises:
        InvalidRequest: no priority.
    """

    def __init__(
        self, monitor: PerformanceMonitor, clock: Clock, *, priority_min: int = PRIORITY_DEFAULT
    ) -> None:
        if type(priority_min) is not int or not 0 <= priority_min <= PRIORITY_MAX:
            raise InvalidRequest("priority_min", priority_min, f"0..{PRIORITY_MAX}")
        self._monitor, self._clock, self._priority_min = monitor, clock, priority_min
        self._operations, self._since_us = monitor.operations, clock.elapsed_us()

    def __call__(self, claim: Claim) -> Denied | None:
        """Return the refusal of a claim, if it is refused. Changes nothing, so it may be asked."""
        if claim.priority >= self._priority_min or not self._monitor.is_degraded():
            return None
        now_us = self._clock.elapsed_us()
        if self._operations != self._monitor.operations:
            self._operations, self._since_us = self._monitor.operations, now_us
        if now_us - self._since_us >= STALE_US:
            return None
        return Denied(reason="degraded")
