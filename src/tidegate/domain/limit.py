"""The limits an operator sets on resources: rates, quotas, capacities.

Every limit on a resource applies to every claim that names the resource. `per` picks which
attributes of the claim divide it: `("tenant",)` is one budget for each tenant, `()` one for all.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

from tidegate.domain.period import Period, check_period
from tidegate.domain.rate import TICKS_MAX, Rate
from tidegate.errors import InvalidLimit

SCOPE_FIELDS = ("tenant", "host", "user", "route")
"""The fields of a claim that scopes pick from; any other name is looked up in `attributes`."""


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `units` per `period_s` seconds on average, `burst` at once; what is taken is spent.

    `period_s` may be fractional, down to a microsecond. `burst` defaults to `units`.
    """

    resource: str
    _: KW_ONLY
    units: int
    period_s: float
    burst: int | None = None
    per: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        _check_limit(self)
        object.__setattr__(self, "burst", self.units if self.burst is None else self.burst)
        _ = self.rate

    @property
    def rate(self) -> Rate:
        """The arithmetic of this limit."""
        assert self.burst is not None
        if not isinstance(self.period_s, int | float) or not 0 < self.period_s < 1e9:
            raise InvalidLimit("period_s", self.period_s, "> 0 and < 1e9 seconds")
        return Rate(units=self.units, period_us=round(self.period_s * 1e6), burst=self.burst)


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `units` in each calendar `period` (UTC); what is taken comes back when it turns."""

    resource: str
    _: KW_ONLY
    units: int
    period: Period
    per: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        _check_limit(self)
        check_period(self.period)


@dataclass(frozen=True, slots=True)
class Capacity:
    """At most `units` held at the same moment; they come back on release or expiry."""

    resource: str
    _: KW_ONLY
    units: int
    per: tuple[str, ...] = ()
    name: str = ""

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        _check_limit(self)


Limit = RateLimit | Quota | Capacity


def _check_limit(limit: Limit) -> None:
    if not isinstance(limit.resource, str) or not limit.resource:
        raise InvalidLimit("resource", limit.resource, "a non-empty name")
    if type(limit.units) is not int or not 1 <= limit.units < TICKS_MAX:
        raise InvalidLimit("units", limit.units, f"an integer 1..{TICKS_MAX - 1}")
    if not isinstance(limit.per, tuple) or not all(isinstance(p, str) and p for p in limit.per):
        raise InvalidLimit("per", limit.per, 'a tuple of names such as ("tenant", "host")')
    if not limit.name:
        object.__setattr__(limit, "name", limit.resource)
