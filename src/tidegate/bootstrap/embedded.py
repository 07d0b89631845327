"""The gate as a library: in this process alone, or over a store that others share."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from tidegate.bootstrap.sharing import SharingTerms, shared_gate
from tidegate.bootstrap.stores import is_memory, stores_of
from tidegate.domain.limit import Limit
from tidegate.domain.overrides import Override, Pattern
from tidegate.domain.policy import Policy
from tidegate.errors import InvalidSetting
from tidegate.facades.desk import Precheck
from tidegate.facades.gate import WAITERS_MAX, AdmissionGate
from tidegate.facades.near import NearEvents, NearListener
from tidegate.facades.sharing.gate import SharedGate
from tidegate.ports.clock import Clock

if TYPE_CHECKING:
    from tidegate.adapters.memory.inspection import MemoryInspection


class Gate(AdmissionGate):
    """A gate over `limits`: embedded in this process, or shared with others through a store.

    With a shared `store` what is made is a `SharedGate`, which has the same calls; there `admit`
    takes one round trip and `try_admit` answers only what needs none.

    Args:
        limits: Rates, quotas and capacities; at most one of a name.
        overrides: Other numbers for some: by tenant or scope, which may be patterns, and by limit.
        cohorts: Tenants by the name of their cohort: limits per cohort count them together, and
            they lend each other capacities.
        weights: Of tenants that wait, those that count for more than 1.
        store: Where levels are kept. `memory://` is this process alone; `sqlite:///path` all
            processes of a machine; `redis://…` and `postgresql://…` whoever reaches the server.
        sharing: How to behave towards a shared store.
        clock: The time, for tests.
        precheck: Asked before any limit; a `Denied` closes the gate for that claim.
        on_near: Called with limit, scope and units left when a claim of this process brings a limit
            near: after the decision, in its thread, or for tasks on a shared store in their loop.
            It should be quick; what it raises is logged.
        waiters_max: Claims that may wait at once; one more is refused at once.

    Raises:
        InvalidLimit: a limit that cannot be kept, naming the field.
        InvalidSetting: a store that cannot be.
        ExtraMissing: what speaks to this kind of store is not installed.
    """

    def __new__(
        cls,
        limits: Iterable[Limit] = (),
        *,
        store: str = "memory://",
        sharing: SharingTerms | None = None,
        **options: Any,
    ) -> Gate:
        """Make a gate of the kind that the store needs."""
        if is_memory(store):
            return super().__new__(cls)
        return cast("Gate", _shared(limits, store, sharing or SharingTerms(), options))

    def __init__(
        self,
        limits: Iterable[Limit] = (),
        *,
        overrides: Mapping[Pattern, Mapping[str, Override]] | None = None,
        cohorts: Mapping[str, Iterable[str]] | None = None,
        weights: Mapping[str, int] | None = None,
        store: str = "memory://",
        sharing: SharingTerms | None = None,
        clock: Clock | None = None,
        precheck: Precheck | None = None,
        waiters_max: int = WAITERS_MAX,
        on_near: NearListener | None = None,
    ) -> None:
        from tidegate.adapters.system.clock import SystemClock

        assert is_memory(store)
        assert sharing is None or isinstance(sharing, SharingTerms)
        near = None if on_near is None else NearEvents(on_near)
        policy = Policy(limits, overrides=overrides, cohorts=cohorts, weights=weights)
        memory = memory_store(policy, clock, near)
        super().__init__(
            policy,
            store=memory.store,
            inspect=memory,
            rates=memory.store,
            clock=clock or SystemClock(),
            precheck=precheck,
            waiters_max=waiters_max,
            near=near,
        )

    async def aclose(self) -> None:
        """Do what `close` does, so that a gate is closed alike whatever its store is."""
        self.close()


def _shared(
    limits: Iterable[Limit], store: str, sharing: SharingTerms, options: dict[str, Any]
) -> SharedGate:
    own = {name: options.pop(name, None) for name in ("precheck", "clock", "on_near")}
    if "waiters_max" in options:
        sharing = replace(sharing, waiters_max=options.pop("waiters_max"))
    policy = Policy(limits, **options)
    local = memory_store(policy).store
    return shared_gate(policy, stores_of(store), local, sharing, **own)


def memory_store(
    policy: Policy, clock: Clock | None = None, near: NearEvents | None = None
) -> MemoryInspection:
    """Return a store in this process, on the machine's clock or on another for tests."""
    from tidegate.adapters.memory.admission_store import MemoryAdmissionStore
    from tidegate.adapters.memory.inspection import MemoryInspection
    from tidegate.adapters.system.clock import SteadyClock

    note = None if near is None else near.note
    prefix = f"{secrets.token_urlsafe(6)}-"
    if clock is not None:
        now_us = clock.now_us
        store = MemoryAdmissionStore(
            policy, now_ns=lambda: now_us() * 1000, lease_prefix=prefix, near=note
        )
    else:
        steady = SteadyClock()
        store = MemoryAdmissionStore(
            policy,
            now_ns=steady.elapsed_ns,
            epoch_us=steady.epoch_us,
            skew_us=steady.skew_us,
            lease_prefix=prefix,
            near=note,
        )
    return MemoryInspection(store)


def check_store_url(field: str, url: str) -> None:
    """Refuse a store that would have to be shared, for the service, which runs as one process.

    Raises:
        InvalidSetting: anything but `memory://`.
    """
    if not is_memory(url):
        raise InvalidSetting(
            field,
            url.split("://", 1)[0] + "://…",
            "memory:// — the service does not run on a shared store yet; the library does",
        )
