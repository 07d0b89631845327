"""What clients are told of limits and refusals: fields, problem types, and when to come back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.domain.decision import Denied, LimitState, Reason
from tidegate.domain.rate_limit_fields import (
    RETRY_AFTER_UNKNOWN_S,
    legacy_fields,
    limit_fields,
    problem,
    refusal_fields,
    retry_after_s,
)

RATE = LimitState(
    name="requests",
    resource="requests",
    scope=("acme",),
    units=40,
    remaining=39,
    reset_us=50_000,
    window_us=2_000_000,
)
MONTH = LimitState(
    name="operations_month",
    resource="operations",
    scope=("acme",),
    units=20_000,
    remaining=5,
    reset_us=86_400_000_001,
    window_us=30 * 86_400_000_000,
)
SLOTS = LimitState(
    name="browsers", resource="browsers", scope=(), units=3, remaining=1, reset_us=None
)
ITEM = re.compile(
    r'"(?P<name>(?:[ !#-\[\]-~]|\\["\\])*)"(?P<rest>(?:;[a-z]+=(?:\d{1,15}|:[A-Za-z0-9+/=]*:))*)'
)
"""A string with integer and byte sequence parameters, as RFC 9651 writes them."""


def told(states: list[LimitState], **options: bool) -> tuple[str, str]:
    fields = limit_fields(states, **options)
    return fields["RateLimit"], fields["RateLimit-Policy"]


def test_each_limit_says_what_is_left_and_how_large_it_is() -> None:
    assert told([RATE, MONTH, SLOTS]) == (
        '"requests";r=39;t=1, "operations_month";r=5;t=86401, "browsers";r=1',
        '"requests";q=40;w=2, "operations_month";q=20000;w=2592000, "browsers";q=3',
    )
    assert limit_fields([]) == {}


def test_the_partition_is_told_only_if_asked_and_names_nobody() -> None:
    left, size = told([RATE, SLOTS], partition_keys=True)
    # The first 12 bytes of `printf acme | sha256sum`, in base64.
    assert left == '"requests";r=39;t=1;pk=:giszrYfBSKCiClun:, "browsers";r=1'
    assert size == '"requests";q=40;w=2;pk=:giszrYfBSKCiClun:, "browsers";q=3'


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ('say "hi"', r'"say \"hi\""'),
        ("a\\b", r'"a\\b"'),
        ("größe", '"gr%C3%B6%C3%9Fe"'),
        ("a\r\nSet-Cookie: b", '"a%0D%0ASet-Cookie: b"'),
        ("half \ud800", '"half %ED%A0%80"'),
    ],
)
def test_a_name_is_written_as_a_structured_string(name: str, written: str) -> None:
    left, _ = told(
        [LimitState(name=name, resource="r", scope=(), units=1, remaining=0, reset_us=0)]
    )
    assert left == f"{written};r=0;t=0"


@given(
    st.builds(
        LimitState,
        name=st.text(min_size=1),
        resource=st.just("r"),
        scope=st.tuples(st.text()),
        units=st.integers(1, 2**53),
        remaining=st.integers(-5, 2**53),
        reset_us=st.none() | st.integers(0, 10**18),
        window_us=st.none() | st.integers(0, 10**18),
    )
)
def test_fields_can_always_be_read(state: LimitState) -> None:
    for value in told([state], partition_keys=True):
        assert ITEM.fullmatch(value), value


def test_old_fields_tell_of_the_limit_that_ends_first() -> None:
    assert legacy_fields([RATE, MONTH, SLOTS]) == {
        "X-RateLimit-Limit": "20000",
        "X-RateLimit-Remaining": "5",
        "X-RateLimit-Reset": "86401",
    }
    assert legacy_fields([SLOTS]) == {"X-RateLimit-Limit": "3", "X-RateLimit-Remaining": "1"}
    assert legacy_fields([]) == {}


def test_a_refusal_says_when_to_return_and_no_reset_is_later() -> None:
    denied = Denied(
        reason="rate_limited",
        limit="requests",
        scope=("acme",),
        remaining=0,
        retry_after_us=1_500_000,
        limits=(MONTH, RATE),
    )
    assert refusal_fields(denied, legacy=True) == {
        "Retry-After": "2",
        "RateLimit": '"requests";r=0;t=2, "operations_month";r=5',
        "RateLimit-Policy": '"requests";q=40;w=2, "operations_month";q=20000;w=2592000',
        "X-RateLimit-Limit": "40",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": "2",
    }


@given(wait_us=st.integers(0, 10**15), spread=st.floats(0, 1))
def test_the_wait_is_whole_seconds_never_too_short_and_at_most_a_tenth_longer(
    wait_us: int, spread: float
) -> None:
    told_s = retry_after_s(wait_us, spread=spread)
    assert told_s >= max(1, wait_us / 1e6)
    assert told_s < wait_us * 1.1 / 1e6 + 2


QUOTA = "https://iana.org/assignments/http-problem-types#quota-exceeded"
CAPACITY = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"


@pytest.mark.parametrize(
    ("reason", "status", "kind", "title"),
    [
        ("rate_limited", 429, QUOTA, "Quota Exceeded"),
        ("quota_exceeded", 429, QUOTA, "Quota Exceeded"),
        ("exhausted", 503, CAPACITY, "Temporary Reduced Capacity"),
        ("memory_pressure", 503, CAPACITY, "Temporary Reduced Capacity"),
        ("degraded", 503, CAPACITY, "Temporary Reduced Capacity"),
        ("timeout", 503, CAPACITY, "Temporary Reduced Capacity"),
        ("store_unavailable", 503, CAPACITY, "Temporary Reduced Capacity"),
    ],
)
def test_each_refusal_has_its_problem_type(
    reason: Reason, status: int, kind: str, title: str
) -> None:
    body = problem(Denied(reason=reason, limit="größe", scope=("acme",), remaining=2))
    assert body == {
        "type": kind,
        "title": title,
        "status": status,
        "detail": f"refused by größe for acme: {reason}",
        "code": reason,
        "limit": "größe",
        "scope": ["acme"],
        "violated-policies": ["gr%C3%B6%C3%9Fe"],
        "remaining": 2,
    }
    unnamed = Denied(reason=reason, retry_after_us=250_000)
    assert problem(unnamed)["violated-policies"] == []
    assert problem(unnamed)["retry_after_s"] == 0.25
    assert refusal_fields(unnamed) == {"Retry-After": "1"}
    assert refusal_fields(Denied(reason=reason)) == {"Retry-After": str(RETRY_AFTER_UNKNOWN_S)}


def test_a_suspension_promises_no_return() -> None:
    denied = Denied(reason="suspended", retry_after_us=1, limits=(RATE,))
    assert refusal_fields(denied, legacy=True) == {}
    assert problem(denied) == {
        "type": "urn:tidegate:problem:suspended",
        "title": "Forbidden",
        "status": 403,
        "detail": "refused: suspended, retry after 0.000 s",
        "code": "suspended",
        "limit": "",
        "scope": [],
    }
