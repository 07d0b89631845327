"""Limits as settings declare them: one shape for each kind, and other numbers for some.

A field that another kind has is an unknown setting here, so that nothing is silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from tidegate.domain.limit import (
    KEYS_MAX,
    Capacity,
    Limit,
    Quota,
    RateLimit,
    SlidingWindow,
    WhenDown,
)
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.period import Period
from tidegate.errors import InvalidLimit, InvalidSetting

Units = Annotated[int, Meta(ge=1, lt=2**53)]
ShareUnits = Annotated[int, Meta(ge=0, lt=2**53)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings. A name that is none of its fields is an error."""


class _LimitSettings(_Section, frozen=True, kw_only=True, tag_field="kind"):
    """What every limit says. Only `claimable` resources can be claimed with a tenant's key."""

    resource: str
    units: int
    per: tuple[str, ...] = ()
    name: str = ""
    shadow: bool = False
    near_percent: int = 80
    when_down: WhenDown = "closed"
    keys_max: int = KEYS_MAX
    claimable: bool = False

    make: ClassVar[Callable[..., Limit]]

    def limit(self) -> Limit:
        """Return the limit. Raises InvalidLimit naming the field."""
        fields: dict[str, Any] = {
            name: getattr(self, name) for name in self.__struct_fields__ if name != "claimable"
        }
        return type(self).make(fields.pop("resource"), **fields)


class RateSettings(_LimitSettings, frozen=True, kw_only=True, tag="rate"):
    """See `RateLimit`."""

    period_s: float
    burst: int | None = None
    leased: int | None = None

    make = RateLimit


class SlidingSettings(_LimitSettings, frozen=True, kw_only=True, tag="sliding"):
    """See `SlidingWindow`."""

    period_s: float
    exact: bool = True

    make = SlidingWindow


class QuotaSettings(_LimitSettings, frozen=True, kw_only=True, tag="quota"):
    """See `Quota`."""

    period: Period | None = None
    every_s: float | None = None
    zone: str = "UTC"

    make = Quota


class CapacitySettings(_LimitSettings, frozen=True, kw_only=True, tag="capacity"):
    """See `Capacity`."""

    soft: int | None = None
    reserve: int = 0
    overcommit: float = 1
    hold_max_s: float | None = None
    lend: int | None = 0
    borrow: int | None = 0
    partitions: dict[str, float] = {}

    make = Capacity


LimitSettings = RateSettings | SlidingSettings | QuotaSettings | CapacitySettings


class OverrideSettings(_Section, frozen=True, kw_only=True):
    """Other numbers of one limit; `units` none lifts it. What is left out stays."""

    units: Units | None
    burst: Units | None = None
    lend: ShareUnits | UnsetType | None = UNSET
    borrow: ShareUnits | UnsetType | None = UNSET
    shadow: bool | None = None

    def override(self) -> Override:
        """Return the override."""
        return Override(
            units=self.units,
            burst=self.burst,
            lend=self.lend,
            borrow=self.borrow,
            shadow=self.shadow,
        )


class ScopeOverrides(_Section, frozen=True, kw_only=True):
    """Other numbers at one scope: a tenant, or one entry for each name of the limit's `per`."""

    scope: str | tuple[str, ...]
    limits: dict[str, OverrideSettings]


Overridden = dict[str, dict[str, OverrideSettings]] | tuple[ScopeOverrides, ...]
"""By tenant or pattern, or a list where a scope has several entries."""


def limits_of(settings: tuple[LimitSettings, ...]) -> list[Limit]:
    """Return the limits. Raises InvalidSetting naming the entry and the field."""
    limits: list[Limit] = []
    for index, entry in enumerate(settings):
        try:
            limits.append(entry.limit())
        except InvalidLimit as error:
            where = f"limits[{index}].{error.field}"
            raise InvalidSetting(where, error.value, error.allowed) from None
    return limits


def overrides_of(settings: Overridden, limits: list[Limit]) -> dict[Pattern, dict[str, Override]]:
    """Return the overrides by scope. Raises InvalidSetting naming the entry."""
    by_name = {limit.name: limit for limit in limits}
    found: dict[Pattern, dict[str, Override]] = {}
    for where, scope, entry in _entries(settings):
        for name, numbers in entry.items():
            if name not in by_name:
                raise InvalidSetting(f"{where}.{name}", "(set)", " | ".join(sorted(by_name)))
            try:
                _check(by_name[name], scope, numbers.override())
            except InvalidLimit as error:
                field = f"{where}.{name}{error.field}"
                raise InvalidSetting(field, error.value, error.allowed) from None
            known = found.setdefault(scope, {})
            if name in known:
                raise InvalidSetting(f"{where}.{name}", "(set)", "each limit once for a scope")
            known[name] = numbers.override()
    return found


def _entries(
    settings: Overridden,
) -> Iterator[tuple[str, Pattern, dict[str, OverrideSettings]]]:
    if isinstance(settings, dict):
        for tenant, entry in settings.items():
            yield f"overrides.{tenant}", tenant, entry
    else:
        for index, each in enumerate(settings):
            yield f"overrides[{index}].limits", each.scope, each.limits


def _check(limit: Limit, scope: Pattern, override: Override) -> None:
    """Refuse an override that its limit does not bear. Raises InvalidLimit."""
    if isinstance(scope, str) and "tenant" not in limit.per:
        raise InvalidLimit("", scope, "a limit that is per tenant")
    if isinstance(scope, tuple) and len(scope) != len(limit.per):
        raise InvalidLimit("", scope, f"one entry for each of {', '.join(limit.per) or 'nothing'}")
    try:
        override.put_into(limit)
    except InvalidLimit as error:
        raise InvalidLimit(f".{error.field}", error.value, error.allowed) from None
