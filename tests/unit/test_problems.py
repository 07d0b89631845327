"""When refused callers are told to come back."""

from __future__ import annotations

import pytest

from tidegate.domain.rate_limit_fields import RETRY_AFTER_UNKNOWN_S, RETRY_JITTER
from tidegate.entrypoints.http.problems import retry_after_s


def test_callers_that_were_refused_together_do_not_come_back_together() -> None:
    wait_us = 100_000_000
    told = [retry_after_s(wait_us) for _ in range(200)]
    assert min(told) >= 100
    assert max(told) <= 100 * (1 + RETRY_JITTER)
    assert len(set(told)) > 3


@pytest.mark.parametrize(("wait_us", "least"), [(1, 1), (999_999, 1), (1_000_001, 2), (0, 1)])
def test_the_wait_is_told_in_whole_seconds_and_never_too_short(wait_us: int, least: int) -> None:
    assert least <= retry_after_s(wait_us) <= least + 1


def test_an_unknown_wait_has_a_default() -> None:
    assert retry_after_s(None) == RETRY_AFTER_UNKNOWN_S
