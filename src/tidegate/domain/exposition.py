"""The text that Prometheus reads, version 0.0.4, and the values made for it.

Written by hand because a scrape holds the event loop: a client library needs tens of milliseconds
for two thousand series, and ten times as long as a dictionary for each count. Pure and for one
thread; whoever counts from several must not share these values.

Source: Prometheus documentation, "Exposition formats", section "Text-based format".
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from heapq import nlargest
from itertools import accumulate
from math import isfinite, isnan
from operator import itemgetter
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

OTHER = "other"
"""The label value of what has no series of its own."""

_NAME = re.compile(r"[a-z_][a-z0-9_]*")
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


class Histogram:
    """How many durations fell under each bound. Microseconds inside, seconds in the text.

    Args:
        bounds_us: Upper bounds, inclusive and ascending; one more bucket takes the rest.
    """

    __slots__ = ("bounds_us", "counts", "sum_us")

    def __init__(self, bounds_us: tuple[int, ...]) -> None:
        self.bounds_us = bounds_us
        self.counts = [0] * (len(bounds_us) + 1)
        self.sum_us = 0

    def observe(self, duration_us: int) -> None:
        """Count a duration. Below zero, after the clock was set back, counts as zero."""
        duration_us = max(0, duration_us)
        self.counts[bisect_left(self.bounds_us, duration_us)] += 1
        self.sum_us += duration_us


class Busiest:
    """Counts by key of which only the busiest have a series of their own.

    A counter must never fall, or Prometheus takes it for a restart and counts everything anew. So
    what was once shown under `other` stays there when its key gets its own series, and a key that
    loses its series takes its count with it, and resumes it when it comes back.

    Args:
        shown_max: Keys with a series of their own.
        keys_max: Keys that are counted apart; the quietest half is let go when there are more.
    """

    def __init__(self, *, shown_max: int = 50, keys_max: int = 10_000) -> None:
        self._shown_max, self._keys_max = shown_max, keys_max
        self._totals: Counter[str] = Counter()
        self._unshown: Counter[str] = Counter()
        self._written: dict[str, int] = {}
        self._rest = 0

    def add(self, key: str) -> None:
        """Count one."""
        if key == OTHER:
            # A key of that very name would be a second series under one name.
            self._rest += 1
            return
        if key not in self._totals and len(self._totals) >= self._keys_max:
            self._forget_quietest()
        self._totals[key] += 1
        self._unshown[key] += 1

    def series(self) -> dict[tuple[str, ...], int]:
        """Return the counts to show now: those of the busiest keys, and `other`."""
        shown = self._busiest()
        for key in shown:
            self._written[key] = self._written.get(key, 0) + self._unshown.pop(key, 0)
        self._rest += self._unshown.total()
        self._unshown.clear()
        return {(OTHER,): self._rest, **{(key,): self._written[key] for key in shown}}

    def _busiest(self) -> list[str]:
        if len(self._totals) <= self._shown_max:
            return list(self._totals)
        # No sorting of all keys: with ten thousand it would take as long as the whole scrape.
        least = nlargest(self._shown_max, self._totals.values())[-1]
        above = [key for key, count in self._totals.items() if count > least]
        tied = [key for key, count in self._totals.items() if count == least]
        # Of equals, those that had a series keep it: series should not come and go.
        tied.sort(key=self._written.__contains__, reverse=True)
        return (above + tied)[: self._shown_max]

    def _forget_quietest(self) -> None:
        ranked = sorted(self._totals.items(), key=itemgetter(1), reverse=True)
        kept = self._keys_max // 2
        for key, _ in ranked[kept:]:
            self._rest += self._unshown.pop(key, 0)
            self._written.pop(key, None)
        self._totals = Counter(dict(ranked[:kept]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One metric: its name without prefix, its type, what it means, and its labels in order."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what Prometheus would refuse, or its linter would complain about."""
        assert all(_NAME.fullmatch(name) for name in (self.name, *self.labels)), self.name
        assert self.name.endswith("_total") == (self.kind == "counter"), self.name
        assert "le" not in self.labels, self.name
        assert self.help, self.name


Value = int | float | Histogram
Samples = Mapping[tuple[str, ...], Value]
"""Values by label values, those in the order of the family's labels."""


def write(families: Iterable[tuple[Family, Samples]], *, prefix: str) -> str:
    """Write families in the order given, the samples of each ordered by their label values."""
    lines: list[str] = []
    for family, samples in families:
        name = prefix + family.name
        lines.append(f"# HELP {name} {family.help.translate(_HELP_ESCAPES)}")
        lines.append(f"# TYPE {name} {family.kind}")
        for values in sorted(samples):
            labels, value = _labels(family.labels, values), samples[values]
            if isinstance(value, Histogram):
                lines.extend(_histogram(name, labels, value))
            else:
                lines.append(f"{name}{_braces(labels)} {_number(value)}")
    return "\n".join(lines) + "\n"


def _histogram(name: str, labels: str, histogram: Histogram) -> list[str]:
    comma, braces = "," if labels else "", _braces(labels)
    start, below = f'{name}_bucket{{{labels}{comma}le="', list(accumulate(histogram.counts))
    bounds = _bounds(histogram.bounds_us)
    lines = [f'{start}{bound}"}} {count}' for bound, count in zip(bounds, below, strict=True)]
    lines.append(f"{name}_sum{braces} {histogram.sum_us / 1e6}")
    lines.append(f"{name}_count{braces} {below[-1]}")
    return lines


@lru_cache(maxsize=64)
def _bounds(bounds_us: tuple[int, ...]) -> tuple[str, ...]:
    """Return the `le` labels. Kept, because spelling a float costs as much as its whole line."""
    return (*(str(bound_us / 1e6) for bound_us in bounds_us), "+Inf")


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(
        f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)
    )


def _braces(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(int(value))
    if isfinite(value):
        return repr(value)
    return "NaN" if isnan(value) else ("+Inf" if value > 0 else "-Inf")
