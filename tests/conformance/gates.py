"""Gates over every admission store, for the suites that all of them have to pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tidegate import Denied, Gate, Granted
from tidegate.domain.limit import Limit
from tidegate.testing import FakeClock

NOW_US = 1_795_000_020_000_000
"""The start of a minute."""

Opened = Callable[[Sequence[Limit], FakeClock, dict[str, Any]], Gate]


def _memory(limits: Sequence[Limit], clock: FakeClock, options: dict[str, Any]) -> Gate:
    return Gate(limits, clock=clock, **options)


STORES: dict[str, Opened] = {"memory": _memory}

ONE_TIME = {"memory"}
"""Stores whose time as a whole never steps back; elsewhere each cell keeps its own."""


@contextmanager
def open_gate(
    name: str, limits: Sequence[Limit], clock: FakeClock, **options: Any
) -> Iterator[Gate]:
    """Open a gate over an empty store of this name, and close it."""
    gate = STORES[name](limits, clock, options)
    try:
        yield gate
    finally:
        gate.close()


def granted(decision: Granted | Denied) -> Granted:
    """Return the decision, which must be a grant."""
    assert isinstance(decision, Granted), decision
    return decision


def refused(decision: Granted | Denied | None) -> Denied:
    """Return the decision, which must be a denial."""
    assert isinstance(decision, Denied), decision
    return decision
