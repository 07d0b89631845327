"""Gates over every admission store, for the suites that all of them have to pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

from tests.conformance.sharing import EVERY_SERVER, SERVERS
from tidegate import Denied, Gate, Granted
from tidegate.bootstrap.embedded import memory_store
from tidegate.bootstrap.sharing import SharingTerms, shared_gate
from tidegate.domain.limit import Limit
from tidegate.domain.policy import Policy
from tidegate.facades.near import NearListener
from tidegate.testing import FakeClock

NOW_US = 1_795_000_020_000_000
"""The start of a minute."""

SHARED = [name for name in SERVERS if name != "world"]
STORES = ["memory", "world", *SHARED]
"""Every store there is; `world` is the rule of shared stores itself, behind the same session."""

EVERY_STORE = ["memory", *EVERY_SERVER]
"""The same for parameters: those of real servers run only where there is one."""

ONE_TIME = {"memory"}
"""Stores whose time as a whole never steps back; elsewhere each cell keeps its own."""


@contextmanager
def open_gate(
    name: str,
    limits: Sequence[Limit],
    clock: FakeClock,
    *,
    on_near: NearListener | None = None,
    **options: Any,
) -> Iterator[Gate]:
    """Open a gate over an empty store of this name, its time moved by hand, and close it."""
    if name == "memory":
        gate = Gate(limits, clock=clock, on_near=on_near, **options)
        yield gate
        gate.close()
        return
    policy = Policy(limits, **options)
    local = memory_store(policy, clock).store
    with SERVERS[name]() as stores:
        gate = cast(
            "Gate",
            shared_gate(
                policy,
                stores,
                local,
                SharingTerms(member_ttl_s=3_600),
                clock=clock,
                on_near=on_near,
            ),
        )
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
