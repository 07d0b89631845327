"""When the service counts as degraded, and when memory as scarce: two judgements, both exact.

Both compare integers, never floats, so that a value exactly at a threshold has one answer.
The degradation score follows RipTide's formula; the window over recent work is ours, because
sums since the start never recover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tidegate.errors import InvalidLimit

MIB = 2**20

WINDOW_OPERATIONS = 100
"""How many recent operations are looked at."""

HALF_FAILED_LEAST = 20
"""Below this many operations, half of them failing is chance and not yet a finding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How recent operations ended. `timeouts` are among the `failures`."""

    operations: int = 0
    failures: int = 0
    timeouts: int = 0

    @property
    def score(self) -> float:
        """0.6 x timeout rate + 0.4 x failure rate: 0.0 is well, 1.0 is nothing but timeouts."""
        if not self.operations:
            return 0.0
        return min(1.0, (6 * self.timeouts + 4 * self.failures) / (10 * self.operations))

    @property
    def degraded(self) -> bool:
        """Whether the score is above 0.6, or at least half of enough operations failed."""
        if 6 * self.timeouts + 4 * self.failures > 6 * self.operations:
            return True
        return self.operations >= HALF_FAILED_LEAST and 2 * self.failures >= self.operations


def nearest_rank(values: Sequence[int], percent: int) -> int:
    """Return the smallest value that `percent` (1..100) of all values do not exceed; 0 if empty."""
    if not values:
        return 0
    return sorted(values)[-(-percent * len(values) // 100) - 1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PressureLimits:
    """Pressure starts at `threshold_percent` of `limit_bytes` and ends below `clear_percent`.

    The gap keeps a use that hovers at the threshold from switching admission on and off.
    """

    limit_bytes: int = 2048 * MIB
    threshold_percent: int = 85
    clear_percent: int = 80

    def __post_init__(self) -> None:
        """Refuse a limit of nothing, and a way out above the way in."""
        if self.limit_bytes < 1:
            raise InvalidLimit("limit_bytes", self.limit_bytes, ">= 1")
        if not 1 <= self.threshold_percent <= 100:
            raise InvalidLimit("threshold_percent", self.threshold_percent, "1..100")
        if not 1 <= self.clear_percent <= self.threshold_percent:
            allowed = f"1..{self.threshold_percent}"
            raise InvalidLimit("clear_percent", self.clear_percent, allowed)

    def pressed(self, used_bytes: int, *, was: bool) -> bool:
        """Say whether memory is scarce now, given whether it `was` a moment ago."""
        percent = self.clear_percent if was else self.threshold_percent
        return used_bytes * 100 >= percent * self.limit_bytes
