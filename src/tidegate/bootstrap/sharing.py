"""The gate over a store that several processes share."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.domain.outage import policy_without_store
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidSetting
from tidegate.facades.desk import Precheck
from tidegate.facades.near import NearEvents, NearListener
from tidegate.facades.sharing.drivers import Breaker
from tidegate.facades.sharing.gate import SharedGate
from tidegate.facades.sharing.members import Members
from tidegate.facades.sharing.session import Session
from tidegate.ports.admission_store import AdmissionStore
from tidegate.ports.clock import Clock
from tidegate.ports.shared_store import BlockingStore, SharedStore

MEMBER_TTL_US = 10_000_000
"""How long a store waits for a sign of life before it takes back what a process held."""
PATIENCE_US = 1_000_000
"""How long a store may fail before those who wait are told."""
LOCAL_SHARE = 0.25
"""The part of a `local` limit that one process keeps while the store is down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedStores:
    """How to reach one store, from a loop and from threads."""

    shared: Callable[[], SharedStore]
    blocking: Callable[[], BlockingStore]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharingTerms:
    """How a process behaves towards a shared store; seconds for people."""

    member_ttl_s: float = MEMBER_TTL_US / 1e6
    patience_s: float = PATIENCE_US / 1e6
    local_share: float = LOCAL_SHARE
    waiters_max: int = 1_000

    def __post_init__(self) -> None:
        """Refuse numbers without a meaning. Raises InvalidSetting."""
        if not 0.3 <= self.member_ttl_s <= 3_600:
            raise InvalidSetting("member_ttl_s", self.member_ttl_s, "0.3..3600 seconds")
        if not 0 <= self.patience_s <= 60:
            raise InvalidSetting("patience_s", self.patience_s, "0..60 seconds")
        if not 0 < self.local_share <= 1:
            raise InvalidSetting("local_share", self.local_share, "> 0 and <= 1")


def shared_gate(
    policy: Policy,
    stores: SharedStores,
    local: AdmissionStore,
    terms: SharingTerms,
    *,
    precheck: Precheck | None = None,
    clock: Clock | None = None,
    on_near: NearListener | None = None,
) -> SharedGate:
    """Return a gate over stores that several processes share.

    Args:
        policy: The limits, the same in every process.
        stores: Where levels are kept.
        local: Decides while the store is down; bound to the policy of that time here.
        terms: How to behave towards the store.
        precheck: Asked before any limit.
        clock: The store's time, for conformance suites, which then move it themselves.
        on_near: Called when a claim of this process brings a limit near.
    """
    from tidegate.adapters.system.clock import SystemClock

    machine = SystemClock()
    elapsed_us = machine.elapsed_us if clock is None else clock.elapsed_us

    def without(whole: Policy) -> Policy:
        return policy_without_store(whole, terms.local_share)

    def session() -> Session:
        return Session(
            elapsed_us=elapsed_us,
            name=lambda: secrets.token_urlsafe(9).replace("-", "_"),
            ttl_us=round(terms.member_ttl_s * 1e6),
            fixed_now_us=None if clock is None else clock.now_us,
            near=None if on_near is None else NearEvents(on_near),
        )

    local.bind(without(policy))
    members = Members(
        policy,
        local=local,
        without=without,
        open_shared=stores.shared,
        open_blocking=stores.blocking,
        make_session=session,
        make_breaker=lambda: Breaker(elapsed_us, round(terms.patience_s * 1e6)),
        waiting_max=terms.waiters_max,
        pulse=clock is None,
    )
    return SharedGate(members, clock=clock or machine, precheck=precheck)
