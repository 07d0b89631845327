"""Limits: their exact arithmetic, and what no limit may be."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tidegate.domain.limit import Capacity, Quota, RateLimit
from tidegate.domain.period import Period, windows
from tidegate.errors import InvalidLimit


@pytest.mark.parametrize(
    ("units", "period_s", "per_unit", "per_us"),
    [
        (3, 2, 2_000_000, 3),
        (1, 1, 1_000_000, 1),
        (300_000, 1, 10, 3),
        (10**8, 1, 1, 100),
        (1, 0.5, 500_000, 1),
    ],
)
def test_rates_are_exact_in_ticks(units: int, period_s: float, per_unit: int, per_us: int) -> None:
    rate = RateLimit("r", units=units, period_s=period_s).rate
    assert (rate.ticks_per_unit, rate.ticks_per_us) == (per_unit, per_us)
    assert rate.burst == units


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: RateLimit("", units=1, period_s=1), "resource"),
        (lambda: RateLimit("r", units=0, period_s=1), "units"),
        (lambda: RateLimit("r", units=True, period_s=1), "units"),
        (lambda: RateLimit("r", units=1, period_s=0), "period_s"),
        (lambda: RateLimit("r", units=1, period_s=float("nan")), "period_s"),
        (lambda: RateLimit("r", units=1, period_s=1e-7), "period_s"),
        (lambda: RateLimit("r", units=1, period_s=1, burst=0), "burst"),
        (lambda: RateLimit("r", units=1, period_s=1e6, burst=10**5), "burst"),
        (lambda: Capacity("c", units=-1), "units"),
        (lambda: Capacity("c", units=2**60), "units"),
        (lambda: Capacity("c", units=1, per="tenant"), "per"),  # type: ignore[arg-type]
        (lambda: Capacity("c", units=1, per=("cohort",), lend=1), "per"),
        (lambda: Capacity("c", units=1, per=("cohort", "host"), borrow=None), "per"),
        (lambda: Quota("q", units=1, period="fortnight"), "period"),  # type: ignore[arg-type]
    ],
)
def test_limits_that_cannot_be(make: Any, field: str) -> None:
    with pytest.raises(InvalidLimit) as caught:
        make()
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("period", "start", "end", "next_end"),
    [
        ("second", "11:06:40", "11:06:41", "11:06:42"),
        ("minute", "11:06:00", "11:07:00", "11:08:00"),
        ("hour", "11:00:00", "12:00:00", "13:00:00"),
        ("day", "2026-11-18", "2026-11-19", "2026-11-20"),
        ("week", "2026-11-16", "2026-11-23", "2026-11-30"),
        ("month", "2026-11-01", "2026-12-01", "2027-01-01"),
    ],
)
def test_windows(period: Period, start: str, end: str, next_end: str) -> None:
    now = datetime(2026, 11, 18, 11, 6, 40, 500, tzinfo=UTC)
    bounds = windows(period, round(now.timestamp() * 1e6))
    day = "" if "-" in start else "2026-11-18T"
    expected = [
        datetime.fromisoformat(day + text).replace(tzinfo=UTC) for text in (start, end, next_end)
    ]
    assert [datetime.fromtimestamp(bound / 1e6, tz=UTC) for bound in bounds] == expected
