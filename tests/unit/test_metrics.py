"""One scrape: everything in the table is there, true, bounded and quick."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.pool_doubles import Factory
from tidegate import Capacity, Claim, Gate, Granted, RateLimit
from tidegate.domain.health import PressureLimits
from tidegate.domain.limit import Limit
from tidegate.domain.pooling import PoolLimits
from tidegate.errors import StoreUnavailable
from tidegate.facades.adaptive import AdaptiveCapacity
from tidegate.facades.metrics import FAMILIES, OPERATIONS_MAX, PREFIX, ROUTES_MAX, Metrics
from tidegate.facades.near_limits import NearLimits
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pools import Pool
from tidegate.facades.pressure import MemoryPressure
from tidegate.testing import FakeClock, FakeHost

pytestmark = pytest.mark.anyio

LIMITS: list[Limit] = [
    RateLimit("requests", units=1, period_s=60, per=("tenant",)),
    Capacity("browsers", units=3),
    Capacity("browsers", units=2, name="browsers_at_night"),
    Capacity("sessions", units=9, per=("tenant",)),
]

Series = dict[tuple[str, ...], float]


class Scene:
    """Metrics and the live parts they read."""

    def __init__(self) -> None:
        self.clock, self.host, self.factory = FakeClock(), FakeHost(10), Factory()
        self.near = NearLimits(self.clock.now_us)
        self.gate = Gate(LIMITS, clock=self.clock, on_near=self.near.heard)
        self.adaptive = AdaptiveCapacity(self.gate, "browsers_at_night", algorithm="aimd")
        self.monitor = PerformanceMonitor()
        self.pressure = MemoryPressure(
            self.host,
            clock=self.clock,
            tracked=lambda: 0,
            limits=PressureLimits(limit_bytes=1_000),
        )
        self.pool: Pool[Any] = Pool(
            "browser", start=self.factory.start, clock=self.clock, limits=PoolLimits(size=3)
        )
        self.metrics = Metrics(version="1.2.3")

    def text(self) -> str:
        return self.metrics.collect(
            gate=self.gate,
            pools={"browser": self.pool},
            pressure=self.pressure,
            monitor=self.monitor,
            adaptive=[self.adaptive],
            near=self.near,
        )

    def series(self, name: str, text: str | None = None) -> Series:
        """Values by label values, those in the order of their names."""
        metrics = text_string_to_metric_families(self.text() if text is None else text)
        return {
            tuple(sample.labels[label] for label in sorted(sample.labels)): sample.value
            for metric in metrics
            for sample in metric.samples
            if sample.name == PREFIX + name
        }

    def value(self, name: str, *labels: str) -> float:
        return self.series(name)[labels]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    yield scene
    scene.gate.close()
    await scene.pool.stop()


async def test_every_family_of_the_table_is_there_and_nothing_else(scene: Scene) -> None:
    scene.metrics.http("/v1/render", "POST", 200, 1_000)
    scene.metrics.operation("render", "success", 1_000, "acme")
    scene.gate.try_admit(Claim(tenant="acme", take={"requests": 1}))
    read = {metric.name: metric for metric in text_string_to_metric_families(scene.text())}
    table = {PREFIX + family.name.removesuffix("_total"): family for family in FAMILIES}
    assert len(table) == len(FAMILIES)
    assert read.keys() == table.keys()
    for name, family in table.items():
        assert (read[name].type, read[name].documentation) == (family.kind, family.help)
        assert read[name].samples, name
        for sample in read[name].samples:
            assert sample.labels.keys() - {"le"} == set(family.labels)


async def test_the_state_of_the_live_parts(scene: Scene) -> None:
    claim = Claim(tenant="acme", take={"requests": 1}, hold={"browsers": 1, "sessions": 1})
    held = scene.gate.try_admit(claim)
    assert isinstance(held, Granted)
    scene.gate.try_admit(claim)
    scene.host.memory_bytes = 900
    await scene.pressure.measure()
    for _ in range(10):
        scene.monitor.record_timeout("render", 3_000_000)
    async with scene.pool.lend():
        text = scene.text()
    expected: dict[str, Series] = {
        "build_info": {("1.2.3",): 1},
        "leases_active": {(): 1},
        "queue_depth": {(): 0},
        "capacity_units": {("browsers",): 2},
        "capacity_in_use": {("browsers",): 1},
        "pool_size": {("browser",): 3},
        "pool_in_use": {("browser",): 1},
        "pool_failed_total": {("browser",): 0},
        "degradation_score": {(): 1.0},
        "memory_used_bytes": {(): 900},
        "memory_limit_bytes": {(): 1_000},
        "memory_pressure": {(): 1},
        "memory_pressure_events_total": {(): 1},
    }
    assert {name: scene.series(name, text) for name in expected} == expected
    decisions = scene.series("decisions_total", text)
    assert {reason for (reason,), count in decisions.items() if count} == {
        "granted",
        "rate_limited",
    }
    assert decisions["store_unavailable",] == 0
    held.lease.release()
    assert scene.value("leases_active") == scene.value("capacity_in_use", "browsers") == 0


async def test_what_was_counted(scene: Scene) -> None:
    for _ in range(2):
        scene.metrics.http("/v1/render", "POST", 200, 300_000)
    scene.metrics.http("/v1/render", "POST", 429, 100)
    scene.metrics.operation("render", "success", 3_000_000, "acme")
    scene.metrics.operation("render", "timeout", 3_000_001, "beta")
    scene.metrics.queue_wait(10_000)
    scene.metrics.decision(7)
    scene.metrics.decision(-1)
    assert scene.series("http_requests_total") == {
        ("POST", "/v1/render", "200"): 2,
        ("POST", "/v1/render", "429"): 1,
    }
    assert scene.value("http_request_duration_seconds_count", "/v1/render") == 3
    assert scene.value("http_request_duration_seconds_sum", "/v1/render") == 0.6001
    assert scene.series("operations_total") == {("render", "success"): 1, ("render", "timeout"): 1}
    assert scene.value("operation_duration_seconds_bucket", "3.0", "render") == 1
    assert scene.series("tenant_operations_total") == {("acme",): 1, ("beta",): 1, ("other",): 0}
    assert scene.value("queue_wait_seconds_bucket", "0.01") == 1
    assert scene.value("decision_duration_seconds_bucket", "5e-06") == 1
    assert scene.value("decision_duration_seconds_sum") == 7e-06


async def test_no_caller_can_make_series_without_end(scene: Scene) -> None:
    for number in range(3_000):
        scene.metrics.http(f"/x/{number}", f"M{number}", number, 1)
        scene.metrics.operation(f"work{number}", f"end{number}", 1, f"tenant{number}")
    scene.metrics.http(None, "GET", 404, 1)
    text = scene.text()
    assert len(text.splitlines()) < 8_000
    routes = scene.series("http_request_duration_seconds_count", text)
    assert len(routes) == ROUTES_MAX + 1
    assert routes["unmatched",] == 3_001 - ROUTES_MAX
    requests = scene.series("http_requests_total", text)
    assert len(requests) == 1_001
    assert {method for method, _, _ in requests} == {"other"}
    assert sum(requests.values()) == 3_001
    assert len(scene.series("operation_duration_seconds_count", text)) == OPERATIONS_MAX + 1
    outcomes = scene.series("operations_total", text)
    assert len(outcomes) == 1_001
    assert sum(outcomes.values()) == 3_000
    tenants = scene.series("tenant_operations_total", text)
    assert len(tenants) == 51
    assert tenants["other",] == 2_950


async def test_a_silent_store_takes_only_its_own_series_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(claim: Claim) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(scene.gate, "limits", fail)
    text = scene.text()
    for name in ("leases_active", "capacity_units", "capacity_in_use"):
        assert scene.series(name, text) == {}
    assert scene.series("queue_depth", text) == {(): 0}


async def test_a_scrape_of_two_thousand_series_is_quick(scene: Scene) -> None:
    for number in range(80):
        for status in (200, 404, 429, 500, 503):
            scene.metrics.http(f"/route/{number}", "GET", status, number * 1_000)
    for number in range(10_000):
        scene.metrics.operation("render", "success", number * 1_000, f"tenant{number}")
    text = scene.text()
    assert sum(not line.startswith("#") for line in text.splitlines()) >= 1_900
    took_s = []
    for _ in range(5):
        start_s = time.perf_counter()
        scene.text()
        took_s.append(time.perf_counter() - start_s)
    assert min(took_s) < 0.05


async def test_the_ceiling_of_adaptive_limits_is_told(scene: Scene) -> None:
    assert scene.value("adaptive_limit_units", "browsers_at_night") == 2
    leases = [scene.gate.try_admit(Claim(hold={"browsers": 1})) for _ in range(2)]
    for _ in range(10):
        scene.clock.advance(seconds=1)
        for lease in leases:
            assert isinstance(lease, Granted)
            lease.release("timeout")
        leases = [scene.gate.try_admit(Claim(hold={"browsers": 1}))]
    assert scene.value("adaptive_limit_units", "browsers_at_night") == 1
    assert scene.value("capacity_units", "browsers") == 1


async def test_shadows_overflow_and_settlements_are_counted() -> None:
    scene = Scene()
    limits: list[Limit] = [
        RateLimit("mails", units=1, period_s=60, per=("tenant",), shadow=True),
        RateLimit("visits", units=9, period_s=60, per=("tenant", "host"), keys_max=2),
    ]
    scene.gate = Gate(limits, clock=scene.clock, on_near=scene.near.heard)
    for number in range(4):
        claim = Claim(tenant="acme", take={"mails": 1, "visits": 1}, host=f"h{number}")
        granted = scene.gate.try_admit(claim)
        assert isinstance(granted, Granted)
        granted.settle({"visits": 1})
    text = scene.text()
    assert scene.series("shadow_refused_total", text) == {("mails",): 3, ("visits",): 0}
    assert scene.series("keys_overflowed_total", text) == {("mails",): 0, ("visits",): 2}
    assert scene.series("leases_settled_total", text) == {(): 4}
    assert scene.series("limit_near_total", text) == {("mails",): 1, ("visits",): 0}
    assert scene.series("tenant_quota_usage", text) == {("mails", "acme"): 1}
