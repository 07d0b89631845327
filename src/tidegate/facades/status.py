"""How the service is: what is free, what was counted, and which of its parts answer."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from tidegate.domain.claim import Claim
from tidegate.domain.limit import Capacity
from tidegate.domain.pooling import PoolStats
from tidegate.errors import InvalidRequest, StoreUnavailable
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.readiness import (
    Check,
    Checks,
    Component,
    Readiness,
    browsers_state,
    memory_state,
    performance_state,
    pool_state,
)
from tidegate.facades.render import Rendering
from tidegate.ports.clock import Clock

BROWSER, PDF, WASM = "browser", "pdf", "wasm"
"""The pools that are known here, by `Pool.name`."""

COMPONENTS = {BROWSER: "browsers", PDF: "pdf", WASM: "wasm"}
"""Under which name readiness speaks of a pool."""

CAPACITIES = {BROWSER: "browsers", PDF: "pdf_workers", WASM: "wasm_instances"}
"""Which capacity a job holds before it is lent a worker."""

NO_POOL = PoolStats(total=0, available=0, in_use=0, failed=0, idle=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCapacity:
    """A capacity that all tenants share: the least that any limit on the resource allows."""

    units: int
    in_use: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceStatus:
    """What is free and what is wrong. Counts are since the start, or since `Status.reset`."""

    browsers_available: int
    browsers_total: int
    pdf_workers_available: int
    pdf_workers_total: int
    memory_used_bytes: int
    memory_pressure: bool
    rate_limit_hits: int
    timeouts_count: int
    degradation_score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSnapshot:
    """Twelve counters for programs, and two shares made of them."""

    browser_pool_size: int = 0
    browsers_active: int = 0
    pdf_active: int = 0
    wasm_instances: int = 0
    memory_usage_bytes: int = 0
    rate_limit_hits: int = 0
    timeouts_count: int = 0
    cleanup_operations: int = 0
    gc_triggers: int = 0
    render_operations: int = 0
    successful_renders: int = 0
    failed_renders: int = 0

    @property
    def render_success_rate(self) -> float:
        """Share of renders that succeeded, 0.0 when there was none."""
        return self.successful_renders / self.render_operations if self.render_operations else 0.0

    @property
    def browser_pool_utilization(self) -> float:
        """Share of the browsers that work now, 0.0 when there may be none."""
        return self.browsers_active / self.browser_pool_size if self.browser_pool_size else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerStatus:
    """One worker, in the units that people read. `operations` includes the running one."""

    worker_id: str
    healthy: bool
    operations: int
    memory_bytes: int | None
    age_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolHealth:
    """One pool and its workers, oldest first. `available` is free capacity, started or not."""

    name: str
    total: int
    available: int
    in_use: int
    failed: int
    workers: tuple[WorkerStatus, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Readiness, and the workers behind it."""

    readiness: Readiness
    pools: tuple[PoolHealth, ...]


class Status:
    """Tells how the service is. Set `draining` when it must get no new requests.

    Args:
        gate: Its shared capacities and denials are told.
        pools: By `Pool.name`.
        components: Checks by component name, asked at every readiness.
        rendering: Knows whether a browser is usable; None where nothing renders.
        essential: Components without which the service is not ready.

    Raises:
        InvalidRequest: a pool of a name that is not known here, or nothing to check what is
            essential by.
    """

    def __init__(
        self,
        gate: AdmissionGate,
        pools: Mapping[str, Pool[Any]],
        *,
        monitor: PerformanceMonitor,
        pressure: MemoryPressure,
        clock: Clock,
        components: Mapping[str, Check],
        rendering: Rendering | None = None,
        essential: frozenset[str] = frozenset({"store"}),
    ) -> None:
        for name in pools:
            if name not in COMPONENTS:
                raise InvalidRequest("pools", name, " | ".join(COMPONENTS))
        for name in essential - components.keys():
            raise InvalidRequest("components", name, "a check for each essential component")
        self.draining = False
        self._gate, self._pools, self._monitor = gate, dict(pools), monitor
        self._pressure, self._clock, self._rendering = pressure, clock, rendering
        self._checks, self._essential = Checks(components), essential
        self._rate_limited_before = 0

    def resources(self) -> ResourceStatus:
        """Return what is free and what is wrong, as of now."""
        return ResourceStatus(
            browsers_available=self._available(BROWSER),
            browsers_total=self._stats(BROWSER).total,
            pdf_workers_available=self._available(PDF),
            pdf_workers_total=self._stats(PDF).total,
            memory_used_bytes=self._pressure.used_bytes,
            memory_pressure=self._pressure.under_pressure,
            rate_limit_hits=self._rate_limit_hits,
            timeouts_count=self._monitor.counters.timeouts_count,
            degradation_score=self._monitor.get_degradation_score(),
        )

    def metrics_snapshot(self) -> MetricsSnapshot:
        """Return the twelve counters, as of now."""
        counters, wasm = self._monitor.counters, self._stats(WASM)
        return MetricsSnapshot(
            browser_pool_size=self._stats(BROWSER).total,
            browsers_active=self._stats(BROWSER).in_use,
            pdf_active=self._stats(PDF).in_use,
            wasm_instances=wasm.idle + wasm.in_use,
            memory_usage_bytes=self._pressure.used_bytes,
            rate_limit_hits=self._rate_limit_hits,
            timeouts_count=counters.timeouts_count,
            cleanup_operations=counters.cleanup_operations,
            gc_triggers=counters.gc_triggers,
            render_operations=counters.render_operations,
            successful_renders=counters.successful_renders,
            failed_renders=counters.failed_renders,
        )

    def reset(self) -> None:
        """Count from zero again. For tests; what is in use or measured stays as it is."""
        self._monitor.counters.reset()
        self._rate_limited_before = self._gate.decisions["rate_limited"]

    async def readiness(self) -> Readiness:
        """Ask every part how it is. Takes little more than a second, whatever hangs."""
        checked = await self._checks.ask()
        lost = any(part.state == "failed" and part.name in self._essential for part in checked)
        return Readiness(
            ready=not (self.draining or lost),
            draining=self.draining,
            components=(*checked, *self._judged()),
        )

    async def health(self) -> Health:
        """Return readiness and the state of every worker."""
        pools = tuple(_pool_health(name, pool) for name, pool in self._pools.items())
        return Health(readiness=await self.readiness(), pools=pools)

    async def stop(self) -> None:
        """End the checks that still hang. Idempotent."""
        await self._checks.stop()

    @property
    def _rate_limit_hits(self) -> int:
        return self._gate.decisions["rate_limited"] - self._rate_limited_before

    def _stats(self, name: str) -> PoolStats:
        pool = self._pools.get(name)
        return NO_POOL if pool is None else pool.stats()

    def _available(self, name: str) -> int:
        """Return how many more jobs could begin: work may hold a slot without a worker."""
        available = self._stats(name).available
        with suppress(StoreUnavailable):
            capacity = shared_capacities(self._gate).get(CAPACITIES[name])
            if capacity is not None:
                available = min(available, capacity.units - capacity.in_use)
        return available

    def _judged(self) -> list[Component]:
        parts = {COMPONENTS[name]: pool_state(pool) for name, pool in self._pools.items()}
        if self._rendering is not None:
            parts[COMPONENTS[BROWSER]] = browsers_state(self._rendering)
        parts["memory"] = memory_state(self._pressure, self._clock.now_us())
        parts["performance"] = performance_state(self._monitor)
        return [
            Component(name=name, state=state, detail=detail)
            for name, (state, detail) in parts.items()
        ]


def shared_capacities(gate: AdmissionGate) -> dict[str, SharedCapacity]:
    """Return the capacities that all tenants share, by resource.

    Raises:
        StoreUnavailable: the store did not answer.
    """
    shared = {
        limit.name for limit in gate.policy.limits if isinstance(limit, Capacity) and not limit.per
    }
    found: dict[str, SharedCapacity] = {}
    # A claim of nobody is in the scope of those limits alone that are for all.
    for state in gate.limits(Claim(tenant="")):
        if state.name in shared:
            known = found.get(state.resource)
            if known is None or state.units < known.units:
                in_use = state.units - state.remaining
                found[state.resource] = SharedCapacity(units=state.units, in_use=in_use)
    return found


def _pool_health(name: str, pool: Pool[Any]) -> PoolHealth:
    stats = pool.stats()
    workers = tuple(
        WorkerStatus(
            worker_id=worker.worker_id,
            healthy=worker.healthy,
            operations=worker.operations,
            memory_bytes=worker.memory_bytes,
            age_s=worker.age_us / 1e6,
            idle_s=worker.idle_us / 1e6,
        )
        for worker in pool.health()
    )
    return PoolHealth(
        name=name,
        total=stats.total,
        available=stats.available,
        in_use=stats.in_use,
        failed=stats.failed,
        workers=workers,
    )
