"""How well recent operations went.

`PerformanceMonitor` judges the last 100 operations and forgets older ones, so that it recovers.
Durations come in as values; `operations` measures them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields, replace

from tidegate.domain.health import WINDOW_OPERATIONS, Tally, nearest_rank


@dataclass(slots=True)
class OperationCounters:
    """What happened since the start, or since `reset`. Owners add to the fields directly."""

    render_operations: int = 0
    successful_renders: int = 0
    failed_renders: int = 0
    timeouts_count: int = 0
    cleanup_operations: int = 0
    gc_triggers: int = 0

    def reset(self) -> None:
        """Set every counter to zero. For tests."""
        for field in fields(self):
            setattr(self, field.name, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerformanceStats:
    """Score, average and P95 are over the last 100 operations, the others since the start.

    `total_timeouts` are those that had the full default cap; they are among the failed.
    """

    total_operations: int
    successful_operations: int
    failed_operations: int
    total_timeouts: int
    items_processed: int
    success_rate: float
    degradation_score: float
    average_us: float
    p95_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Outcome:
    """How one operation ended. `duration_us` is None where nobody told."""

    operation_type: str | None
    duration_us: int | None
    success: bool = False
    timed_out: bool = False


class PerformanceMonitor:
    """The last 100 operations, their degradation score, average and P95."""

    def __init__(self, counters: OperationCounters | None = None) -> None:
        self.counters = counters if counters is not None else OperationCounters()
        self._window: deque[_Outcome] = deque(maxlen=WINDOW_OPERATIONS)
        self._total = self._successful = self._timeouts = self._items = 0

    def record_operation(
        self,
        operation_type: str,
        duration_us: int,
        success: bool,
        items_processed: int = 0,
        *,
        judged: bool = True,
    ) -> None:
        """Record an operation that ended by itself.

        Args:
            operation_type: `render`, `pdf`, ...; renders are also counted in `counters`.
            duration_us: Below zero, after the clock was set back, counts as zero.
            success: Whether the caller got what it asked for.
            items_processed: Pages, links, results; summed up for the statistics.
            judged: False where the end says nothing about the service, such as an address that
                does not exist: counted, but not part of the score.
        """
        outcome = _Outcome(
            operation_type=operation_type, duration_us=max(0, duration_us), success=success
        )
        self._count(outcome)
        self._items += items_processed
        if judged:
            self._window.append(outcome)

    def record_timeout(
        self,
        operation_type: str | None = None,
        duration_us: int | None = None,
        *,
        full_cap: bool = True,
    ) -> None:
        """Record an operation that was ended at its cap. It is a failure too.

        Args:
            operation_type: As above, or None for any type.
            duration_us: None if the operation may have been recorded as failed already: then the
                newest failure of that type becomes a timeout, and no operation is added.
            full_cap: False if the caller had asked for less than the default cap. Such an
                end says nothing about the service: it is counted, but not judged.
        """
        self.counters.timeouts_count += 1
        if duration_us is None and full_cap and self._mark_timeout(operation_type):
            self._timeouts += 1
            return
        outcome = _Outcome(
            operation_type=operation_type,
            duration_us=None if duration_us is None else max(0, duration_us),
            timed_out=True,
        )
        self._count(outcome)
        if full_cap:
            self._timeouts += 1
            self._window.append(outcome)

    @property
    def operations(self) -> int:
        """Operations that were recorded since the start."""
        return self._total

    def get_degradation_score(self) -> float:
        """Return 0.0 (well) to 1.0 (every recent operation timed out)."""
        return self._tally().score

    def is_degraded(self) -> bool:
        """Say whether the score is above 0.6, or at least half of 20 or more failed."""
        return self._tally().degraded

    def get_stats(self) -> PerformanceStats:
        """Return all figures as of now."""
        durations = [o.duration_us for o in self._window if o.duration_us is not None]
        return PerformanceStats(
            total_operations=self._total,
            successful_operations=self._successful,
            failed_operations=self._total - self._successful,
            total_timeouts=self._timeouts,
            items_processed=self._items,
            success_rate=self._successful / self._total if self._total else 0.0,
            degradation_score=self.get_degradation_score(),
            average_us=sum(durations) / len(durations) if durations else 0.0,
            p95_us=nearest_rank(durations, 95),
        )

    def _tally(self) -> Tally:
        return Tally(
            operations=len(self._window),
            failures=sum(not outcome.success for outcome in self._window),
            timeouts=sum(outcome.timed_out for outcome in self._window),
        )

    def _count(self, outcome: _Outcome) -> None:
        self._total += 1
        self._successful += outcome.success
        if outcome.operation_type == "render":
            self.counters.render_operations += 1
            self.counters.successful_renders += outcome.success
            self.counters.failed_renders += not outcome.success

    def _mark_timeout(self, operation_type: str | None) -> bool:
        for index in reversed(range(len(self._window))):
            outcome = self._window[index]
            if outcome.success or outcome.timed_out:
                continue
            if operation_type in (None, outcome.operation_type):
                self._window[index] = replace(outcome, timed_out=True)
                return True
        return False
