"""The score, its window, its averages, and what counts as a timeout."""

from __future__ import annotations

import pytest

from tidegate.domain.health import Tally, nearest_rank
from tidegate.facades.performance import OperationCounters, PerformanceMonitor


@pytest.mark.parametrize(
    ("operations", "failures", "timeouts", "score", "degraded"),
    [
        pytest.param(0, 0, 0, 0.0, False, id="nothing happened yet"),
        pytest.param(10, 0, 0, 0.0, False, id="ten good ones"),
        pytest.param(15, 5, 0, 2 / 15, False, id="five of fifteen failed"),
        pytest.param(10, 10, 10, 1.0, True, id="ten of ten timed out"),
        pytest.param(10, 6, 6, 0.6, False, id="exactly 0.6 is not degraded"),
        pytest.param(18, 11, 11, 11 / 18, True, id="0.611 is degraded"),
        pytest.param(19, 19, 0, 0.4, False, id="all failed, but too few to tell"),
        pytest.param(20, 10, 0, 0.2, True, id="half of twenty failed"),
        pytest.param(20, 9, 9, 0.45, False, id="less than half of twenty timed out"),
        pytest.param(100, 49, 49, 0.49, False, id="just below half of a full window"),
    ],
)
def test_the_score_and_when_it_is_degraded(
    operations: int, failures: int, timeouts: int, score: float, degraded: bool
) -> None:
    tally = Tally(operations=operations, failures=failures, timeouts=timeouts)
    assert tally.score == pytest.approx(score)
    assert tally.degraded is degraded


@pytest.mark.parametrize(
    ("values", "p95"),
    [
        ([], 0),
        ([7], 7),
        (list(range(100, 0, -1)), 95),
        (list(range(1, 21)), 19),
        (list(range(1, 22)), 20),
    ],
)
def test_p95_is_the_nearest_rank(values: list[int], p95: int) -> None:
    assert nearest_rank(values, 95) == p95


def test_the_monitor_adds_up_three_operations() -> None:
    monitor = PerformanceMonitor()
    monitor.record_operation("render", 100_000, True, items_processed=2)
    monitor.record_operation("pdf", 200_000, True)
    monitor.record_operation("render", 150_000, False, items_processed=1)
    stats = monitor.get_stats()
    assert (stats.total_operations, stats.successful_operations, stats.failed_operations) == (
        3,
        2,
        1,
    )
    assert (stats.average_us, stats.p95_us, stats.items_processed) == (150_000, 200_000, 3)
    assert stats.success_rate == pytest.approx(2 / 3)
    assert stats.total_timeouts == 0
    assert stats.degradation_score == pytest.approx(0.4 / 3)


def test_a_fresh_monitor_is_well() -> None:
    stats = PerformanceMonitor().get_stats()
    assert (stats.success_rate, stats.average_us, stats.p95_us) == (0.0, 0.0, 0)
    assert stats.degradation_score == 0.0
    assert not PerformanceMonitor().is_degraded()


@pytest.mark.parametrize("reported_before", [True, False])
def test_a_timeout_is_one_failed_operation_however_it_is_reported(reported_before: bool) -> None:
    monitor = PerformanceMonitor()
    for _ in range(10):
        if reported_before:
            monitor.record_operation("render", 3_000_000, False)
    for _ in range(10):
        monitor.record_timeout("render", None if reported_before else 3_000_000)
    stats = monitor.get_stats()
    assert (stats.total_operations, stats.failed_operations, stats.total_timeouts) == (10, 10, 10)
    assert stats.p95_us == 3_000_000
    assert stats.degradation_score == 1.0
    assert monitor.is_degraded()
    assert monitor.counters.failed_renders == 10
    assert monitor.counters.timeouts_count == 10


def test_a_late_timeout_marks_a_failure_of_its_own_type_only() -> None:
    monitor = PerformanceMonitor()
    monitor.record_operation("pdf", 1, False)
    monitor.record_operation("render", 1, True)
    monitor.record_timeout("render")
    assert monitor.get_stats().total_operations == 3
    monitor.record_timeout()
    stats = monitor.get_stats()
    assert (stats.total_operations, stats.total_timeouts, stats.failed_operations) == (3, 2, 2)


def test_tiny_caps_cannot_make_the_service_look_degraded() -> None:
    monitor = PerformanceMonitor()
    for _ in range(5):
        monitor.record_operation("render", 1_000_000, True)
    for _ in range(200):
        monitor.record_timeout("render", 10, full_cap=False)
    stats = monitor.get_stats()
    assert (stats.failed_operations, stats.total_timeouts, stats.p95_us) == (200, 0, 1_000_000)
    assert stats.degradation_score == 0.0
    assert not monitor.is_degraded()
    assert monitor.counters.timeouts_count == 200


def test_the_monitor_forgets_what_is_older_than_100_operations() -> None:
    monitor = PerformanceMonitor()
    for _ in range(100):
        monitor.record_timeout("render", 9_000_000)
    assert monitor.is_degraded()
    for milliseconds in range(1, 101):
        monitor.record_operation("render", milliseconds * 1_000, True)
    stats = monitor.get_stats()
    assert stats.degradation_score == 0.0
    assert not monitor.is_degraded()
    assert (stats.p95_us, stats.average_us) == (95_000, 50_500)
    assert (stats.total_operations, stats.total_timeouts, stats.success_rate) == (200, 100, 0.5)


def test_a_clock_set_back_makes_no_negative_duration() -> None:
    monitor = PerformanceMonitor()
    monitor.record_operation("render", -5, True)
    monitor.record_timeout("render", -5)
    assert monitor.get_stats().average_us == 0


def test_counters_count_renders_and_can_be_reset() -> None:
    counters = OperationCounters()
    monitor = PerformanceMonitor(counters)
    for number in range(100):
        monitor.record_operation("render", 1, number < 95)
    monitor.record_operation("pdf", 1, False)
    assert (counters.render_operations, counters.successful_renders) == (100, 95)
    assert counters.failed_renders == 5
    counters.reset()
    assert counters == OperationCounters()
