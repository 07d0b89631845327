"""A service of fake workers, as `Status` sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

from tests.unit.pool_doubles import Scene, settle
from tidegate import Capacity, Gate, RateLimit
from tidegate.domain.health import MIB, PressureLimits
from tidegate.facades.performance import PerformanceMonitor
from tidegate.facades.pressure import MemoryPressure
from tidegate.facades.readiness import Check
from tidegate.facades.render import Rendering
from tidegate.facades.status import Status
from tidegate.ports.browser import BrowserReport
from tidegate.testing import FakeClock, FakeHost


async def fine() -> str:
    return "fine"


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


@asynccontextmanager
async def running() -> AsyncIterator[Service]:
    """Whatever a test does to the service, afterwards no worker and no check is left."""
    service = Service(Scene(), Scene(size=2), Scene(size=4))
    yield service
    service.gate.close()
    for scene in (service.browsers, service.pdf, service.wasm):
        await scene.pool.stop(grace_us=0)
        assert scene.factory.existing == 0
    await settle()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("check-")] == []


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
