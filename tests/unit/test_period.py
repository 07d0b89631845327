"""Windows of quotas: exact at every instant, in every zone, also where clocks change."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.period import Period, check_period, check_zone, fixed_windows, windows
from tidegate.errors import InvalidLimit

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_US = 3_600_000_000
PERIODS: list[Period] = ["second", "minute", "hour", "day", "week", "month", "quarter"]
CHANGES = {
    "Europe/Berlin spring": ("Europe/Berlin", "2026-03-29T01:00", 23),
    "Europe/Berlin autumn": ("Europe/Berlin", "2026-10-25T01:00", 25),
    "America/New_York spring": ("America/New_York", "2026-03-08T07:00", 23),
    "America/New_York autumn": ("America/New_York", "2026-11-01T06:00", 25),
    "Lord Howe, half an hour, spring": ("Australia/Lord_Howe", "2026-10-03T15:30", 23.5),
    "Lord Howe, half an hour, autumn": ("Australia/Lord_Howe", "2026-04-04T15:00", 24.5),
    "Kathmandu, new offset of 5:45": ("Asia/Kathmandu", "1985-12-31T18:30", 23.75),
    "Sao Paulo, midnight is skipped": ("America/Sao_Paulo", "2018-11-04T03:00", 23),
    "Sao Paulo, back from midnight": ("America/Sao_Paulo", "2018-02-18T02:00", 25),
    "Cairo, midnight is skipped": ("Africa/Cairo", "2024-04-25T22:00", 23),
    "Cairo, back from midnight": ("Africa/Cairo", "2024-10-31T21:00", 25),
    "Havana, midnight is there twice": ("America/Havana", "2026-11-01T05:00", 25),
    "St. Johns, back over midnight": ("America/St_Johns", "2010-11-07T02:31", 25),
    "Toronto, jump over midnight": ("America/Toronto", "1919-03-31T04:30", 23.5),
    "Apia, a whole day is skipped": ("Pacific/Apia", "2011-12-30T10:00", 24),
}
"""A zone, the instant at which its clocks change, and the hours of the day that has the change."""

at_change = pytest.mark.parametrize(
    ("zone", "changed", "hours"), CHANGES.values(), ids=list(CHANGES)
)
zoned = pytest.mark.needs("tzdata")


def us(text: str) -> int:
    return (datetime.fromisoformat(text).replace(tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


def shown(at_us: int, zone: str) -> datetime:
    """What the clocks of the zone show, without its offset."""
    instant = EPOCH + timedelta(microseconds=at_us)
    return instant.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def label(day: date, period: Period) -> date:
    """The first day of the day, week, month or quarter."""
    if period == "week":
        return date.fromisocalendar(*day.isocalendar()[:2], 1)
    months = {"day": None, "month": day.month, "quarter": (day.month - 1) // 3 * 3 + 1}[period]
    return day if months is None else date(day.year, months, 1)


@zoned
@at_change
@pytest.mark.parametrize("period", ["day", "week", "month", "quarter"])
def test_windows_begin_when_the_clocks_first_show_their_first_day(
    zone: str, changed: str, hours: float, period: Period
) -> None:
    """The clocks are read minute by minute, two days to each side; nothing is computed."""
    minutes = range(us(changed) - 48 * HOUR_US, us(changed) + 48 * HOUR_US, 60_000_000)
    begun = label(shown(minutes[0], zone).date(), period)
    starts = [windows(period, minutes[0], zone)[0]]
    for minute in minutes:
        seen = label(shown(minute, zone).date(), period)
        if seen > begun:
            begun, starts = seen, [*starts, minute]
    looked_at = {*minutes[::37], *starts[1:], *(start_us - 1 for start_us in starts[1:])}
    for now_us in looked_at:
        earlier = [start_us for start_us in starts if start_us <= now_us]
        assert windows(period, now_us, zone)[0] == earlier[-1]


@zoned
@at_change
def test_days_of_a_change_have_their_own_length(zone: str, changed: str, hours: float) -> None:
    start_us, end_us, _ = windows("day", us(changed), zone)
    before_us, same_us, _ = windows("day", us(changed) - 1, zone)
    assert hours in [(end_us - start_us) / HOUR_US, (same_us - before_us) / HOUR_US]


def assert_windows_abut(period: Period, now_us: int, zone: str) -> None:
    start_us, end_us, next_us = windows(period, now_us, zone)
    assert start_us <= now_us < end_us < next_us
    assert windows(period, start_us, zone) == windows(period, end_us - 1, zone)
    assert windows(period, start_us, zone) == (start_us, end_us, next_us)
    assert windows(period, end_us, zone)[:2] == (end_us, next_us)
    assert windows(period, start_us - 1, zone)[1] == start_us


@zoned
@given(
    period=st.sampled_from(PERIODS),
    change=st.sampled_from(list(CHANGES.values())),
    away_us=st.one_of(
        st.integers(-50 * HOUR_US, 50 * HOUR_US),
        st.sampled_from([-HOUR_US, -HOUR_US // 2, -1, 0, 1, HOUR_US // 2, HOUR_US]),
    ),
)
def test_every_instant_is_in_one_window(
    period: Period, change: tuple[str, str, float], away_us: int
) -> None:
    zone, changed, _ = change
    assert_windows_abut(period, us(changed) + away_us, zone)


@zoned
@given(
    period=st.sampled_from(PERIODS),
    zone=st.sampled_from(sorted({zone for zone, _, _ in CHANGES.values()} | {"UTC"})),
    now_us=st.integers(us("1900-01-01"), us("2200-01-01")),
)
def test_every_instant_of_three_centuries(period: Period, zone: str, now_us: int) -> None:
    assert_windows_abut(period, now_us, zone)


@zoned
@pytest.mark.parametrize(
    ("zone", "now", "lengths_min"),
    [
        pytest.param("Europe/Berlin", "2026-10-25T00:30", (60, 60), id="an hour twice is two"),
        pytest.param("Asia/Kathmandu", "2026-01-01T00:20", (60, 60), id="a quarter past"),
        pytest.param("Australia/Lord_Howe", "2026-10-03T15:29", (60, 30), id="half is skipped"),
        pytest.param("Australia/Lord_Howe", "2026-04-04T14:59", (60, 30), id="half comes twice"),
    ],
)
def test_hours_are_full_where_the_clocks_say_so(
    zone: str, now: str, lengths_min: tuple[int, int]
) -> None:
    start_us, end_us, next_us = windows("hour", us(now), zone)
    assert ((end_us - start_us) // 60_000_000, (next_us - end_us) // 60_000_000) == lengths_min
    assert shown(start_us, zone).minute == 0


@pytest.mark.parametrize(
    ("period", "start", "end", "next_end"),
    [
        ("week", "2026-12-28", "2027-01-04", "2027-01-11"),
        ("month", "2026-12-01", "2027-01-01", "2027-02-01"),
        ("quarter", "2026-10-01", "2027-01-01", "2027-04-01"),
    ],
)
def test_calendar_periods_across_the_year(
    period: Period, start: str, end: str, next_end: str
) -> None:
    assert windows(period, us("2026-12-31T12:00")) == (us(start), us(end), us(next_end))


@given(
    length_us=st.integers(1, 10**15),
    now_us=st.integers(-(10**16), 10**16),
    origin_us=st.integers(-(10**16), 10**16),
)
def test_windows_of_a_fixed_length(length_us: int, now_us: int, origin_us: int) -> None:
    start_us, end_us, next_us = fixed_windows(length_us, now_us, origin_us)
    assert (start_us - origin_us) % length_us == 0
    assert start_us <= now_us < end_us
    assert (end_us - start_us, next_us - end_us) == (length_us, length_us)


def test_periods_are_known_by_name() -> None:
    assert [check_period(period) for period in PERIODS] == PERIODS
    with pytest.raises(InvalidLimit, match="period='year'") as caught:
        check_period("year")
    assert caught.value.field == "period"


@zoned
@pytest.mark.parametrize(
    "zone",
    [
        *("", "Berlin", "Europe/Berlin ", "Europe", "../etc/passwd", "/etc/localtime"),
        *("right/UTC", "localtime", "UTC\0", "\ud800", "E" * 5000, "zone.tab", None, 1),
    ],
)
def test_zones_that_there_are_not(zone: str) -> None:
    with pytest.raises(InvalidLimit, match="IANA") as caught:
        check_zone(zone)
    assert caught.value.field == "zone"


@zoned
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Etc/GMT+5", "America/Indiana/Knox"])
def test_zones_that_there_are(zone: str) -> None:
    assert check_zone(zone) == zone


def test_a_machine_without_zones_says_what_to_install() -> None:
    program = """
import sys
sys.modules["tzdata"] = None
from tidegate.domain.period import check_zone, windows
from tidegate.errors import InvalidLimit
assert check_zone("UTC") == "UTC"
assert windows("month", 0) == (0, 31 * 86_400_000_000, 59 * 86_400_000_000)
try:
    check_zone("Europe/Berlin")
except InvalidLimit as error:
    print(error)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("zone='Europe/Berlin', allowed UTC: ")
    assert ended.stdout.endswith("pip install tzdata\n")
