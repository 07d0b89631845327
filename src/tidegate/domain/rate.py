"""How fast something may be taken: units per period, counted in exact ticks.

A level of ticks leaks with time and is raised by what is taken. Ticks are chosen so that one unit
and one microsecond are both whole numbers of them; nothing is rounded but the final wait.

Source: ITU-T I.371, annex A (Generic Cell Rate Algorithm, continuous-state leaky bucket form).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

from tidegate.errors import InvalidLimit

TICKS_MAX = 2**53
"""A level stays below this, so that it is also exact in stores that count in doubles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `units` per `period_us` on average, and `burst` at once."""

    units: int
    period_us: int
    burst: int

    def __post_init__(self) -> None:
        """Refuse numbers without a meaning, and those too large to count exactly."""
        for field in ("units", "period_us", "burst"):
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                raise InvalidLimit(field, value, "an integer >= 1")
        if self.burst * self.ticks_per_unit >= TICKS_MAX:
            raise InvalidLimit("burst", self.burst, f"< {-(-TICKS_MAX // self.ticks_per_unit)}")

    @property
    def ticks_per_unit(self) -> int:
        """What one unit adds to the level."""
        return self.period_us // gcd(self.units, self.period_us)

    @property
    def ticks_per_us(self) -> int:
        """What leaks from the level in one microsecond."""
        return self.units // gcd(self.units, self.period_us)

    @property
    def refill_us(self) -> int:
        """How long a full level takes to empty; a key untouched that long may be forgotten."""
        return -(-self.burst * self.ticks_per_unit // self.ticks_per_us)
