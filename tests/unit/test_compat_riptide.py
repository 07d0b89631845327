"""RipTide's rate limiters: what theirs announced, seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import statistics
from pathlib import Path
from typing import Any

import pytest

from tidegate import AdmissionDenied
from tidegate.compat import riptide
from tidegate.compat.riptide import (
    HostStats,
    PerHostRateLimiter,
    RateLimiter,
    RateLimitExceeded,
    RateLimitStats,
)
from tidegate.errors import InvalidClaim, InvalidLimit
from tidegate.testing import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


async def allowed(limiter: PerHostRateLimiter, host: str, times: int) -> int:
    return [await limiter.check_rate_limit(host) for _ in range(times)].count(None)


async def test_a_host_has_a_burst_of_three_and_then_three_requests_in_two_seconds(
    clock: FakeClock,
) -> None:
    limiter = PerHostRateLimiter(clock=clock, chance=lambda: 0.0)
    assert await allowed(limiter, "a.example", 4) == 3
    wait_s = await limiter.check_rate_limit("a.example")
    assert wait_s == pytest.approx(2 / 3, abs=1e-6)
    assert await allowed(limiter, "b.example", 4) == 3, "hosts are independent"
    clock.advance(us=666_666)
    assert await limiter.check_rate_limit("a.example") is not None
    clock.advance(us=1)
    assert await allowed(limiter, "a.example", 2) == 1
    clock.advance(seconds=3600)
    assert await allowed(limiter, "a.example", 10) == 3, "never more than the burst"


async def test_the_wait_is_long_enough_and_spread(clock: FakeClock) -> None:
    limiter = PerHostRateLimiter(clock=clock)
    waits_s = []
    for number in range(100):
        host = f"{number}.example"
        assert await allowed(limiter, host, 3) == 3
        wait_s = await limiter.check_rate_limit(host)
        assert wait_s is not None
        waits_s.append(wait_s)
    exact_s = 2 / 3
    assert all(exact_s <= wait_s <= exact_s * 1.1 + 1e-6 for wait_s in waits_s)
    assert statistics.pvariance(waits_s) > 0
    clock.advance(seconds=min(waits_s))
    assert await allowed(limiter, "0.example", 2) == 1


async def test_what_is_told_of_hosts_was_counted(clock: FakeClock) -> None:
    limiter = PerHostRateLimiter(clock=clock)
    assert await limiter.get_host_stats("a.example") is None
    await limiter.check_rate_limit("a.example")
    clock.advance(seconds=0.5)
    assert await allowed(limiter, "b.example", 5) == 3
    await limiter.check_rate_limit("c.example")
    assert await limiter.get_host_stats("a.example") == HostStats(
        request_count=1, available_tokens=2, last_request_age=0.5
    )
    assert await limiter.get_all_stats() == {
        "a.example": HostStats(request_count=1, available_tokens=2, last_request_age=0.5),
        "b.example": HostStats(request_count=3, available_tokens=0, last_request_age=0),
        "c.example": HostStats(request_count=1, available_tokens=2, last_request_age=0),
    }
    assert await limiter.tracked_hosts_count() == 3
    assert await limiter.get_stats() == RateLimitStats(
        total_checks=7, successful_checks=5, rate_limited_checks=2, tracked_tenants=3
    )


async def test_hosts_are_forgotten_an_hour_after_their_last_request(clock: FakeClock) -> None:
    limiter = PerHostRateLimiter(clock=clock)
    await limiter.check_rate_limit("old.example")
    clock.advance(seconds=riptide.IDLE_S - 1)
    await limiter.check_rate_limit("new.example")
    assert await limiter.tracked_hosts_count() == 2
    clock.advance(seconds=1)
    assert await limiter.tracked_hosts_count() == 2, "they are looked for every 300 s"
    clock.advance(seconds=riptide.SWEEP_S - 1)
    assert list(await limiter.get_all_stats()) == ["new.example"]
    clock.advance(seconds=riptide.IDLE_S)
    assert await limiter.tracked_hosts_count() == 0
    assert await limiter.get_host_stats("new.example") is None


async def test_ten_thousand_hosts_are_remembered_and_all_are_limited(clock: FakeClock) -> None:
    limiter = PerHostRateLimiter(burst_capacity=1, clock=clock)
    for number in range(riptide.HOSTS_MAX + 1):
        clock.advance(us=1)
        assert await limiter.check_rate_limit(f"{number}.example") is None
    assert await limiter.tracked_hosts_count() == riptide.HOSTS_MAX
    assert await limiter.get_host_stats("0.example") is None, "the one that was idle longest"
    assert await limiter.check_rate_limit("0.example") is not None
    assert await limiter.check_rate_limit("1.example") is not None


async def test_switched_off_it_allows_everything_and_counts(clock: FakeClock) -> None:
    limiter = PerHostRateLimiter(enabled=False, clock=clock)
    assert await allowed(limiter, "a.example", 10) == 10
    assert (await limiter.get_stats()).successful_checks == 10


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("requests_per_second", {"requests_per_second": 0}),
        ("requests_per_second", {"requests_per_second": float("nan")}),
        ("jitter_factor", {"jitter_factor": 1.5}),
        ("burst", {"burst_capacity": 0}),
    ],
)
async def test_limiters_that_cannot_be(field: str, settings: dict[str, Any]) -> None:
    with pytest.raises(InvalidLimit) as caught:
        PerHostRateLimiter(**settings)
    assert caught.value.field == field


async def test_a_tenant_is_asked_for_and_charged_in_the_predecessor_s_words(
    clock: FakeClock,
) -> None:
    limiter = RateLimiter(max_requests=5, window_s=10, clock=clock)
    for left in (5, 4, 3, 2, 1):
        assert await limiter.get_remaining("acme") == left
        await limiter.consume("acme")
    with pytest.raises(
        RateLimitExceeded, match=r"^Rate limit exceeded for tenant: acme$"
    ) as caught:
        await limiter.check_quota("acme")
    assert caught.value.tenant_id == "acme"
    assert isinstance(caught.value, AdmissionDenied)
    assert caught.value.denied.retry_after_us == 2_000_000
    with pytest.raises(RateLimitExceeded):
        await limiter.consume("acme", 2)
    assert await limiter.get_stats() == RateLimitStats(
        total_checks=7, successful_checks=5, rate_limited_checks=2, tracked_tenants=1
    )
    await limiter.check_quota("globex")
    assert await limiter.get_remaining("globex") == 5, "asking takes nothing"
    clock.advance(seconds=2)
    await limiter.consume("acme")
    await limiter.reset("acme")
    await limiter.consume("acme", 5)
    assert (await limiter.get_stats()).tracked_tenants == 2
    with pytest.raises(InvalidClaim, match=r"take\.requests"):
        await limiter.consume("acme", 6)


async def test_of_two_hundred_at_once_the_limit_passes(clock: FakeClock) -> None:
    limiter = RateLimiter(clock=clock)
    outcomes = await asyncio.gather(
        *(limiter.consume("acme") for _ in range(200)),
        return_exceptions=True,
    )
    assert outcomes.count(None) == 90
    assert all(isinstance(each, RateLimitExceeded) for each in outcomes if each is not None)
    assert (await limiter.get_stats()).rate_limited_checks == 110


async def test_the_defaults_run_on_the_clock_of_the_machine() -> None:
    limiter = PerHostRateLimiter(requests_per_second=1e-3)
    assert await allowed(limiter, "a.example", 4) == 3
    stats = await limiter.get_host_stats("a.example")
    assert stats is not None
    assert 0 <= stats.last_request_age < 60


def test_the_guide_shows_what_is_printed() -> None:
    guide = Path(__file__).parents[2] / "docs" / "guides" / "from-riptide.md"
    found = re.search(
        r"^```python\n(.*?)^```\n\n((?:    [^\n]*\n)+)",
        guide.read_text("utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(found[1], str(guide), "exec"), {})
    assert printed.getvalue() == re.sub("^    ", "", found[2], flags=re.MULTILINE)
