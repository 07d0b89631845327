"""Which parts of the service answer, and how each of them is.

A part that works worse than it should is `degraded` and keeps the service ready: taking it out of
service would help nobody. Only what no request can do without makes it unready, and that is asked
by really using it. Asking has an end: a part that hangs is reported, not waited for, and is not
asked again while the question hangs, so that probes cannot pile up on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tidegate.domain.health import MIB
from tidegate.errors import TidegateError
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.render import Rendering
from tidegate.ports.tenant_store import TenantStore
from tidegate.ports.usage_ledger import UsageLedger

CHECK_MAX_S = 1.0
"""How long a check may take: less than what probes of orchestrators usually wait."""

HUNG_S = 10.0
"""When a hanging check is cancelled, so that another may be made. Threads cannot be cancelled."""

State = Literal["ok", "degraded", "failed", "starting"]
Check = Callable[[], Awaitable[str]]
"""Uses a part for real and says in a few words what it found. Raises if the part fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One part of the service. `detail` is a sentence for operators."""

    name: str
    state: State
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether requests should be sent here, and how each part is."""

    ready: bool
    draining: bool
    components: tuple[Component, ...]


class Checks:
    """Asks parts whether they work, each at most once at a time.

    Args:
        checks: By component name. A check must not block the event loop.
    """

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._asked: dict[str, tuple[asyncio.Task[Component], float]] = {}

    async def ask(self) -> list[Component]:
        """Ask every part at once, and wait for `CHECK_MAX_S` at most."""
        return await asyncio.gather(*(self._ask(name) for name in self._checks))

    async def stop(self) -> None:
        """End the checks that still hang; what cannot be cancelled is left. Idempotent."""
        pending = [task for task, _ in self._asked.values() if not task.done()]
        for task in pending:
            task.cancel()
        if pending:
            await asyncio.wait(pending, timeout=CHECK_MAX_S)

    async def _ask(self, name: str) -> Component:
        """Ask one part, or join the question under way."""
        loop = asyncio.get_running_loop()
        task, since_s = self._asked.get(name, (None, 0.0))
        if task is None or task.done():
            answer = _answer(name, self._checks[name])
            task, since_s = asyncio.create_task(answer, name=f"check-{name}"), loop.time()
            self._asked[name] = (task, since_s)
        await asyncio.wait({task}, timeout=CHECK_MAX_S)
        if task.done() and not task.cancelled():
            return task.result()
        asked_s = loop.time() - since_s
        if asked_s > HUNG_S:
            task.cancel()
        ending = "was cancelled" if task.done() else "has not ended"
        detail = f"the check {ending} after {asked_s:.1f} s"
        return Component(name=name, state="failed", detail=detail)


def store_check(ledger: UsageLedger, tenants: TenantStore) -> Check:
    """Return a check that reads from both stores, and passes once through their writer."""

    async def check() -> str:
        # One look into an index each, however much is stored.
        await ledger.answer("", "", now_us=0)
        await tenants.audit(tenant_id=None, limit=1)
        await ledger.prove()
        return "usage and tenants can be read and written"

    return check


async def _answer(name: str, check: Check) -> Component:
    try:
        return Component(name=name, state="ok", detail=await check())
    except TidegateError as error:
        detail = str(error)
    except Exception as error:
        detail = f"{type(error).__name__}: {error}"
    return Component(name=name, state="failed", detail=detail)


def pool_state(pool: Pool[Any]) -> tuple[State, str]:
    """Judge a pool: degraded if none of the workers that should be warm is there."""
    stats = pool.stats()
    counts = f"{stats.in_use} of {stats.total} lent, {stats.idle} idle, {stats.failed} failed"
    if stats.available + stats.in_use < stats.total:
        return "degraded", f"stopped: {counts}"
    if stats.idle or stats.in_use or not pool.limits.keep_warm:
        return "ok", counts
    return "degraded" if stats.failed else "starting", f"none is running: {counts}"


def browsers_state(rendering: Rendering) -> tuple[State, str]:
    """Judge browsers by what the probe found, then by their pool."""
    try:
        report = rendering.report
    except asyncio.CancelledError:
        return "degraded", "the search for a browser was ended"
    except Exception as error:
        return "degraded", f"the search for a browser failed: {error}"
    if report is None:
        return "starting", "looking for a usable browser"
    if not report.usable:
        return "degraded", report.reason or "no usable browser"
    if not report.sandboxed:
        return "degraded", report.reason or "browsers run without a sandbox"
    return pool_state(rendering.pool)


def performance_state(monitor: PerformanceMonitor) -> tuple[State, str]:
    """Judge how recent operations went."""
    stats = monitor.get_stats()
    detail = f"score {stats.degradation_score:.2f}, P95 {stats.p95_us / 1e6:.3f} s of late"
    return "degraded" if monitor.is_degraded() else "ok", detail


def memory_state(pressure: MemoryPressure, now_us: int) -> tuple[State, str]:
    """Judge memory, with the numbers and the age of the reading."""
    sample, limits = pressure.sample, pressure.limits
    reading = f"not measured: {sample.reason}"
    if sample.measured_bytes is not None:
        reading = f"measured {sample.measured_bytes // MIB} MiB"
    detail = (
        f"{pressure.used_bytes // MIB} of {limits.limit_bytes // MIB} MiB used or promised, "
        f"refusing from {limits.threshold_percent} %; "
        f"{reading}, {max(0, now_us - sample.at_us) / 1e6:.1f} s ago"
    )
    return "degraded" if pressure.under_pressure else "ok", detail
