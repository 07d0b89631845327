"""The running service: its parts, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from tidegate.domain.claim import Claim
from tidegate.domain.decision import Denied
from tidegate.domain.limit import COHORT_FIELD, Quota
from tidegate.domain.period import windows
from tidegate.domain.policy import Policy
from tidegate.domain.rule import rule_of
from tidegate.domain.standing import Allowance, StandingLimits
from tidegate.domain.usage import UsageTotals
from tidegate.facades.access import Access
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.facades.checks import Checks
from tidegate.facades.desk import Precheck
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.governed import Governed
from tidegate.facades.leases import Leases
from tidegate.facades.metrics import Metrics
from tidegate.facades.near_limits import NearLimits
from tidegate.facades.operator import Operator
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.status import Status
from tidegate.facades.tenants import Tenants
from tidegate.ports.clock import Clock
from tidegate.ports.usage_ledger import UsageLedger

TENANTS_LOOK_S = 0.5
"""How soon a tenant changed from another process is noticed."""
SWEEP_S = 60.0

_log = logging.getLogger(__name__)

Step = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a tenant used in a period, both ends in microseconds; the end is not in it."""

    totals: UsageTotals
    period_start_us: int
    period_end_us: int


class Service:
    """Everything an entrypoint needs. Parts are public: routes call them directly.

    Args:
        standing: The limits in force before tenants' quotas are put in.
        exposition: Returns the metrics as text.
        opened: What must run before tenants and leases are read, as (start, stop) pairs.
        workers: What may start behind the first answer, as (start, stop) pairs.
    """

    def __init__(
        self,
        *,
        gate: AdmissionGate,
        standing: StandingLimits,
        adaptive: Sequence[AdaptiveCapacity],
        tenants: Tenants,
        access: Access,
        leases: Leases,
        checks: Checks,
        governed: Governed,
        status: Status,
        metrics: Metrics,
        exposition: Callable[[], str],
        near: NearLimits,
        ledger: UsageLedger,
        clock: Clock,
        opened: list[tuple[Step, Step]],
        workers: list[tuple[Step, Step]],
    ) -> None:
        self.gate, self.tenants, self.access, self.leases = gate, tenants, access, leases
        self.checks = checks
        self.operator = Operator(gate, tenants=tenants, leases=leases, checks=checks)
        self.governed, self.status, self.metrics = governed, status, metrics
        self.metrics_text = exposition
        self._standing, self._adaptive = standing, tuple(adaptive)
        self._ledger, self._clock = ledger, clock
        self._near = near
        self._opened, self._workers = opened, workers
        self._stops: list[Step] = []
        tenants.changed = self.apply_quotas
        self._loops: list[asyncio.Task[None]] = []

    def run_beside(self, start: Step, stop: Step) -> None:
        """Also run this from `start` to `stop`: started last, stopped first."""
        self._workers.append((start, stop))

    async def start(self) -> None:
        """Start every part. What had started is stopped again if one fails.

        Raises:
            StoreUnavailable: the data folder cannot be used.
        """
        try:
            await self._run_starts(self._opened)
            await self.tenants.refresh()
            self.apply_quotas()
            await self._restore_quotas()
            await self._run_starts([(self.leases.start, self.leases.stop), *self._workers])
        except BaseException:
            await self.stop()
            raise
        self._loops = [
            asyncio.create_task(self._every(TENANTS_LOOK_S, self._look_for_changes)),
            asyncio.create_task(self._every(SWEEP_S, self._sweep)),
        ]

    def drain(self) -> None:
        """Finish what runs and begin nothing: who still waits is refused. Idempotent."""
        self.status.draining = True
        self.gate.dismiss_waiting()

    async def stop(self) -> None:
        """Stop every part, last started first, whichever of them fails to. Idempotent."""
        self.status.draining = True
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)
        self._loops.clear()
        while self._stops:
            try:
                await self._stops.pop()()
            except Exception:
                _log.exception("a part could not be stopped; the others are")
        self.gate.close()

    def apply_quotas(self) -> None:
        """Put the quotas and weights of every tenant in force."""
        tenants = {
            tenant.id: Allowance(
                quotas=self.tenants.quotas(tenant), weight=self.tenants.plan(tenant).weight
            )
            for tenant in self.tenants.directory.tenants.values()
        }
        self.gate.change_policy(lambda _: self._in_force(tenants))

    def _in_force(self, tenants: Mapping[str, Allowance]) -> Policy:
        policy = self._standing.policy(tenants)
        for capacity in self._adaptive:
            policy = capacity.put_into(policy)
        return policy

    def now_us(self) -> int:
        """Return the time by the service's clock."""
        return self._clock.now_us()

    async def usage(self, tenant_id: str) -> Usage:
        """Return what a tenant used since the calendar month began."""
        start_us, end_us, _ = windows("month", self._clock.now_us())
        totals = await self._ledger.totals(tenant_id, since_us=start_us, until_us=end_us)
        return Usage(totals=totals, period_start_us=start_us, period_end_us=end_us)

    async def _run_starts(self, steps: list[tuple[Step, Step]]) -> None:
        for start, stop in steps:
            self._stops.append(stop)
            await start()

    async def _restore_quotas(self) -> None:
        """Spend in each quota what the ledger says was spent since its window began.

        The ledger knows tenants, of which cohorts are made, and resources; quotas that are per
        something else start full.
        """
        now_us, policy = self._clock.now_us(), self.gate.policy
        for limit in self._standing.limits:
            if not isinstance(limit, Quota) or not {"tenant", COHORT_FIELD}.issuperset(limit.per):
                continue
            spent = await self._ledger.taken(since_us=rule_of(limit, now_us).starts_us[0])
            by_scope: Counter[tuple[str, ...]] = Counter()
            whose: dict[tuple[str, ...], Claim] = {}
            for (tenant, resource), units in spent.items():
                if resource == limit.resource:
                    claim = Claim(tenant=tenant)
                    scope = policy.scope_of(limit, claim)
                    whose[scope] = claim
                    by_scope[scope] += units
            for scope, claim in whose.items():
                units = max(0, by_scope[scope])
                self.gate.set_used(limit.name, claim, units)
                own = policy.limit(limit.name, scope)
                if limit.per == ("tenant",) and units * 100 >= own.units * own.near_percent:
                    self._near.remember(limit.name, claim.tenant)

    async def _look_for_changes(self) -> None:
        await self.tenants.refresh()
        for tenant in self.leases.tenants.difference(self.tenants.directory.tenants):
            await self.leases.release_all(tenant)

    async def _sweep(self) -> None:
        await self._ledger.sweep(now_us=self._clock.now_us())

    async def _every(self, interval_s: float, step: Step) -> None:
        while True:
            await asyncio.sleep(interval_s)
            try:
                await step()
            except Exception:
                # Whatever it was, tenants must be looked for and answers swept from now on too.
                _log.exception("a regular look at the data folder failed; trying again")


def precheck_of(tenants: Tenants, pressure: MemoryPressure, shedding: Precheck) -> Precheck:
    """Return what the gate asks first: is the tenant suspended, memory short, work going badly."""

    def precheck(claim: Claim) -> Denied | None:
        tenant = tenants.directory.tenants.get(claim.tenant)
        # One that is not there was removed while its claim waited.
        if tenant is None or tenant.status == "suspended":
            return Denied(reason="suspended")
        if "memory" in claim.hold and pressure.under_pressure:
            return Denied(reason="memory_pressure")
        return shedding(claim)

    return precheck
