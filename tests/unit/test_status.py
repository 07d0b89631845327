"""What is free, what was counted, and what readiness says of parts that fail, hang or lag."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from tests.unit.pool_doubles import DEADLINE_S, Scene, scene_of, settle, until
from tidegate import Capacity, Claim, Gate, Granted, RateLimit
from tidegate.adapters.memory.tenant_store import MemoryTenantStore
from tidegate.adapters.memory.usage_ledger import MemoryUsageLedger
from tidegate.adapters.sql.database import Database
from tidegate.adapters.sql.tenant_store import SqlTenantStore
from tidegate.adapters.sql.usage_ledger import SqlUsageLedger
from tidegate.domain.health import MIB, PressureLimits
from tidegate.errors import InvalidRequest, StoreUnavailable
from tidegate.facades import readiness
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.readiness import Check, Component, store_check
from tidegate.facades.render import Rendering
from tidegate.facades.status import MetricsSnapshot, ResourceStatus, Status
from tidegate.ports.browser import BrowserReport
from tidegate.testing import FakeClock, FakeHost

pytestmark = pytest.mark.anyio

FRESH = ResourceStatus(
    browsers_available=3,
    browsers_total=3,
    pdf_workers_available=2,
    pdf_workers_total=2,
    memory_used_bytes=0,
    memory_pressure=False,
    rate_limit_hits=0,
    timeouts_count=0,
    degradation_score=0.0,
)
USABLE = BrowserReport(usable=True, path="/x", version="1", sandboxed=True, reason=None)
RENDER = Claim(take={"requests": 1}, hold={"browsers": 1})


class Service:
    """The parts that status looks at, all idle."""

    def __init__(self, browsers: Scene, pdf: Scene, wasm: Scene) -> None:
        self.browsers, self.pdf, self.wasm = browsers, pdf, wasm
        self.clock, self.host = FakeClock(), FakeHost(0)
        self.monitor = PerformanceMonitor()
        self.gate = Gate(
            [
                RateLimit("requests", units=1, period_s=60, burst=3),
                Capacity("browsers", units=3),
                Capacity("pdf_workers", units=2),
            ],
            clock=self.clock,
        )
        self.pressure = MemoryPressure(
            self.host,
            clock=self.clock,
            tracked=lambda: 0,
            limits=PressureLimits(limit_bytes=1_000 * MIB),
        )
        self.status = self.of({"store": fine})

    def of(self, components: dict[str, Check], **options: Any) -> Status:
        return Status(
            self.gate,
            {"browser": self.browsers.pool, "pdf": self.pdf.pool, "wasm": self.wasm.pool},
            monitor=self.monitor,
            pressure=self.pressure,
            clock=self.clock,
            components=components,
            **options,
        )


async def fine() -> str:
    return "fine"


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service(Scene(), Scene(size=2), Scene(size=4))
    yield service
    service.gate.close()
    for scene in (service.browsers, service.pdf, service.wasm):
        await scene.pool.stop(grace_us=0)
        assert scene.factory.existing == 0
    await settle()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("check-")] == []


async def component(status: Status, name: str) -> Component:
    (found,) = [part for part in (await status.readiness()).components if part.name == name]
    return found


async def test_a_fresh_service_has_everything_free(service: Service) -> None:
    assert service.status.resources() == FRESH
    snapshot = service.status.metrics_snapshot()
    assert snapshot == MetricsSnapshot(browser_pool_size=3)
    assert (snapshot.render_success_rate, snapshot.browser_pool_utilization) == (0.0, 0.0)


async def test_resources_and_snapshot_under_load(service: Service) -> None:
    status, monitor = service.status, service.monitor
    service.host.memory_bytes = 900 * MIB
    await service.pressure.measure()
    grants = [service.gate.try_admit(RENDER) for _ in range(3)]
    service.gate.try_admit(RENDER)
    monitor.record_operation("render", 1, True)
    monitor.record_timeout("render", 3_000_000)
    monitor.counters.cleanup_operations = monitor.counters.gc_triggers = 7
    async with service.browsers.pool.lend(), service.pdf.pool.lend():
        async with service.wasm.pool.lend():
            resources, snapshot = status.resources(), status.metrics_snapshot()
    # Three renders hold a slot, though only one of them has been lent a browser yet.
    assert resources == ResourceStatus(
        browsers_available=0,
        browsers_total=3,
        pdf_workers_available=1,
        pdf_workers_total=2,
        memory_used_bytes=900 * MIB,
        memory_pressure=True,
        rate_limit_hits=1,
        timeouts_count=1,
        degradation_score=0.5,
    )
    assert snapshot == MetricsSnapshot(
        browser_pool_size=3,
        browsers_active=1,
        pdf_active=1,
        wasm_instances=1,
        memory_usage_bytes=900 * MIB,
        rate_limit_hits=1,
        timeouts_count=1,
        cleanup_operations=7,
        gc_triggers=7,
        render_operations=2,
        successful_renders=1,
        failed_renders=1,
    )
    for granted in grants:
        assert isinstance(granted, Granted)
        granted.lease.release()
    assert status.resources().browsers_available == 3
    assert status.metrics_snapshot().browsers_active == 0
    status.reset()
    counted = status.metrics_snapshot()
    assert (counted.rate_limit_hits, counted.timeouts_count, counted.render_operations) == (0, 0, 0)
    assert status.resources().rate_limit_hits == 0
    assert service.gate.decisions["rate_limited"] == 1
    service.gate.try_admit(RENDER)
    assert status.resources().rate_limit_hits == 1


async def test_what_is_missing_or_stopped_offers_nothing(service: Service) -> None:
    await service.browsers.pool.stop()
    assert service.status.resources().browsers_available == 0
    bare = Status(
        service.gate,
        {},
        monitor=service.monitor,
        pressure=service.pressure,
        clock=service.clock,
        components={},
        essential=frozenset(),
    )
    resources = bare.resources()
    assert (resources.browsers_total, resources.browsers_available) == (0, 0)
    assert (await bare.readiness()).ready


async def test_resources_do_without_the_store(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(claim: Claim) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(service.gate, "limits", fail)
    assert service.status.resources() == FRESH


@pytest.mark.parametrize(
    ("snapshot", "success_rate", "utilization"),
    [
        (MetricsSnapshot(render_operations=100, successful_renders=95), 0.95, 0.0),
        (MetricsSnapshot(browser_pool_size=10, browsers_active=5), 0.0, 0.5),
        (MetricsSnapshot(), 0.0, 0.0),
    ],
)
async def test_the_shares_of_a_snapshot(
    snapshot: MetricsSnapshot, success_rate: float, utilization: float
) -> None:
    assert snapshot.render_success_rate == success_rate
    assert snapshot.browser_pool_utilization == utilization


async def test_a_service_that_is_well(service: Service) -> None:
    service.host.memory_bytes = 100 * MIB
    await service.pressure.measure()
    service.clock.advance(seconds=2.5)
    report = await service.status.readiness()
    assert report.ready
    assert not report.draining
    assert {part.name: part.state for part in report.components} == dict.fromkeys(
        ("store", "browsers", "pdf", "wasm", "memory", "performance"), "ok"
    )
    details = {part.name: part.detail for part in report.components}
    assert details["store"] == "fine"
    assert details["memory"] == (
        "100 of 1000 MiB used or promised, refusing from 85 %; measured 100 MiB, 2.5 s ago"
    )


async def test_draining_makes_unready(service: Service) -> None:
    service.status.draining = True
    report = await service.status.readiness()
    assert (report.ready, report.draining) == (False, True)
    assert all(part.state == "ok" for part in report.components)


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (StoreUnavailable("the disk is gone"), "the disk is gone"),
        (OSError(5, "bad sector"), "OSError: [Errno 5] bad sector"),
        (TimeoutError(), "TimeoutError: "),
        (asyncio.CancelledError(), "the check was cancelled after 0.0 s"),
    ],
)
async def test_only_what_is_essential_makes_unready(
    service: Service, error: BaseException, detail: str
) -> None:
    async def fail() -> str:
        raise error

    lost = service.of({"store": fail})
    assert not (await lost.readiness()).ready
    assert await component(lost, "store") == Component(name="store", state="failed", detail=detail)
    spare = service.of({"store": fine, "egress": fail})
    assert (await spare.readiness()).ready
    assert (await component(spare, "egress")).state == "failed"


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_store_is_really_read(service: Service, tmp_path: Path, kind: str) -> None:
    database = Database(tmp_path / "tidegate.db")
    await database.open()
    check = store_check(SqlUsageLedger(database), SqlTenantStore(database))
    if kind == "memory":
        check = store_check(MemoryUsageLedger(), MemoryTenantStore())
    status = service.of({"store": check})
    assert (await status.readiness()).ready
    await database.close()
    assert (await status.readiness()).ready is (kind == "memory")


class Hanging:
    """A check that hangs until it is let go, and may refuse to be cancelled."""

    def __init__(self, *, stubborn: bool = False) -> None:
        self.asked = self.cancelled = 0
        self.go, self._stubborn = asyncio.Event(), stubborn

    async def __call__(self) -> str:
        self.asked += 1
        while True:
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self._stubborn:
                    raise
            else:
                return "back"


async def test_a_hanging_part_is_reported_and_asked_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.05)
    check = Hanging()
    status = service.of({"store": check, "other": fine})
    async with asyncio.timeout(DEADLINE_S):
        reports = await asyncio.gather(*(status.readiness() for _ in range(20)))
        reports.append(await status.readiness())
    assert not any(report.ready for report in reports)
    states = {part.name: part for part in reports[-1].components}
    assert states["store"].state == "failed"
    assert states["store"].detail.startswith("the check has not ended after 0.")
    assert states["other"].state == "ok"
    assert (check.asked, check.cancelled) == (1, 0)
    check.go.set()
    assert (await status.readiness()).ready
    assert (await component(status, "store")).detail == "back"


async def test_a_caller_that_leaves_takes_no_answer_from_others(service: Service) -> None:
    check = Hanging()
    status = service.of({"store": check})
    leaver, stayer = (asyncio.create_task(status.readiness()) for _ in range(2))
    await settle()
    leaver.cancel()
    await settle()
    check.go.set()
    assert (await stayer).ready
    assert leaver.cancelled()
    assert check.asked == 1


async def test_a_part_that_hangs_for_long_is_asked_anew(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    monkeypatch.setattr(readiness, "HUNG_S", 0.0)
    check = Hanging()
    status = service.of({"store": check})
    for asked in (1, 2):
        assert not (await status.readiness()).ready
        await settle()
        assert (check.asked, check.cancelled) == (asked, asked)
    check.go.set()
    assert (await status.readiness()).ready


async def test_a_part_that_cannot_be_cancelled_holds_nothing_up(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    monkeypatch.setattr(readiness, "HUNG_S", 0.0)
    check = Hanging(stubborn=True)
    status = service.of({"store": check})
    async with asyncio.timeout(DEADLINE_S):
        for _ in range(3):
            assert not (await status.readiness()).ready
        await status.stop()
    assert (check.asked, check.cancelled) == (1, 4)
    check.go.set()
    assert (await status.readiness()).ready


async def test_stop_ends_what_hangs(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CHECK_MAX_S", 0.02)
    check = Hanging()
    status = service.of({"store": check})
    await status.readiness()
    await status.stop()
    await status.stop()
    assert check.cancelled == 1


class Launcher:
    """Finds what it is told, once it is let go."""

    def __init__(self, found: BrowserReport | Exception) -> None:
        self._found, self.go = found, asyncio.Event()

    async def probe(self) -> BrowserReport:
        await self.go.wait()
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    async def launch(self) -> Any:
        raise AssertionError("nothing is launched here")

    async def stop(self) -> None:
        return None


def rendering_of(service: Service, launcher: Launcher) -> Rendering:
    nothing = cast("Any", None)
    return Rendering(
        cast("Any", service.browsers.pool),
        launcher=launcher,
        guard=nothing,
        extraction=nothing,
        fallback=True,
    )


@pytest.mark.parametrize(
    ("found", "state", "detail"),
    [
        pytest.param(USABLE, "ok", "0 of 3 lent, 0 idle, 0 failed", id="usable"),
        pytest.param(
            BrowserReport(
                usable=False, path=None, version=None, sandboxed=False, reason="none was found"
            ),
            "degraded",
            "none was found",
            id="none there",
        ),
        pytest.param(
            BrowserReport(usable=True, path="/x", version="1", sandboxed=False, reason=None),
            "degraded",
            "browsers run without a sandbox",
            id="no sandbox",
        ),
        pytest.param(
            OSError("no memory"), "degraded", "the search for a browser failed: no memory", id="bug"
        ),
    ],
)
async def test_browsers_are_as_the_probe_found_them(
    service: Service, found: BrowserReport | Exception, state: str, detail: str
) -> None:
    launcher = Launcher(found)
    rendering = rendering_of(service, launcher)
    status = service.of({"store": fine}, rendering=rendering)
    await rendering.start()
    assert (await component(status, "browsers")).state == "starting"
    launcher.go.set()
    await settle()
    report = await component(status, "browsers")
    assert (report.state, report.detail) == (state, detail)
    assert (await status.readiness()).ready
    await rendering.stop()


async def test_a_search_that_was_ended_is_told(service: Service) -> None:
    rendering = rendering_of(service, Launcher(USABLE))
    status = service.of({"store": fine}, rendering=rendering)
    await rendering.start()
    await settle()
    await rendering.stop()
    report = await component(status, "browsers")
    assert (report.state, report.detail) == ("degraded", "the search for a browser was ended")


async def test_a_pool_is_starting_well_failing_or_stopped(service: Service) -> None:
    async with scene_of(size=2, keep_warm=1) as pdf:
        service.pdf = pdf
        status = service.of({"store": fine})
        pdf.factory.starting.clear()
        await pdf.pool.start()
        assert (await component(status, "pdf")).state == "starting"
        pdf.factory.starting.set()
        await until(lambda: pdf.pool.stats().idle == 1)
        assert (await component(status, "pdf")).state == "ok"
        pdf.factory.failing = 1_000
        pdf.factory.workers[0].alive = False
        await until(lambda: pdf.pool.stats().failed > 0 and not pdf.pool.stats().idle)
        report = await component(status, "pdf")
        assert report.state == "degraded"
        assert report.detail.startswith("none is running: 0 of 2 lent, 0 idle, ")
        await pdf.pool.stop()
        report = await component(status, "pdf")
        assert (report.state, report.detail[:8]) == ("degraded", "stopped:")
        assert (await status.readiness()).ready


async def test_memory_and_performance_degrade_and_stay_ready(service: Service) -> None:
    assert "not measured: not measured yet" in (await component(service.status, "memory")).detail
    service.host.memory_bytes = 850 * MIB
    await service.pressure.measure()
    for _ in range(20):
        service.monitor.record_timeout("render", 3_000_000)
    report = await service.status.readiness()
    assert report.ready
    parts = {part.name: (part.state, part.detail) for part in report.components}
    assert parts["memory"][0] == "degraded"
    assert parts["memory"][1].startswith("850 of 1000 MiB")
    assert parts["performance"] == ("degraded", "score 1.00, P95 3.000 s of late")


async def test_health_lists_every_worker(service: Service) -> None:
    async with service.browsers.pool.lend():
        service.browsers.clock.advance(seconds=2)
        async with service.browsers.pool.lend():
            pass
        service.browsers.clock.advance(seconds=1)
        health = await service.status.health()
    assert health.readiness.ready
    pools = {pool.name: pool for pool in health.pools}
    assert pools.keys() == {"browser", "pdf", "wasm"}
    browsers = pools["browser"]
    assert (browsers.total, browsers.available, browsers.in_use, browsers.failed) == (3, 2, 1, 0)
    assert [(w.operations, w.age_s, w.idle_s, w.healthy) for w in browsers.workers] == [
        (1, 3.0, 0.0, True),
        (1, 1.0, 1.0, True),
    ]
    assert len({worker.worker_id for worker in browsers.workers}) == 2
    assert browsers.workers[0].memory_bytes is None
    assert pools["pdf"].workers == ()


async def test_wrong_construction_is_refused(service: Service) -> None:
    with pytest.raises(InvalidRequest, match="database"):
        service.of({}, essential=frozenset({"database"}))
    with pytest.raises(InvalidRequest, match="gpu"):
        Status(
            service.gate,
            {"gpu": service.browsers.pool},
            monitor=service.monitor,
            pressure=service.pressure,
            clock=service.clock,
            components={"store": fine},
        )
