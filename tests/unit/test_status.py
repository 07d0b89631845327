"""What is free and what was counted; the state of every worker."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.status_doubles import Service, fine, running
from tidegate import Claim, Granted
from tidegate.domain.health import MIB
from tidegate.errors import InvalidRequest, StoreUnavailable
from tidegate.facades.status import MetricsSnapshot, ResourceStatus, Status

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
RENDER = Claim(take={"requests": 1}, hold={"browsers": 1})


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    async with running() as service:
        yield service


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
