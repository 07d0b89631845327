"""The limits that one process keeps by itself while their shared store cannot be asked.

A limit that stays `open` is lifted. One that is `local` keeps this process's share of it, so that
all processes together grant at most their number times the share, besides what the store had
granted before. What is `closed` is refused without asking.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from msgspec import structs

from tidegate.domain.limit import Capacity, Limit, Quota, RateLimit, SlidingWindow
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidSetting


def policy_without_store(policy: Policy, share: float) -> Policy:
    """Return the policy of one process alone.

    Args:
        policy: The limits that all processes share.
        share: The part of each `local` limit that one process may keep to itself, 0..1.

    Raises:
        InvalidSetting: a share that is none.
    """
    if not 0 < share <= 1:
        raise InvalidSetting("local_share", share, "> 0 and <= 1")
    limits = [_alone(limit, share) for limit in policy.limits]
    kept: dict[Pattern, Mapping[str, Override]] = {}
    for key, overrides in policy.given_overrides.items():
        kept[key] = {
            name: _scaled(override, share)
            for name, override in overrides.items()
            if policy.limit_named(name).when_down == "local"
        }
    return Policy(limits, overrides=kept)


def _alone(limit: Limit, share: float) -> Limit:
    if limit.when_down == "open":
        return _lifted(limit)
    if isinstance(limit, RateLimit):
        burst = None if limit.burst is None else _part(limit.burst, share)
        # A part of a small rate is no whole number of units: the period is stretched instead.
        period_s = limit.period_s / share
        return replace(limit, burst=burst, period_s=period_s, leased=None)
    if isinstance(limit, Capacity):
        return replace(limit, units=_part(limit.units, share), reserve=0, lend=0, borrow=0)
    return replace(limit, units=_part(limit.units, share))


def _lifted(limit: Limit) -> Limit:
    if isinstance(limit, SlidingWindow):
        return replace(limit, shadow=True)
    lifted = Override(units=None).put_into(limit)
    assert isinstance(lifted, RateLimit | Quota | Capacity)
    return lifted


def _scaled(override: Override, share: float) -> Override:
    if override.units is None:
        return override
    burst = None if override.burst is None else _part(override.burst, share)
    units = _part(override.units, share)
    return structs.replace(override, units=units, burst=burst, lend=0, borrow=0)


def _part(units: int, share: float) -> int:
    return max(1, int(units * share))
