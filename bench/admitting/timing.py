"""CPU time of a decision, all subjects in turn, so that a busy machine slows all alike.

Each repeat runs one slice of every subject, beginning with another one each time; the ratio of
two subjects is the median of their ratios repeat by repeat. The time is that of the whole process,
so what a peer leaves to a thread of its own is in its figure. The collector stays on, as in
service, but each slice begins with nothing to collect. What a slice needs is prepared before it,
and what it did is checked after it; neither is timed.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

Timings = dict[str, list[float]]
"""Nanoseconds of CPU per decision by subject, one for each repeat."""


def nothing(calls: int) -> Iterable[Any]:
    """Prepare a slice of calls that all are the same."""
    return repeat(None, calls)


def accept(_result: Any) -> None:
    """Check nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Something to be timed: `run` makes one decision for each of the items it gets."""

    name: str
    run: Callable[[Iterable[Any]], Any]
    prepare: Callable[[int], Iterable[Any]] = nothing
    check: Callable[[Any], None] = accept


def cpu_ns(subjects: Sequence[Subject], *, calls: int, repeats: int) -> Timings:
    """Time them; the first slice of each, a tenth as long, warms up and is thrown away."""
    for subject in subjects:
        subject.check(subject.run(subject.prepare(max(1, calls // 10))))
    timings: Timings = {subject.name: [] for subject in subjects}
    for number in range(repeats):
        first = number % len(subjects)
        for subject in (*subjects[first:], *subjects[:first]):
            items = subject.prepare(calls)
            gc.collect()
            begun_ns = time.process_time_ns()
            result = subject.run(items)
            took_ns = time.process_time_ns() - begun_ns
            subject.check(result)
            timings[subject.name].append(took_ns / calls)
    return timings


def times(timings: Timings, name: str, other: str) -> float:
    """How many times the other's cost this one's is."""
    pairs = zip(timings[name], timings[other], strict=True)
    return statistics.median(mine / its for mine, its in pairs)


def middle(timings: Timings, name: str) -> float:
    return statistics.median(timings[name])
