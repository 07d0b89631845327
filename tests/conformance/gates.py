"""Gates over every admission store, for the suites that all of them have to pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tests.conformance.worlds import WorldStore
from tidegate import Denied, Gate, Granted
from tidegate.bootstrap.embedded import memory_store
from tidegate.bootstrap.sharing import SharedStores, SharingTerms, shared_gate
from tidegate.domain.limit import Limit
from tidegate.domain.policy import Policy
from tidegate.testing import FakeClock

NOW_US = 1_795_000_020_000_000
"""The start of a minute."""

Opened = Callable[[Sequence[Limit], FakeClock, dict[str, Any]], Gate]


def _memory(limits: Sequence[Limit], clock: FakeClock, options: dict[str, Any]) -> Gate:
    return Gate(limits, clock=clock, **options)


def _world(limits: Sequence[Limit], clock: FakeClock, options: dict[str, Any]) -> Gate:
    """The pure rule of shared stores itself, behind the same session as the real ones."""
    return over(SharedStores(shared=_no_loop, blocking=WorldStore), limits, clock, options)


def over(
    stores: SharedStores, limits: Sequence[Limit], clock: FakeClock, options: dict[str, Any]
) -> Gate:
    """Return a gate over a shared store, its time moved by hand."""
    policy = Policy(limits, **options)
    local = memory_store(policy, clock).store
    terms = SharingTerms(member_ttl_s=3_600)
    return shared_gate(policy, stores, local, terms, clock=clock)  # type: ignore[return-value]


def _no_loop() -> Any:
    raise AssertionError("no event loop takes part")


STORES: dict[str, Opened] = {"memory": _memory, "world": _world}

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
