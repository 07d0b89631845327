"""Every part of the service, made and handed to the others. Imported only to serve."""

from __future__ import annotations

import secrets
from functools import partial
from importlib.metadata import version
from pathlib import Path

from tidegate.adapters.chromium.launcher import ChromiumLauncher
from tidegate.adapters.linux.host import LinuxHost
from tidegate.adapters.memory.admission_store import MemoryAdmissionStore
from tidegate.adapters.pdfium.pdf_reader import start_pdf_reader
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.lease_log import SqlLeaseLog
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.adapters.system.clock import SystemClock
from tidegate.adapters.system.data_folder import DataFolder
from tidegate.adapters.system.secrets import SystemSecrets
from tidegate.adapters.wasmtime.extractor import WasmExtractorFactory
from tidegate.adapters.web.egress_guard import FilteringProxy
from tidegate.adapters.web.fetcher import HttpFetcher
from tidegate.bootstrap.service import service_limits
from tidegate.bootstrap.shell import admin_key, plans_of
from tidegate.config import Settings
from tidegate.domain.claim import Claim
from tidegate.domain.egress import EgressPolicy
from tidegate.domain.health import PressureLimits
from tidegate.domain.policy import Policy
from tidegate.domain.pooling import PoolLimits
from tidegate.facades.access import Access
from tidegate.facades.extract import Extraction
from tidegate.facades.gate import AdmissionGate
from tidegate.facades.governed import Caps, Governed
from tidegate.facades.leases import Leases
from tidegate.facades.metrics import Metrics
from tidegate.facades.operations import OperationTracker
from tidegate.facades.pdf import PdfReading
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.readiness import store_check
from tidegate.facades.render import Rendering
from tidegate.facades.service import Service, precheck_of
from tidegate.facades.status import Status
from tidegate.facades.tenants import Tenants
from tidegate.facades.workload import Workload
from tidegate.ports.browser import Browser
from tidegate.ports.extractor import Extractor
from tidegate.ports.pdf_reader import PdfReader

WARM_BROWSERS = 1
"""Browsers kept ready without demand: one start costs the first caller a tenth of its cap."""


def wire(settings: Settings, folder: DataFolder) -> Service:
    """Make every part. See `open_service`."""
    clock = SystemClock()
    limits = service_limits(settings, plans_of(settings)["free"])
    database = Database(folder.path / "tidegate.db")
    ledger = SqlUsageLedger(database)
    directory = SqlTenantStore(database)
    tenants = Tenants(
        directory,
        clock=clock,
        secrets=SystemSecrets(),
        plans=plans_of(settings),
    )
    store = MemoryAdmissionStore(now_us=clock.now_us, lease_prefix=f"{secrets.token_urlsafe(6)}-")
    pressure = MemoryPressure(
        LinuxHost(),
        clock=clock,
        tracked=lambda: _held(gate, "memory"),
        limits=PressureLimits(
            limit_bytes=settings.memory.limit_bytes,
            threshold_percent=settings.memory.threshold_percent,
            clear_percent=settings.memory.clear_percent,
        ),
    )
    gate = AdmissionGate(
        Policy(limits),
        store=store,
        inspect=store,
        clock=clock,
        precheck=precheck_of(tenants, pressure),
    )
    monitor = PerformanceMonitor()
    tracker = OperationTracker(
        monitor,
        clock=clock,
        memory_bytes=lambda: pressure.sample.measured_bytes,
        gc_threshold_bytes=settings.memory.gc_threshold_bytes,
    )
    metrics = Metrics(version=version("tidegate"))
    workload = Workload(
        gate,
        tracker=tracker,
        ledger=ledger,
        clock=clock,
        metrics=metrics,
        answers_kept_us=_us(settings.answers_kept_s),
    )
    guard = FilteringProxy(EgressPolicy.parse(",".join(settings.egress.allow)))
    fetcher = HttpFetcher(user_agent(settings))
    extraction, reading = _extraction(settings, guard, fetcher), _reading(settings, guard, fetcher)
    rendering = _rendering(settings, folder.path, guard, extraction)
    pools = {pool.name: pool for pool in (rendering.pool, extraction.pool, reading.pool)}
    status = Status(
        gate,
        pools,
        monitor=monitor,
        pressure=pressure,
        clock=clock,
        components={"store": store_check(ledger, directory)},
        rendering=rendering,
    )
    return Service(
        gate=gate,
        limits=limits,
        tenants=tenants,
        access=Access(tenants, is_admin_key=admin_key(settings, folder).matches),
        leases=Leases(
            gate,
            log=SqlLeaseLog(database),
            ledger=ledger,
            clock=clock,
            claimable=frozenset(limit.resource for limit in settings.limits if limit.claimable),
        ),
        governed=Governed(
            workload,
            rendering=rendering,
            extraction=extraction,
            reading=reading,
            caps=_caps(settings),
        ),
        status=status,
        metrics=metrics,
        exposition=partial(
            metrics.collect, gate=gate, pools=pools, pressure=pressure, monitor=monitor
        ),
        ledger=ledger,
        clock=clock,
        opened=[(database.open, database.close), (guard.start, guard.stop)],
        workers=[
            (pressure.start, pressure.stop),
            (_nothing, fetcher.close),
            (extraction.pool.start, extraction.pool.stop),
            (reading.pool.start, reading.pool.stop),
            (rendering.start, rendering.stop),
            (_nothing, status.stop),
            (_nothing, tracker.stop),
            (_nothing, workload.stop),
        ],
    )


def user_agent(settings: Settings) -> str:
    """Return the name under which pages are fetched: the operator's, or our own and version."""
    return settings.user_agent or f"Tidegate/{version('tidegate')}"


def _rendering(
    settings: Settings, folder: Path, guard: FilteringProxy, extraction: Extraction
) -> Rendering:
    browser = settings.browser
    launcher = ChromiumLauncher(
        work_dir=folder / "browser",
        binary=Path(browser.path) if browser.path else None,
        sandbox=browser.sandbox,
        uid_base=browser.uid_base,
        user_agent=user_agent(settings),
        tree_bytes_max=browser.memory_max_bytes,
    )
    pool: Pool[Browser] = Pool(
        "browser",
        start=launcher.launch,
        clock=SystemClock(),
        limits=PoolLimits(
            size=browser.slots,
            keep_warm=min(WARM_BROWSERS, browser.slots),
            uses_max=browser.uses_max,
            idle_max_us=300_000_000,
            memory_max_bytes=browser.memory_max_bytes,
        ),
    )
    return Rendering(
        pool, launcher=launcher, guard=guard, extraction=extraction, fallback=browser.fallback
    )


def _extraction(settings: Settings, guard: FilteringProxy, fetcher: HttpFetcher) -> Extraction:
    extract = settings.extract
    pool: Pool[Extractor] = Pool(
        "wasm",
        start=WasmExtractorFactory(memory_max_bytes=extract.memory_max_bytes).launch,
        clock=SystemClock(),
        limits=PoolLimits(size=extract.instances, keep_warm=1, idle_max_us=_us(extract.idle_max_s)),
    )
    return Extraction(
        pool,
        fetcher=fetcher,
        guard=guard,
        size_max_bytes=settings.body_max_bytes,
        wasm_cap_us=_us(extract.wasm_timeout_s),
    )


def _reading(settings: Settings, guard: FilteringProxy, fetcher: HttpFetcher) -> PdfReading:
    pool: Pool[PdfReader] = Pool(
        "pdf",
        start=start_pdf_reader,
        clock=SystemClock(),
        limits=PoolLimits(size=settings.pdf.workers, keep_warm=1, uses_max=settings.pdf.uses_max),
    )
    return PdfReading(pool, fetcher=fetcher, guard=guard, size_max_bytes=settings.body_max_bytes)


def _caps(settings: Settings) -> Caps:
    return Caps(
        render_us=_us(settings.browser.timeout_s),
        extract_us=_us(settings.extract.timeout_s),
        pdf_us=_us(settings.pdf.timeout_s),
        pdf_wait_us=_us(settings.pdf.wait_s),
        browser_bytes=settings.browser.slot_memory_bytes,
        pdf_bytes=settings.pdf.slot_memory_bytes,
    )


def _held(gate: AdmissionGate, resource: str) -> int:
    states = gate.limits_touched(Claim(hold={resource: 1}))
    return sum(state.units - state.remaining for state in states)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


async def _nothing() -> None:
    """Nothing to start."""
