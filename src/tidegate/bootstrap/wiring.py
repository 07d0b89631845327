"""Every part of the service, made once and handed to the others.

Imports every adapter, so it is imported only inside functions, by those who serve.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from importlib.metadata import version

from tidegate.adapters.linux.allocator import keep_large_blocks_apart, trim
from tidegate.adapters.linux.host import LinuxHost
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.lease_log import SqlLeaseLog
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.adapters.system.clock import SystemClock
from tidegate.adapters.system.data_folder import DataFolder
from tidegate.adapters.system.secrets import SystemSecrets
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.adapters.web.fetcher import HttpFetcher
from tidegate.bootstrap import workers
from tidegate.bootstrap.adaptive import adaptive_capacities
from tidegate.bootstrap.checks import check_rules
from tidegate.bootstrap.embedded import memory_store
from tidegate.bootstrap.limits import service_limits
from tidegate.bootstrap.shell import admin_key, plans_of
from tidegate.config import Settings
from tidegate.domain.decision import Decision
from tidegate.domain.egress import EgressPolicy
from tidegate.domain.health import PressureLimits
from tidegate.facades.access import Access
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.facades.checks import Checks
from tidegate.facades.extract import Extraction
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.governed import Caps, Governed
from tidegate.facades.leases import Leases
from tidegate.facades.metrics import Metrics
from tidegate.facades.near import NearEvents
from tidegate.facades.near_limits import NearLimits
from tidegate.facades.operations import OperationTracker
from tidegate.facades.pdf import PdfReading
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.readiness import store_check
from tidegate.facades.render import Rendering
from tidegate.facades.service import Service, Step, precheck_of
from tidegate.facades.shedding import Shedding
from tidegate.facades.status import Status, shared_capacities
from tidegate.facades.tenants import Tenants
from tidegate.facades.workload import Workload
from tidegate.ports.browser import Browser
from tidegate.ports.extractor import Extractor
from tidegate.ports.pdf_reader import PdfReader


class Wiring:
    """The parts of one service. Each is made when it is first asked for."""

    def __init__(self, settings: Settings, folder: DataFolder) -> None:
        self.settings, self.folder = settings, folder
        self.clock = SystemClock()
        self.plans = plans_of(settings)
        self.standing = service_limits(settings, self.plans["free"])
        self.database = Database(folder.path / "tidegate.db")
        self.ledger = SqlUsageLedger(self.database)
        self.directory = SqlTenantStore(self.database)
        self.monitor = PerformanceMonitor()
        self.near = NearLimits(self.clock.now_us)
        self.metrics = Metrics(version=version("tidegate"))
        self.user_agent = settings.user_agent or f"Tidegate/{version('tidegate')}"
        self.guard = FilteringProxy(EgressPolicy.parse(",".join(settings.egress.allow)))
        self.fetcher = HttpFetcher(self.user_agent)

    def service(self) -> Service:
        """Return the service, not started."""
        keep_large_blocks_apart()
        return Service(
            gate=self.gate,
            standing=self.standing,
            adaptive=self.adaptive,
            tenants=self.tenants,
            access=Access(self.tenants, is_admin_key=admin_key(self.settings, self.folder).matches),
            leases=self.leases,
            checks=self.checks,
            governed=self.governed,
            status=self.status,
            metrics=self.metrics,
            exposition=partial(
                self.metrics.collect,
                gate=self.gate,
                pools=self.pools,
                pressure=self.pressure,
                monitor=self.monitor,
                adaptive=self.adaptive,
                near=self.near,
            ),
            near=self.near,
            ledger=self.ledger,
            clock=self.clock,
            opened=[
                (self.database.open, self.database.close),
                (self.guard.start, self.guard.stop),
            ],
            workers=self.parts,
        )

    @property
    def parts(self) -> list[tuple[Step, Step]]:
        """What may start behind the first answer; stopped in the opposite order."""
        return [
            (self.pressure.start, self.pressure.stop),
            (_nothing, self.fetcher.close),
            (self.extraction.pool.start, self.extraction.pool.stop),
            (self.reading.pool.start, self.reading.pool.stop),
            (self.rendering.start, self.rendering.stop),
            (_nothing, self.status.stop),
            (_nothing, self.tracker.stop),
            (_nothing, self.workload.stop),
        ]

    @cached_property
    def gate(self) -> AdmissionGate:
        """Where everything is admitted."""
        policy = self.standing.policy()
        near = NearEvents(self.near.heard)
        memory = memory_store(policy, near=near)
        return AdmissionGate(
            policy,
            store=memory.store,
            inspect=memory,
            rates=memory.store,
            clock=self.clock,
            precheck=precheck_of(self.tenants, self.pressure, self.shedding),
            stopwatch=self._timed,
            near=near,
        )

    @cached_property
    def adaptive(self) -> list[AdaptiveCapacity]:
        """What moves by itself."""
        return adaptive_capacities(self.settings, self.gate)

    @cached_property
    def shedding(self) -> Shedding:
        """Who is refused while work goes badly."""
        least = self.settings.performance.priority_min
        return Shedding(self.monitor, self.clock, priority_min=least)

    def _timed(self, decide: Callable[[], Decision]) -> Decision:
        started_us = self.clock.elapsed_us()
        answer = decide()
        self.metrics.decision(self.clock.elapsed_us() - started_us)
        return answer

    @cached_property
    def tenants(self) -> Tenants:
        """Who may ask."""
        return Tenants(self.directory, clock=self.clock, secrets=SystemSecrets(), plans=self.plans)

    @cached_property
    def pressure(self) -> MemoryPressure:
        """Whether memory is scarce; asks the gate what it has promised."""
        memory = self.settings.memory
        return MemoryPressure(
            LinuxHost(),
            clock=self.clock,
            relieve=trim,
            tracked=lambda: shared_capacities(self.gate)["memory"].in_use,
            limits=PressureLimits(
                limit_bytes=memory.limit_bytes,
                threshold_percent=memory.threshold_percent,
                clear_percent=memory.clear_percent,
            ),
        )

    @cached_property
    def leases(self) -> Leases:
        """Claims over the wire."""
        return Leases(
            self.gate,
            log=SqlLeaseLog(self.database),
            ledger=self.ledger,
            clock=self.clock,
            claimable=frozenset(
                limit.resource for limit in self.settings.limits if limit.claimable
            ),
        )

    @cached_property
    def checks(self) -> Checks:
        """What gateways ask."""
        rules = check_rules(self.settings, self.standing.policy())
        return Checks(self.gate, rules=rules, ledger=self.ledger, clock=self.clock)

    @cached_property
    def tracker(self) -> OperationTracker:
        """What runs now."""
        return OperationTracker(
            self.monitor,
            clock=self.clock,
            memory_bytes=lambda: self.pressure.sample.measured_bytes,
            gc_threshold_bytes=self.settings.memory.gc_threshold_bytes,
        )

    @cached_property
    def workload(self) -> Workload:
        """How governed work is run."""
        return Workload(
            self.gate,
            tracker=self.tracker,
            ledger=self.ledger,
            clock=self.clock,
            metrics=self.metrics,
            answers_kept_us=_us(self.settings.answers_kept_s),
        )

    @cached_property
    def governed(self) -> Governed:
        """The workloads."""
        browser, pdf = self.settings.browser, self.settings.pdf
        return Governed(
            self.workload,
            rendering=self.rendering,
            extraction=self.extraction,
            reading=self.reading,
            caps=Caps(
                render_us=_us(browser.timeout_s),
                extract_us=_us(self.settings.extract.timeout_s),
                pdf_us=_us(pdf.timeout_s),
                pdf_wait_us=_us(pdf.wait_s),
                browser_bytes=browser.slot_memory_bytes,
                pdf_bytes=pdf.slot_memory_bytes,
            ),
        )

    @cached_property
    def rendering(self) -> Rendering:
        """Browsers."""
        pool, launcher = workers.browsers(
            self.settings.browser, self.folder.path / "browser", self.user_agent, self.clock
        )
        return Rendering(
            pool,
            launcher=launcher,
            guard=self.guard,
            extraction=self.extraction,
            fallback=self.settings.browser.fallback,
        )

    @cached_property
    def extraction(self) -> Extraction:
        """WASM instances."""
        return Extraction(
            workers.extractors(self.settings.extract, self.clock),
            fetcher=self.fetcher,
            guard=self.guard,
            size_max_bytes=self.settings.body_max_bytes,
            wasm_cap_us=_us(self.settings.extract.wasm_timeout_s),
        )

    @cached_property
    def reading(self) -> PdfReading:
        """PDF workers."""
        return PdfReading(
            workers.pdf_readers(self.settings.pdf, self.clock),
            fetcher=self.fetcher,
            guard=self.guard,
            size_max_bytes=self.settings.body_max_bytes,
        )

    @cached_property
    def pools(self) -> dict[str, Pool[Browser] | Pool[Extractor] | Pool[PdfReader]]:
        """Every pool, by its name."""
        pools = (self.rendering.pool, self.extraction.pool, self.reading.pool)
        return {pool.name: pool for pool in pools}

    @cached_property
    def status(self) -> Status:
        """How all of it is."""
        return Status(
            self.gate,
            self.pools,
            monitor=self.monitor,
            pressure=self.pressure,
            clock=self.clock,
            components={"store": store_check(self.ledger, self.directory)},
            rendering=self.rendering,
        )


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


async def _nothing() -> None:
    """Nothing to start."""
