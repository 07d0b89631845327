"""The limits an operator sets on resources: rates, sliding windows, quotas, capacities.

Every limit on a resource applies to every claim that names the resource. `per` picks which
attributes of the claim divide it: `("tenant",)` is one budget for each tenant, `("cohort",)` one
for all tenants of a cohort together, `()` one for all; limits of one resource with different `per`
are a hierarchy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from fractions import Fraction
from typing import Literal, get_args

from tidegate.domain.period import Period, check_period, check_zone
from tidegate.domain.rate import TICKS_MAX, Rate
from tidegate.errors import InvalidLimit

SCOPE_FIELDS = ("tenant", "host", "user", "route")
"""The fields of a claim that scopes pick from; any other name is looked up in `attributes`."""

COHORT_FIELD = "cohort"
"""In `per`, what the policy says of the claim's tenant. No attribute does: it is not the caller's
to choose."""

DEFAULT_PARTITION = "default"
"""Where a claim belongs that says nothing of partitions, or a value that is none."""

LOG_UNITS_MAX = 10_000
"""An exact sliding window keeps one entry for each take, so it is for small numbers."""

KEYS_MAX = 100_000

WhenDown = Literal["closed", "open", "local"]
"""What a limit does while its shared store cannot be asked: refuse, let pass, or keep this
process's own share of the limit."""


@dataclass(frozen=True, slots=True)
class BaseLimit:
    """What every limit says.

    `shadow` decides and counts, but refuses nothing. From `near_percent` of the limit on, an event
    says that it is near. `name` tells limits of one resource apart, and is the resource by default.
    Beyond `keys_max` scopes newcomers share one budget, so that nobody fills the memory.
    """

    resource: str
    _: KW_ONLY
    units: int
    per: tuple[str, ...] = ()
    name: str = ""
    shadow: bool = False
    near_percent: int = 80
    when_down: WhenDown = "closed"
    keys_max: int = KEYS_MAX

    def check(self) -> None:
        """Refuse what has no meaning, and fill in the name. Raises InvalidLimit."""
        if not isinstance(self.resource, str) or not self.resource:
            raise InvalidLimit("resource", self.resource, "a non-empty name")
        if type(self.units) is not int or not 1 <= self.units < TICKS_MAX:
            raise InvalidLimit("units", self.units, f"an integer 1..{TICKS_MAX - 1}")
        if not isinstance(self.per, tuple) or not all(isinstance(p, str) and p for p in self.per):
            raise InvalidLimit("per", self.per, 'a tuple of names such as ("tenant", "host")')
        if len(set(self.per)) < len(self.per):
            raise InvalidLimit("per", self.per, "each name once")
        if type(self.near_percent) is not int or not 1 <= self.near_percent <= 100:
            raise InvalidLimit("near_percent", self.near_percent, "1..100")
        if self.when_down not in get_args(WhenDown):
            raise InvalidLimit("when_down", self.when_down, " | ".join(get_args(WhenDown)))
        if type(self.keys_max) is not int or not 1 <= self.keys_max <= 10_000_000:
            raise InvalidLimit("keys_max", self.keys_max, "1..10000000")
        if not self.name:
            object.__setattr__(self, "name", self.resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit(BaseLimit):
    """At most `units` per `period_s` seconds on average, `burst` at once; what is taken is spent.

    `period_s` may be fractional, down to a microsecond. `burst` defaults to `units`. With `leased`
    a process draws that many units from a shared store at once and spends them by itself: the limit
    is never exceeded, but what it has drawn and not spent is lost to others.
    """

    period_s: float
    burst: int | None = None
    leased: int | None = None

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        self.check()
        object.__setattr__(self, "burst", self.units if self.burst is None else self.burst)
        _ = self.rate
        assert self.burst is not None
        if self.leased is not None and not 1 <= self.leased <= self.burst:
            raise InvalidLimit("leased", self.leased, f"1..{self.burst}")

    @property
    def rate(self) -> Rate:
        """The arithmetic of this limit."""
        assert self.burst is not None
        period_us = _microseconds("period_s", self.period_s)
        return Rate(units=self.units, period_us=period_us, burst=self.burst)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWindow(BaseLimit):
    """At most `units` in any `period_s` seconds, whichever moment they begin at.

    `exact` remembers each take and is for small numbers. Otherwise two counters estimate it: the
    last aligned window counts for as much of it as the sliding one still covers.
    """

    period_s: float
    exact: bool = True

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        self.check()
        if self.exact and self.units > LOG_UNITS_MAX:
            allowed = f"1..{LOG_UNITS_MAX}, or exact=False"
            raise InvalidLimit("units", self.units, allowed)
        if not self.exact and self.units * self.period_us * 2 >= TICKS_MAX:
            raise InvalidLimit("units", self.units, f"< {TICKS_MAX // self.period_us // 2}")

    @property
    def period_us(self) -> int:
        """The length of the window."""
        return _microseconds("period_s", self.period_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota(BaseLimit):
    """At most `units` in each window; what is taken comes back when the window turns.

    A window is a calendar `period` in the time zone `zone` (an IANA name), or, with `every_s`, that
    many seconds, counted from the epoch. Exactly one of the two is given.
    """

    period: Period | None = None
    every_s: float | None = None
    zone: str = "UTC"

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        self.check()
        if (self.period is None) == (self.every_s is None):
            raise InvalidLimit("period", self.period, "exactly one of period and every_s")
        if self.period is not None:
            check_period(self.period)
            check_zone(self.zone)
        elif self.zone != "UTC":
            raise InvalidLimit("zone", self.zone, "UTC with every_s, which no calendar cuts")
        else:
            _ = self.every_us

    @property
    def every_us(self) -> int | None:
        """The length of a window that is no calendar period."""
        return None if self.every_s is None else _microseconds("every_s", self.every_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity(BaseLimit):
    """At most `units` held at the same moment; they come back on release or expiry.

    `overcommit` promises more than there is (1.2 or Fraction(6, 5)), `reserve` is kept back from
    everybody, and from `soft` units on the limit is near; without it `near_percent` says so.
    `hold_max_s` ends a lease that long after its grant, however often it was renewed.

    Members of a cohort, which are tenants or whatever the limit is `per`, lend each other what they
    do not use: `lend` is how many of its own units a member lends (None: all), `borrow` how many
    it may have beyond its own (None: whatever is lent). Both are 0 for those that share nothing.

    `partitions` are values of what the limit is `per`, each with its share, 0..1, of the units that
    all of them have together; the rest is that of `default`. They lend each other whatever they do
    not use, and those who wait for their own share go before those who would borrow.
    """

    soft: int | None = None
    reserve: int = 0
    overcommit: float | Fraction = 1
    hold_max_s: float | None = None
    lend: int | None = 0
    borrow: int | None = 0
    partitions: Mapping[str, float | Fraction] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check every field and fill in the name."""
        self.check()
        for side in ("lend", "borrow"):
            value = getattr(self, side)
            if value is not None and (type(value) is not int or not 0 <= value < TICKS_MAX):
                raise InvalidLimit(side, value, "None or an integer >= 0")
        if self.lend is not None and self.lend > self.units:
            raise InvalidLimit("lend", self.lend, f"None or 0..{self.units}")
        if self.is_shared and len(self.per) != 1:
            raise InvalidLimit("per", self.per, "one name: its values lend and borrow")
        if self.is_shared and self.per == (COHORT_FIELD,):
            raise InvalidLimit("per", self.per, "no cohort: it is its members who lend and borrow")
        if type(self.reserve) is not int or not 0 <= self.reserve < self.units:
            raise InvalidLimit("reserve", self.reserve, f"0..{self.units - 1}")
        if not isinstance(self.overcommit, int | float | Fraction) or not (
            1 <= self.overcommit <= 100
        ):
            raise InvalidLimit("overcommit", self.overcommit, "1..100")
        if self.soft is not None and (type(self.soft) is not int or not self.soft >= 1):
            raise InvalidLimit("soft", self.soft, "an integer >= 1")
        self._check_partitions()
        _ = self.hold_max_us

    def share(self, partition: str) -> int:
        """Return how many of the effective units a partition has by right. Exact."""
        owned = {
            name: int(self.effective * Fraction(str(share)))
            for name, share in self.partitions.items()
        }
        rest = self.effective - sum(owned.values())
        return owned.get(partition, 0) + (rest if partition == DEFAULT_PARTITION else 0)

    @property
    def effective(self) -> int:
        """How many units may be held at once: overcommitted, less the reserve. Exact."""
        # A float such as 1.15 means the decimal that is written, not its binary neighbour.
        return int(self.units * Fraction(str(self.overcommit))) - self.reserve

    @property
    def is_shared(self) -> bool:
        """Whether tenants lend and borrow it."""
        return self.lend != 0 or self.borrow != 0

    def _check_partitions(self) -> None:
        if not self.partitions:
            return
        if self.is_shared:
            raise InvalidLimit("partitions", dict(self.partitions), "none with lend or borrow")
        if len(self.per) != 1 or self.per == ("tenant",):
            raise InvalidLimit("per", self.per, "one name other than tenant: it has partitions")
        for name, share in self.partitions.items():
            if not isinstance(name, str) or not name:
                raise InvalidLimit("partitions", name, "names that are not empty")
            if isinstance(share, bool) or not isinstance(share, int | float | Fraction):
                raise InvalidLimit(f"partitions.{name}", share, "a share 0..1")
            if not 0 <= share <= 1:
                raise InvalidLimit(f"partitions.{name}", share, "a share 0..1")
        total = sum(Fraction(str(share)) for share in self.partitions.values())
        if total > 1:
            raise InvalidLimit("partitions", float(total), "shares whose sum is at most 1")

    @property
    def hold_max_us(self) -> int | None:
        """After how long a lease ends that is still renewed."""
        return None if self.hold_max_s is None else _microseconds("hold_max_s", self.hold_max_s)


Limit = RateLimit | SlidingWindow | Quota | Capacity


def _microseconds(field: str, seconds: float) -> int:
    if not isinstance(seconds, int | float) or not 1e-6 <= seconds < 1e9:
        raise InvalidLimit(field, seconds, ">= 0.000001 and < 1e9 seconds")
    return round(seconds * 1e6)
