"""Trials of a policy decide as the gate decides, and what they report adds up."""

from __future__ import annotations

import heapq
import json
import random
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import Capacity, Claim, Gate, Quota, RateLimit
from tidegate.domain.limit import Limit
from tidegate.errors import InvalidRequest
from tidegate.facades.replay import report
from tidegate.facades.replay.arrivals import Arrivals, arrivals
from tidegate.facades.replay.recording import InOrder, Recording
from tidegate.facades.replay.report import Comparison, Refusal
from tidegate.facades.replay.request import Request, Unsaid
from tidegate.facades.replay.trial import Trial, VirtualClock, compare, run

NOON_US = 1_795_262_400_000_000
"""2026-11-21T12:00:00Z."""
SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US


def trial(*limits: Limit, name: str = "policy") -> Trial:
    clock = VirtualClock()
    return Trial(name, Gate(limits, clock=clock), clock)


def decided(trial_: Trial, requests: list[Request]) -> list[str]:
    """For each request what refused it, or nothing."""
    return ["" if (no := trial_.decide(each)) is None else no.refused_by for each in requests]


def asked(at_s: float, *, held_s: float = 0, tenant: str = "acme", **claim: Any) -> Request:
    at_us = NOON_US + round(at_s * SECOND_US)
    return Request(
        at_us=at_us, claim=Claim(tenant=tenant, **claim), held_us=round(held_s * SECOND_US)
    )


class Oracle:
    """A rate, a quota per minute and a capacity, each by its definition and in exact fractions."""

    def __init__(self, *, rate: int, burst: int, quota: int, capacity: int) -> None:
        self.rate, self.burst, self.quota, self.capacity = rate, burst, quota, capacity
        self.level, self.seen_us, self.minute, self.spent = Fraction(0), 0, 0, 0
        self.ends: list[tuple[int, int]] = []

    def refuses(self, at_us: int, units: int, held: int, held_us: int) -> bool:
        while self.ends and self.ends[0][0] <= at_us:
            heapq.heappop(self.ends)
        in_use = sum(units for _, units in self.ends)
        leaked = Fraction(self.rate * (at_us - self.seen_us), SECOND_US)
        level = max(Fraction(0), self.level - leaked) if self.seen_us else Fraction(0)
        spent = self.spent if at_us // (60 * SECOND_US) == self.minute else 0
        if (
            level + units > self.burst
            or spent + units > self.quota
            or in_use + held > self.capacity
        ):
            return True
        self.level, self.seen_us = level + units, at_us
        self.minute, self.spent = at_us // (60 * SECOND_US), spent + units
        if held:
            heapq.heappush(self.ends, (at_us + held_us, held))
        return False


asks = st.tuples(
    st.integers(0, 20 * SECOND_US), st.integers(1, 3), st.integers(0, 2), st.integers(0, 10**7)
)


@given(steps=st.lists(asks, max_size=40), rate=st.integers(1, 5), burst=st.integers(3, 6))
def test_a_trial_decides_as_the_definitions_say(
    steps: list[tuple[int, int, int, int]], rate: int, burst: int
) -> None:
    oracle = Oracle(rate=rate, burst=burst, quota=9, capacity=3)
    under_trial = trial(
        RateLimit("requests", units=rate, period_s=1, burst=burst),
        Quota("requests", units=9, period="minute", name="minute"),
        Capacity("slots", units=3),
    )
    at_us = NOON_US
    for gap_us, units, held, held_us in steps:
        at_us += gap_us
        claim = Claim(take={"requests": units}, hold={"slots": held} if held else {})
        refusal = under_trial.decide(Request(at_us=at_us, claim=claim, held_us=held_us))
        assert (refusal is not None) == oracle.refuses(at_us, units, held, held_us)


def test_what_is_held_comes_back_when_the_log_says() -> None:
    slots = trial(Capacity("slots", units=1))
    hold = {"slots": 1}
    days = 100 * DAY_US / SECOND_US
    assert decided(
        slots,
        [
            asked(0, hold=hold, held_s=10),
            asked(9.999_999, hold=hold),
            asked(10, hold=hold, held_s=0),
            asked(10, hold=hold, held_s=days),
            asked(10 + days - 0.000_001, hold=hold),
            asked(10 + days, hold=hold, held_s=1),
        ],
    ) == ["", "slots", "", "", "slots", ""]


def test_claims_that_can_never_be_granted_are_refused_and_say_why() -> None:
    under_trial = trial(RateLimit("requests", units=2, period_s=1, per=("tenant", "host")))
    much = under_trial.decide(asked(0, take={"requests": 3}, host="h"))
    nowhere = under_trial.decide(asked(1, take={"requests": 1}))
    assert much is not None
    assert nowhere is not None
    assert (much.reason, "take.requests=3" in much.why) == ("invalid_claim", True)
    assert (nowhere.refused_by, "host=None" in nowhere.why) == ("invalid_claim", True)


def test_resources_without_a_limit_let_everything_through() -> None:
    under_trial = trial(RateLimit("requests", units=1, period_s=60))
    take = {"requests": 1, "tokens": 10**9}
    assert decided(under_trial, [asked(0, take=take), asked(1, take=take)]) == ["", "requests"]
    assert decided(under_trial, [asked(2, take={"tokens": 1})]) == [""]
    assert under_trial.report().unlimited == {"tokens": 3}


def test_late_requests_are_decided_where_they_stand() -> None:
    under_trial = trial(RateLimit("requests", units=1, period_s=10))
    take = {"requests": 1}
    assert decided(under_trial, [asked(20, take=take), asked(5, take=take)]) == ["", "requests"]
    assert under_trial.decide(asked(30, take=take)) is None


def test_the_report_adds_up() -> None:
    under_trial = trial(
        RateLimit("requests", units=1, period_s=1, burst=2, per=("tenant",)),
        Capacity("slots", units=1),
    )
    take, hold = {"requests": 1}, {"slots": 1}
    requests = [
        *(asked(0.1 * n, take=take) for n in range(5)),
        asked(59, take=take, tenant="b", hold=hold, held_s=9),
        asked(60, take=take, tenant="c", hold=hold, held_s=9),
        asked(61, take=take),
        *(asked(120 + n, take=take, tenant="b") for n in range(6)),
    ]
    noted: list[Refusal] = []
    run(requests, under_trial, lambda _, refusal: noted.append(refusal))
    found = under_trial.report()
    assert (found.requests, found.refused, found.share) == (14, 4, round(4 / 14, 6))
    assert found.reasons == {"exhausted": 1, "rate_limited": 3}
    assert [(row.limit, row.refused, row.tenants) for row in found.limits] == [
        ("requests", 3, 1),
        ("slots", 1, 1),
    ]
    rows = [(row.tenant, row.requests, row.refused, row.worst_limit) for row in found.tenants]
    assert rows == [("acme", 6, 3, "requests"), ("c", 1, 1, "slots"), ("b", 7, 0, None)]
    acme = found.tenants[0]
    assert (acme.first_refused, acme.last_refused) == (
        report.instant(NOON_US + 200_000),
        report.instant(NOON_US + 400_000),
    )
    minute = found.busiest_minute
    assert minute is not None
    assert (minute.start, minute.requests, minute.refused) == (report.instant(NOON_US), 6, 3)
    assert [refusal.retry_after_us for refusal in noted] == [800_000, 700_000, 600_000, 8_000_000]
    assert trial().report().busiest_minute is None


def test_tenants_beyond_the_most_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "TENANTS_MAX", 2)
    under_trial = trial(Capacity("slots", units=1))
    hold = {"slots": 1}
    decided(under_trial, [asked(0, tenant=name, hold=hold, held_s=9) for name in "abcd"])
    rows = {row.tenant: (row.requests, row.refused) for row in under_trial.report().tenants}
    assert rows == {"a": (1, 0), "b": (1, 1), report.OTHERS: (2, 2)}


def test_two_policies_are_compared_request_by_request() -> None:
    strict, lax = (
        trial(RateLimit("requests", units=1, period_s=60, burst=burst, per=("tenant",)), name=name)
        for burst, name in ((1, "strict"), (2, "lax"))
    )
    take = {"requests": 1}
    requests = [asked(n, take=take, tenant=name) for n, name in enumerate("aaabbc")]
    noted: list[str] = []
    found: Comparison = compare(requests, (strict, lax), lambda name, _: noted.append(name))
    assert (found.total.only_first, found.total.only_second, found.total.both) == (2, 0, 1)
    assert [(row.tenant, row.only_first, row.both) for row in found.tenants()] == [
        ("a", 1, 1),
        ("b", 1, 0),
    ]
    assert Counter(noted) == {"strict": 3, "lax": 1}


@pytest.mark.parametrize("pattern", ["poisson", "bursty"])
def test_arrivals_by_chance(pattern: Any) -> None:
    shape = Arrivals(pattern=pattern, requests=20_000, per_s=40, tenants=10, skew=1)
    made = list(arrivals(shape, Unsaid(), random.Random(5).random))
    assert made == list(arrivals(shape, Unsaid(), random.Random(5).random))
    assert made != list(arrivals(shape, Unsaid(), random.Random(6).random))
    assert all(earlier.at_us <= later.at_us for earlier, later in pairwise(made))
    seconds = (made[-1].at_us - made[0].at_us) / SECOND_US
    # Sums of 20,000 waits are within 3 %, those of about 20 bursts and silences within a half.
    assert seconds == pytest.approx(500, rel=0.03 if pattern == "poisson" else 0.5)
    counts = Counter(each.at_us // SECOND_US for each in made)
    per_second = [counts[second] for second in range(min(counts), max(counts) + 1)]
    mean = sum(per_second) / len(per_second)
    variance = sum((n - mean) ** 2 for n in per_second) / len(per_second)
    # Of Poisson counts the variance is the mean; bursts have far more.
    assert (variance / mean < 1.5) == (pattern == "poisson")
    tenants = Counter(each.claim.tenant for each in made)
    assert tenants["tenant-1"] / tenants["tenant-2"] == pytest.approx(2, rel=0.1)
    assert len(tenants) == 10


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("rate", {"per_s": 0}),
        ("rate", {"per_s": float("nan")}),
        ("tenants", {"tenants": 0}),
        ("zipf", {"skew": -1}),
        ("requests", {"per_s": 1e-9}),
    ],
)
def test_arrivals_that_cannot_be(field: str, changes: dict[str, Any]) -> None:
    possible: dict[str, Any] = {
        "pattern": "poisson",
        "requests": 5,
        "per_s": 1,
        "tenants": 1,
        "skew": 0,
    }
    with pytest.raises(InvalidRequest) as caught:
        Arrivals(**possible | changes)
    assert caught.value.field == field


def test_memory_does_not_grow_with_the_log() -> None:
    def lines(count: int) -> Iterator[bytes]:
        for n in range(count):
            yield json.dumps({"at": n / 10, "tenant": f"t{n % 50}", "hold": {"slots": 1}}).encode()

    def peak_bytes(count: int) -> int:
        under_trial = trial(Capacity("slots", units=100))
        log = Recording(lines(count), Unsaid(held_us=2 * SECOND_US))
        tracemalloc.start()
        run(InOrder(log, spare=100), under_trial, lambda name, refusal: None)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert under_trial.report().requests == count
        return peak

    few = peak_bytes(2_000)
    assert peak_bytes(8_000) < 1.5 * few
