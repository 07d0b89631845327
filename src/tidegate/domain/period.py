"""Calendar periods of quotas, as instants in UTC.

A rule carries the boundaries of the current and the next window instead of a calendar, so that a
store can pick the window by its own clock with two comparisons, in any language.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

from tidegate.errors import InvalidLimit

Period = Literal["second", "minute", "hour", "day", "week", "month"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTH_US: dict[Period, int] = {
    "second": 1_000_000,
    "minute": 60_000_000,
    "hour": 3_600_000_000,
    "day": 86_400_000_000,
    "week": 7 * 86_400_000_000,
}
# 1970-01-01 was a Thursday; ISO 8601 weeks begin on Monday, four days later.
_WEEK_OFFSET_US = 4 * _LENGTH_US["day"]


def check_period(period: str) -> Period:
    """Return the period, or raise InvalidLimit naming the ones there are."""
    for known in get_args(Period):
        if period == known:
            return known  # type: ignore[no-any-return]
    raise InvalidLimit("period", period, " | ".join(get_args(Period)))


def windows(period: Period, now_us: int) -> tuple[int, int, int]:
    """Return where the window around `now_us` starts, where it ends, and where the next one ends.

    The start is inside the window, the end is not. Microseconds since the epoch.
    """
    if period == "month":
        return _months(now_us)
    length_us = _LENGTH_US[period]
    offset_us = _WEEK_OFFSET_US if period == "week" else 0
    start_us = (now_us - offset_us) // length_us * length_us + offset_us
    return start_us, start_us + length_us, start_us + 2 * length_us


def _months(now_us: int) -> tuple[int, int, int]:
    now = _EPOCH + timedelta(microseconds=now_us)
    ordinal = now.year * 12 + now.month - 1
    start_us, end_us, next_us = (
        (datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
        for month in (ordinal, ordinal + 1, ordinal + 2)
    )
    return start_us, end_us, next_us
