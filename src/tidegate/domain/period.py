"""Windows of quotas, as instants: calendar periods in any time zone, and fixed lengths.

A rule carries the boundaries of the current and the next window instead of a calendar, so that a
store can pick the window by its own clock with two comparisons, in any language.

A window of a day or more begins at the first instant at which the clocks of its zone show its
first midnight, or later where they jump over that; it ends where the next one begins. So a day has
23 or 25 hours where clocks change, and no instant is in two windows or in none. An hour and less is
time that really passes, and begins where the clocks show it full; a change of the clocks that
moves this, as by half an hour on Lord Howe, ends one window and begins another.

The rules of a zone are a table that comes with the system or with the package `tzdata`, as those
of Unicode come with Python: the same at every call, so this stays pure. It is read once for each
name, when a limit that names it is made; no decision reads a file.

Source: the IANA time zone database, by PEP 615; PEP 495 for local times that are there twice or
never; ISO 8601 for weeks, which begin on Monday.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from typing import Literal, get_args

from tidegate.errors import InvalidLimit

Period = Literal["second", "minute", "hour", "day", "week", "month", "quarter"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_SHORT_US = {"second": 1_000_000, "minute": 60_000_000, "hour": 3_600_000_000}
_MONTHS = {"month": 1, "quarter": 3}
# `posix` and `right` repeat every zone, the latter by other seconds than ours; the other two are
# whatever the machine was set to.
_NO_ZONES = {"posix", "right", "localtime", "posixrules"}


def check_period(period: str) -> Period:
    """Return the period, or raise InvalidLimit naming the ones there are."""
    for known in get_args(Period):
        if period == known:
            return known  # type: ignore[no-any-return]
    raise InvalidLimit("period", period, " | ".join(get_args(Period)))


def check_zone(zone: str) -> str:
    """Return the name of a time zone whose rules are here.

    Raises:
        InvalidLimit: there is no such zone, or no database of zones to look it up in.
    """
    if isinstance(zone, str) and zone.partition("/")[0] not in _NO_ZONES and _has_rules(zone):
        return zone
    if not _has_rules("Etc/UTC"):
        allowed = "UTC: this system has no time zone database; pip install tzdata"
        raise InvalidLimit("zone", zone, allowed)
    raise InvalidLimit("zone", zone, "a name of the IANA database, such as Europe/Berlin, or UTC")


def windows(period: Period, now_us: int, zone: str = "UTC") -> tuple[int, int, int]:
    """Return where the window around `now_us` starts, where it ends, and where the next one ends.

    The start is inside the window, the end is not. Microseconds since the epoch.

    Args:
        period: One that `check_period` knows.
        now_us: Any instant of the years 2 to 9998.
        zone: Whose calendar it is; one that `check_zone` knows.
    """
    clocks = _clocks(zone)
    start_us, end_us = _span(period, now_us, clocks)
    return start_us, end_us, _span(period, end_us, clocks)[1]


def fixed_windows(length_us: int, now_us: int, origin_us: int = 0) -> tuple[int, int, int]:
    """Return the same for windows that are all `length_us` long, one of which starts at the origin.

    They follow no calendar: clocks may change as they like.
    """
    start_us = now_us - (now_us - origin_us) % length_us
    return start_us, start_us + length_us, start_us + 2 * length_us


def _span(period: Period, now_us: int, clocks: tzinfo) -> tuple[int, int]:
    length_us = _SHORT_US.get(period)
    return _days(period, now_us, clocks) if length_us is None else _short(length_us, now_us, clocks)


def _short(length_us: int, now_us: int, clocks: tzinfo) -> tuple[int, int]:
    offset_us = _offset_us(now_us, clocks)
    start_us = now_us - (now_us + offset_us) % length_us
    end_us = start_us + length_us
    if (_offset_us(start_us, clocks) - offset_us) % length_us:
        start_us = _change_us(start_us, now_us, clocks)
    if (_offset_us(end_us - 1, clocks) - offset_us) % length_us:
        end_us = _change_us(now_us, end_us - 1, clocks)
    return start_us, end_us


def _days(period: Period, now_us: int, clocks: tzinfo) -> tuple[int, int]:
    first = _first_day(period, (_EPOCH + now_us * _US).astimezone(clocks).date())
    following = _following(period, first)
    # Clocks that go back over midnight show a day whose window is over.
    while (end_us := _midnight_us(following, clocks)) <= now_us:
        first, following = following, _following(period, following)
    return _midnight_us(first, clocks), end_us


def _first_day(period: Period, day: date) -> date:
    if period == "day":
        return day
    if period == "week":
        return day - timedelta(days=day.weekday())
    months = _MONTHS[period]
    return day.replace(month=(day.month - 1) // months * months + 1, day=1)


def _following(period: Period, first: date) -> date:
    if period in _MONTHS:
        # So far that the next begins before it, and the one after does not.
        return _first_day(period, first + timedelta(days=31 * _MONTHS[period]))
    return first + timedelta(days=7 if period == "week" else 1)


def _midnight_us(day: date, clocks: tzinfo) -> int:
    """Return the first instant at which the clocks show the day's midnight or later."""
    midnight = datetime.combine(day, time(), clocks)
    shown_us = (midnight.replace(tzinfo=UTC) - _EPOCH) // _US
    early_us, late_us = (shown_us - _ahead_us(midnight.replace(fold=fold)) for fold in (0, 1))
    # A time that is there twice has two readings in their order, a skipped one in the opposite:
    # then the clocks change between them.
    return early_us if early_us <= late_us else _change_us(late_us, early_us, clocks)


def _change_us(low_us: int, high_us: int, clocks: tzinfo) -> int:
    """Return the instant, after the first and up to the second, at which the clocks change."""
    before_us = _offset_us(low_us, clocks)
    while high_us - low_us > 1:
        middle_us = (low_us + high_us) // 2
        if _offset_us(middle_us, clocks) == before_us:
            low_us = middle_us
        else:
            high_us = middle_us
    return high_us


def _offset_us(at_us: int, clocks: tzinfo) -> int:
    return _ahead_us((_EPOCH + at_us * _US).astimezone(clocks))


def _ahead_us(local: datetime) -> int:
    offset = local.utcoffset()
    assert offset is not None
    return offset // _US


def _has_rules(zone: str) -> bool:
    try:
        _clocks(zone)
    except (KeyError, ValueError, OSError):
        return False
    return True


@lru_cache(maxsize=1_024)  # More than there are zones.
def _clocks(zone: str) -> tzinfo:
    if zone == "UTC":
        return UTC
    from zoneinfo import ZoneInfo

    return ZoneInfo(zone)
